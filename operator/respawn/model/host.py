"""What a host's agent sees and is asked: domains, processes, the hook's questions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from respawn.model.node import Capacity, Node
from respawn.model.policy import Timings
from respawn.model.server import Server
from respawn.model.storage import Entry


@dataclass(frozen=True, slots=True)
class Identity:
    """Which boot of which machine this agent runs on, and its present addresses towards Ceph."""

    node: str
    machine_id: str
    boot_id: str
    storage: tuple[str, ...]


class DomainState(StrEnum):
    """What libvirt says of a domain object."""

    STARTING = "starting"
    """Listed, its hook not answered or its QEMU not up yet."""
    RUNNING = "running"
    PAUSED = "paused"
    INCOMING = "incoming"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One exact domain: killing it never kills a later one. `pid` is None before QEMU is up."""

    uid: str
    epoch: int
    boot_id: str
    namespace: str = ""
    name: str = ""
    """Whose it is, from the domain's metadata: what the API is asked for."""
    pid: int | None = None
    started: datetime | None = None
    """Start time of that process."""


@dataclass(frozen=True, slots=True)
class Look:
    """One fresh look for a server on this host: by UUID in any state, and at the processes."""

    uid: str
    domain: Incarnation | None = None
    state: DomainState | None = None
    paused_by_us: bool = False
    """It is paused by the agent's own suspend (a mark that survives agent restarts), or by the
    I/O error policy that Respawn gave it: either way it may be resumed after the same checks."""
    processes: tuple[int, ...] = ()
    """PIDs of QEMUs with that UUID on their command line."""

    @property
    def absent(self) -> bool:
        """R3: no domain object in any state and no QEMU."""
        return self.domain is None and not self.processes


@dataclass(frozen=True, slots=True)
class Exit:
    """How an incarnation was seen to end (an event): a Reason of model.conditions."""

    uid: str
    epoch: int
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """What libvirt's hook asks: the domain's metadata, and the operation."""

    uid: str
    epoch: int
    boot_id: str
    namespace: str
    name: str
    operation: str = "prepare"
    """prepare, migrate or restore; no other operation is ever asked about."""


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """The answer to the hook; `reason` is what a refused person reads."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Contact:
    """When this host last had contact with the outside, by its own monotonic clock."""

    renewed_at: float
    """Begin of the last Lease renewal that was acknowledged."""
    beaten_at: float
    """Begin of the last beat, by heart or agent, that was acknowledged."""
    ceph_since: float | None = None
    """Begin of the first Ceph answer since contact was lost; None while Ceph does not answer."""
    blocklist_at: float | None = None
    """Begin of the last blocklist read that came back."""
    blocklist: frozenset[Entry] = frozenset()
    api_answers: bool = False
    """Whether the last API request was answered."""
    begun_at: float | None = None
    """When this agent process began; the moments above may be of one before it."""


@dataclass(frozen=True, slots=True)
class HostView:
    """All that the agent decides on. `node` and `servers` come from watches: hints, not truth."""

    me: Identity
    timings: Timings = field(default_factory=Timings)
    policy_generation: int = 0
    node: Node | None = None
    servers: Mapping[str, Server] = field(default_factory=dict)
    looks: Mapping[str, Look] = field(default_factory=dict)
    exits: Mapping[str, Exit] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    """UID -> epoch that this agent proved ended."""
    admitted: frozenset[tuple[str, int]] = frozenset()
    """(UID, epoch) that this boot's hook has said yes to, once each."""
    creating: frozenset[tuple[str, int]] = frozenset()
    """(UID, epoch) whose create call is under way."""
    failures: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(UID, epoch) -> creates that failed."""
    shutdowns: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """(UID, epoch) -> when its orderly shutdown began (this host's monotonic clock)."""
    presses: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """(UID, epoch) -> when its guest was last asked to power off."""
    contact: Contact = Contact(0.0, 0.0)
    capacity: Capacity = field(default_factory=Capacity)
    storage_failing: bool = False
    hypervisor_failing: bool = False
    heart_failing: bool = False
    scanned: bool = True
    """Whether this process has looked at the whole host yet; before, it knows of no servers."""


# Steps of the agent.


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step of the agent on one epoch of one server, and why."""

    uid: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Create(HostStep):
    """Read Node and server afresh, then create the domain."""


@dataclass(frozen=True, slots=True)
class ShutDown(HostStep):
    """Ask the guest to power off (ACPI); it has until `deadline`."""


@dataclass(frozen=True, slots=True)
class Kill(HostStep):
    """End exactly that incarnation, after a fresh read that says it must end."""


@dataclass(frozen=True, slots=True)
class ConfirmEnd(HostStep):
    """Read the epoch as Revoked, then look: absent is proof (d)."""


@dataclass(frozen=True, slots=True)
class Suspend(HostStep):
    """Pause it (S6): contact was lost."""


@dataclass(frozen=True, slots=True)
class Resume(HostStep):
    """Let it run again (S6)."""


AgentStep = Create | ShutDown | Kill | ConfirmEnd | Suspend | Resume


@dataclass(frozen=True, slots=True)
class HostDecision:
    """What the agent does about one server."""

    step: AgentStep | None = None
    next_check: float | None = None
    hold: str = ""
    """Why nothing is done although something looks wrong (alert)."""
