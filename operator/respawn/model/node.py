"""A hypervisor host: what is declared of it, what its agent reports, and its fence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from respawn.model.base import Owner
from respawn.model.conditions import Condition
from respawn.model.policy import Timings

HOST_LABEL = "respawn.dev/host"


class FencePhase(StrEnum):
    """`status.fence.phase`; absent is OK."""

    OK = "OK"
    FENCING = "Fencing"
    """The intent is written; proves nothing yet."""
    FENCED = "Fenced"
    """Every address was read back as blocklisted."""
    LIFTING = "Lifting"
    """The host was proven clean; the owner removes the entries."""


class Form(StrEnum):
    """How an address is written into Ceph's blocklist: two keys of the same effect.

    After a lift that another operator took over, a late `rm` of the first may still arrive: it
    cannot remove an entry of the other form.
    """

    IP = "ip"
    """`IP:0/0`"""
    RANGE = "range"
    """`range IP/32` (`/128`)"""


@dataclass(frozen=True, slots=True)
class Taint:
    """A form in which a late `rm` of `owner` may still arrive."""

    form: Form
    owner: Owner


@dataclass(frozen=True, slots=True)
class Fence:
    """`status.fence`: the operator's part of the Node."""

    phase: FencePhase = FencePhase.OK
    generation: int = 0
    addresses: tuple[str, ...] = ()
    machine_id: str | None = None
    boot_id: str | None = None
    form: Form | None = None
    owner: Owner | None = None
    tainted: tuple[Taint, ...] = ()
    reason: str = ""
    fenced: datetime | None = None
    """When the entries had been read back (wall time, for the timeline)."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Which boot of which machine the agent speaks for, and its addresses towards Ceph."""

    machine_id: str
    boot_id: str
    addresses: tuple[str, ...] = ()


class ReportState(StrEnum):
    """What the agent says of one epoch of one server."""

    STARTING = "Starting"
    RUNNING = "Running"
    PAUSED = "Paused"
    FAILED = "Failed"
    """An observation (it died, or could not be started); never a proof."""
    ENDED = "Ended"
    """The agent read this epoch as Revoked and *then* saw it absent: proof (d)."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """`status.host.servers[]`."""

    uid: str
    epoch: int
    state: ReportState
    reason: str = ""
    """Why it failed or is paused: a Reason of model.conditions."""
    message: str = ""
    addresses: tuple[str, ...] = ()
    """IP addresses of the guest, as its agent or ARP tells."""
    guest_ready: bool | None = None
    started: datetime | None = None
    """When its QEMU was started (host's wall clock, for the timeline)."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the host has, bytes and cores. `overhead` is QEMU's own memory per server."""

    cores: int = 0
    memory: int = 0
    reserved: int = 0
    foreign: int = 0
    """Memory of domains that Respawn did not create."""
    overhead: int = 0
    machine: str = "q35"
    """The newest machine type its QEMU offers, such as pc-q35-7.2."""
    cpu_model: str = "qemu64"
    """The CPU model a server first started here gets."""
    bridges: tuple[str, ...] | None = None
    """Bridges that servers can be plugged into; None: nobody has said."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """`status.host`: the agent's part of the Node."""

    registration: Registration | None = None
    clean_generation: int = 0
    """The fence generation for which the agent killed everything and saw nothing left."""
    policy_generation: int = 0
    """The RespawnPolicy generation whose timings the agent obeys."""
    timings: Timings | None = None
    """What the agent obeys, in full: a policy that is made anew begins at generation 1 again."""
    capacity: Capacity = Capacity()
    storage_failing: bool = False
    """The agent itself sees storage I/O fail."""
    hypervisor_failing: bool = False
    """Its libvirtd does not answer the agent."""
    heart_failing: bool = False
    """Its heart process is silent; the agent beats for it."""
    servers: tuple[ServerReport, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """`spec` of a Node; addresses are single IPs, never ranges."""

    libvirt_uri: str = ""
    management: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()
    migration: tuple[str, ...] = ()
    cordoned: bool = False
    drain: bool = False
    """It is to be emptied: no new servers come here."""
    reserved: int | None = None
    """Bytes kept for the host itself; None: what its agent is configured to keep."""
    ended_boots: tuple[str, ...] = ()
    """Boots of which a person confirms that they have ended."""


@dataclass(frozen=True, slots=True)
class Node:
    """One Node as read at `resource_version`."""

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    spec: NodeSpec = NodeSpec()
    host: HostStatus = HostStatus()
    fence: Fence = Fence()
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = -1
    resource_version: str = ""
    generation: int = 1
    deleting: bool = False
    protected_by_us: bool = False

    @property
    def registration(self) -> Registration | None:
        """The boot that is registered."""
        return self.host.registration

    @property
    def gone(self) -> bool:
        """Whether a person confirmed that the boot which is registered has ended."""
        registered = self.registration
        return registered is not None and registered.boot_id in self.spec.ended_boots

    @property
    def reserved(self) -> int:
        """Bytes that are never given to servers."""
        own = self.host.capacity.reserved
        return own if self.spec.reserved is None else self.spec.reserved

    def label(self, key: str) -> str | None:
        """Its label, every host being its own `respawn.dev/host` even when unlabelled."""
        return self.labels.get(key, self.name if key == HOST_LABEL else None)

    def report(self, uid: str, epoch: int) -> ServerReport | None:
        """What the agent says of that epoch of that server."""
        return next((r for r in self.host.servers if (r.uid, r.epoch) == (uid, epoch)), None)

    @property
    def storage_addresses(self) -> tuple[str, ...]:
        """Everything the host may use towards Ceph: declared, and registered."""
        registered = self.registration.addresses if self.registration else ()
        return tuple(dict.fromkeys((*self.spec.storage, *registered)))
