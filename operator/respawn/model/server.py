"""A customer's machine: what is wanted of it, and what its status says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from respawn.model.conditions import Condition
from respawn.model.placement import UNPLACED, Phase, Placement

FINALIZER = "respawn.dev/protect"
"""On servers and golden images until their images are trashed, on nodes until nothing can run
there, on pools until nothing is in them.
"""


ROOT_DISK = "root"
"""The disk a server boots from; its image carries the epoch."""


class RunPolicy(StrEnum):
    """`spec.runPolicy`."""

    ALWAYS = "Always"
    RERUN_ON_FAILURE = "RerunOnFailure"
    HALTED = "Halted"


class RecoveryMode(StrEnum):
    """`spec.recovery.mode`: `None` waits for its own host to return."""

    RESTART = "Restart"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk as wanted; `image` is the ServerImage it is cloned from, None is blank."""

    name: str
    pool: str
    size: int
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card as wanted; without `mac` one is derived from the server's UID."""

    name: str
    bridge: str
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class AntiAffinity:
    """Servers of one namespace that name the same group keep apart by the hosts' topology label."""

    group: str
    topology_key: str = "respawn.dev/host"
    required: bool = True


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """`spec` of a VirtualServer. Sizes are bytes, `shutdown_grace` is seconds."""

    run_policy: RunPolicy = RunPolicy.ALWAYS
    cores: int = 1
    memory: int = 0
    disks: tuple[Disk, ...] = ()
    networks: tuple[Nic, ...] = ()
    recovery: RecoveryMode = RecoveryMode.RESTART
    priority: int = 100
    node_selector: Mapping[str, str] = field(default_factory=dict)
    preferred_nodes: tuple[str, ...] = ()
    anti_affinity: tuple[AntiAffinity, ...] = ()
    retain_disks: bool = False
    protected: bool = False
    shutdown_grace: float = 30.0


@dataclass(frozen=True, slots=True)
class NicHardware:
    """A card as the guest sees it, for ever; `slot` is its PCI slot."""

    name: str
    mac: str
    slot: int
    bridge: str = ""
    """What it was plugged into at the last start; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class DiskHardware:
    """A disk as the guest sees it, for ever."""

    name: str
    serial: str
    slot: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """Virtual hardware: fixed at the first start, the same through restarts and failovers; only
    cores and memory follow the spec.
    """

    machine: str
    cpu_model: str
    nics: tuple[NicHardware, ...] = ()
    disks: tuple[DiskHardware, ...] = ()
    cores: int = 0
    """Of the last start, as is `memory` (bytes); 0 before any is known."""
    memory: int = 0


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """A disk: `image` is the RBD image `vs-<uid>-<name>`, `size` its bytes.

    It is recorded with a size of 0 before it is made: whatever happens then, it is known where
    there may be an image.
    """

    name: str
    pool: str
    image: str
    size: int
    source: str | None = None
    """The ServerImage it is filled with, "" for a blank one; None where that is not known."""

    @property
    def exists(self) -> bool:
        """Whether it has certainly been made."""
        return self.size > 0


@dataclass(frozen=True, slots=True)
class Setback:
    """How an instance of this server last ended unwanted: what restart and back-off go by."""

    epoch: int
    node: str
    reason: str
    at: datetime
    count: int = 1
    """Setbacks in a row; one that comes long after the one before starts at 1 again."""
    message: str = ""
    """What its host said of it, such as libvirt's own error."""
    generation: int = 0
    """Of the spec at that time; 0: not recorded."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The timeline of the last recovery, for people; moments are wall time, UTC."""

    reason: str
    from_node: str
    to_node: str | None = None
    proof: str | None = None
    last_seen: datetime | None = None
    suspected: datetime | None = None
    decided: datetime | None = None
    fenced: datetime | None = None
    placed: datetime | None = None
    started: datetime | None = None
    ready: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether the server is still being brought back."""
        return self.started is None


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """`status` of a VirtualServer; the operator alone writes it."""

    observed_generation: int = -1
    phase: str = ""
    """A summary for people that no code reads."""
    placement: Placement = UNPLACED
    addresses: tuple[str, ...] = ()
    hardware: Hardware | None = None
    disks: tuple[DiskStatus, ...] = ()
    setback: Setback | None = None
    recovery: Recovery | None = None
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """One VirtualServer as read at `resource_version`."""

    uid: str
    namespace: str
    name: str
    spec: ServerSpec = ServerSpec()
    status: ServerStatus = ServerStatus()
    resource_version: str = ""
    generation: int = 1
    deleting: bool = False
    protected_by_us: bool = False
    """Whether our finalizer is on it."""

    @property
    def placement(self) -> Placement:
        """Where it may run."""
        return self.status.placement

    @property
    def here(self) -> str | None:
        """The node on which an instance may exist."""
        return self.placement.node if self.placement.held else None

    @property
    def root(self) -> DiskStatus | None:
        """The disk that carries the epoch: the one named root, as the API asks for."""
        made = [disk for disk in self.status.disks if disk.exists]
        return next((d for d in made if d.name == ROOT_DISK), made[0] if made else None)

    def placed_at(self, node: str, epoch: int, boot_id: str) -> bool:
        """Whether exactly this (host, epoch, boot) may be admitted."""
        p = self.placement
        return (p.phase, p.node, p.epoch, p.boot_id) == (Phase.PLACED, node, epoch, boot_id)


def disk_image(uid: str, disk: str) -> str:
    """The RBD image of a server's disk."""
    return f"vs-{uid}-{disk}"


def domain_name(uid: str, epoch: int) -> str:
    """libvirt's name of one incarnation of a server."""
    return f"vs-{uid}.{epoch}"
