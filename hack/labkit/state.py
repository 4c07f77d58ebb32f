"""What a lab remembers on disk, and the lock that keeps two orders from interfering."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labkit.errors import Unknown
from labkit.names import host_index

ROOT = Path("/var/lib/respawn-lab")


@dataclass
class HostState:
    name: str
    powered: bool = False
    machine_id: str = ""
    boot_id: str = ""

    @property
    def index(self) -> int:
        return host_index(self.name)


@dataclass
class LabState:
    """The lab's own record. `complete` is set when `up` has finished once."""

    name: str
    profile: str = "default"
    operators: int = 2
    port: int = 0
    complete: bool = False
    bare: bool = False  # without Respawn in it
    fsid: str = ""
    environment: dict[str, str] = field(default_factory=dict)  # of the operators
    hosts: dict[str, HostState] = field(default_factory=dict)

    def host(self, name: str) -> HostState:
        host_index(name)
        if name not in self.hosts:
            known = ", ".join(self.hosts) or "none"
            raise Unknown(f"no host {name} in lab {self.name} (there are: {known})")
        return self.hosts[name]


class Folder:
    """The folder of one lab: every path that it uses, and its record."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name

    def __truediv__(self, part: str) -> Path:
        return self.path / part

    @property
    def record(self) -> Path:
        return self / "lab.json"

    @property
    def socket(self) -> Path:
        return self / "init.sock"

    @property
    def logs(self) -> Path:
        return self / "logs"

    @property
    def pki(self) -> Path:
        return self / "pki"

    @property
    def ceph(self) -> Path:
        return self / "ceph"

    @property
    def consoles(self) -> Path:
        return self / "consoles"

    @property
    def kubeconfig(self) -> Path:
        return self / "kubeconfig"

    @property
    def kube_cache(self) -> Path:
        """What kubectl keeps of this lab's API server: it goes with the lab."""
        return self / "kube-cache"

    def kubectl_environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.kube_cache)}

    def host(self, host: str) -> Path:
        return self.path / "hosts" / host

    def host_socket(self, host: str) -> Path:
        return self.host(host) / "init.sock"

    def host_logs(self, host: str) -> Path:
        return self.host(host) / "logs"

    def exists(self) -> bool:
        return self.record.exists()

    def load(self) -> LabState:
        """Raises Unknown when there is no such lab."""
        try:
            raw = json.loads(self.record.read_text())
        except FileNotFoundError:
            raise Unknown(
                f"there is no lab '{self.name}': start one with hack/lab up --name {self.name}"
            ) from None
        hosts = {name: HostState(**host) for name, host in raw.pop("hosts").items()}
        return LabState(hosts=hosts, **raw)

    def save(self, state: LabState) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
        fresh = self / "lab.json.new"
        fresh.write_text(json.dumps(asdict(state), indent=1))
        os.replace(fresh, self.record)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            ROOT.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab for one order. The lock lies on the folder, so it leaves no file behind."""
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                if os.stat(self.path).st_ino == os.fstat(fd).st_ino:
                    break
            except FileNotFoundError:
                pass
            os.close(fd)  # another order took the folder away while we waited
        try:
            yield
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):
                self.path.rmdir()  # only succeeds when no lab is in it
            with contextlib.suppress(OSError):
                ROOT.rmdir()
