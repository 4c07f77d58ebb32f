"""/etc/respawn/agent.yaml: what a host's agent and heart must be told."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from respawn.model.units import parse_quantity

DEFAULT_PATH = Path("/etc/respawn/agent.yaml")
Size = Annotated[str, Field(pattern=r"^[0-9]+(Ki|Mi|Gi|Ti)?$")]


class ConfigError(Exception):
    """The file cannot be used; the text says what to do about it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CephConfig(_Part):
    """How this host reaches Ceph: as any of its programs does, by ceph.conf and a keyring."""

    conf: Path = Path("/etc/ceph/ceph.conf")
    client: str | None = None
    """cephx name without `client.`; the node's name if absent."""
    keyring: Path | None = None
    """Its keyring; /etc/ceph/ceph.client.<client>.keyring if absent."""
    pool: str = "vms"
    """The pool in which the heart beats."""


class AgentConfig(_Part):
    """The whole file. Sizes are Kubernetes quantities."""

    node: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
    """Name of this host's Node object."""
    kubeconfig: Path = Path("/etc/respawn/kubeconfig")
    namespace: str = "respawn"
    """Where the Leases are."""
    machineID: str | None = None
    """UUID of this hardware, where the firmware has none of its own."""
    accelerator: Literal["auto", "kvm", "qemu"] = "auto"
    """`auto` runs a tiny guest in KVM to see whether it really works here."""
    consoles: Path = Path("/var/log/respawn/consoles")
    reservedMemory: Size = "1Gi"
    """Left to the host itself."""
    memory: Size | None = None
    cores: int | None = None
    """Count instead of the machine's own, where several hosts share a machine."""
    ceph: CephConfig = CephConfig()

    @property
    def ceph_client(self) -> str:
        """cephx name without `client.`."""
        return self.ceph.client or self.node

    @property
    def keyring(self) -> Path:
        """The host's own key, which QEMU gets too."""
        return self.ceph.keyring or Path(f"/etc/ceph/ceph.client.{self.ceph_client}.keyring")

    @property
    def reserved_bytes(self) -> int:
        """`reservedMemory` in bytes."""
        return parse_quantity(self.reservedMemory)

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes."""
        return None if self.memory is None else parse_quantity(self.memory)


def load(path: Path = DEFAULT_PATH) -> AgentConfig:
    """Read and check the file. Raises ConfigError."""
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    try:
        return AgentConfig.model_validate(raw or {})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigError(f"{path}: {faults}") from error
