"""The closed set of steps. A decision names at most one; an executor carries it out.

Each says why (`reason`), and has a name by which tests let the process end right after it
(`RESPAWN_CRASH_AFTER=NAME`). Steps that are made of several irreversible parts name each part
(`CRASH_POINTS`).
"""

from dataclasses import dataclass
from typing import ClassVar

from respawn.model.base import Key, Kind
from respawn.model.conditions import Condition
from respawn.model.server import Hardware, Recovery, Setback


@dataclass(frozen=True, slots=True)
class ServerStep:
    """A step on one server; `epoch` is the one it was decided on: another one cancels it."""

    uid: str
    epoch: int
    reason: str
    name: ClassVar[str]

    @property
    def key(self) -> Key:
        """What it is about."""
        return Key(Kind.SERVER, self.uid)


@dataclass(frozen=True, slots=True)
class Protect(ServerStep):
    """Put our finalizer on it, before anything of it exists."""

    name: ClassVar[str] = "protect"


@dataclass(frozen=True, slots=True)
class EnsureDisks(ServerStep):
    """Create, clone or grow its disks, and record them."""

    name: ClassVar[str] = "disks"


@dataclass(frozen=True, slots=True)
class Place(ServerStep):
    """Free(e) or Revoked(e) with a proof -> Placed(e + 1 or more) on `node`."""

    node: str
    hardware: Hardware
    name: ClassVar[str] = "Placed"


@dataclass(frozen=True, slots=True)
class Revoke(ServerStep):
    """Placed(e) -> Revoked(e), with `grace` seconds for an orderly shutdown."""

    grace: float = 0.0
    setback: Setback | None = None
    recovery: Recovery | None = None
    name: ClassVar[str] = "Revoked"


@dataclass(frozen=True, slots=True)
class BanClients(ServerStep):
    """While Revoked(e) on a host being fenced: blocklist the clients of its images already."""

    name: ClassVar[str] = "nonces"


@dataclass(frozen=True, slots=True)
class SetFree(ServerStep):
    """Revoked(e) -> Free(e), with the proof."""

    name: ClassVar[str] = "Free"


@dataclass(frozen=True, slots=True)
class Delete(ServerStep):
    """Free -> Deleted; only then may the images go."""

    name: ClassVar[str] = "Deleted"


@dataclass(frozen=True, slots=True)
class TrashDisks(ServerStep):
    """Move a Deleted server's images into the RBD trash."""

    name: ClassVar[str] = "trash"


@dataclass(frozen=True, slots=True)
class Unprotect(ServerStep):
    """Take our finalizer off: the object may go."""

    name: ClassVar[str] = "unprotect"


@dataclass(frozen=True, slots=True)
class Report(ServerStep):
    """Write what is observed: outcome, conditions, timeline."""

    name: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class NodeStep:
    """A step on one node; `generation` is the fence generation it was decided on."""

    node: str
    generation: int
    reason: str
    name: ClassVar[str]

    @property
    def key(self) -> Key:
        """What it is about."""
        return Key(Kind.NODE, self.node)


@dataclass(frozen=True, slots=True)
class ProtectNode(NodeStep):
    """Put our finalizer on the node."""

    name: ClassVar[str] = "protect-node"


@dataclass(frozen=True, slots=True)
class UnprotectNode(NodeStep):
    """Take it off: not fenced, and nothing placed there."""

    name: ClassVar[str] = "unprotect-node"


@dataclass(frozen=True, slots=True)
class AskWitnesses(NodeStep):
    """Look whether anything of a silent host answers."""

    name: ClassVar[str] = "witness"


@dataclass(frozen=True, slots=True)
class LookAtWatches(NodeStep):
    """Look whether the host's QEMUs still watch their images."""

    name: ClassVar[str] = "watches"


@dataclass(frozen=True, slots=True)
class BeginFence(NodeStep):
    """OK(g) -> Fencing(g + 1): the intent, for the boot that was judged."""

    boot_id: str | None = None
    name: ClassVar[str] = "Fencing"


@dataclass(frozen=True, slots=True)
class ApplyFence(NodeStep):
    """Fencing(g): blocklist every address, read back -> Fenced(g)."""

    name: ClassVar[str] = "Fenced"


@dataclass(frozen=True, slots=True)
class RestoreFence(NodeStep):
    """Fenced(g), and Ceph's blocklist lacks some of its entries: add them again."""

    name: ClassVar[str] = "restored"


@dataclass(frozen=True, slots=True)
class BeginLift(NodeStep):
    """Fenced(g), proven clean -> Lifting(g), mine."""

    name: ClassVar[str] = "Lifting"


@dataclass(frozen=True, slots=True)
class TakeLift(NodeStep):
    """Lifting(g) of another operator -> mine; its form becomes tainted."""

    name: ClassVar[str] = "taken"


@dataclass(frozen=True, slots=True)
class FinishLift(NodeStep):
    """Lifting(g), mine: remove exactly its entries -> OK(g)."""

    name: ClassVar[str] = "OK"


@dataclass(frozen=True, slots=True)
class Untaint(NodeStep):
    """Drop the taints of which it is certain that no `rm` is under way any more."""

    name: ClassVar[str] = "untaint"


@dataclass(frozen=True, slots=True)
class ReportNode(NodeStep):
    """Write the node's conditions."""

    name: ClassVar[str] = "node-status"


Step = (
    Protect
    | EnsureDisks
    | Place
    | Revoke
    | BanClients
    | SetFree
    | Delete
    | TrashDisks
    | Unprotect
    | Report
    | ProtectNode
    | UnprotectNode
    | AskWitnesses
    | LookAtWatches
    | BeginFence
    | ApplyFence
    | RestoreFence
    | BeginLift
    | TakeLift
    | FinishLift
    | Untaint
    | ReportNode
)

CRASH_POINTS = (
    *("protect", "making", "disks", "nonces", "broken", "epoch", "Placed", "Revoked", "Free"),
    *("Deleted", "trash", "unprotect", "status"),
    *("Fencing", "add", "Fenced", "Lifting", "taken", "rm", "OK", "untaint", "node-status"),
)
"""Every name that RESPAWN_CRASH_AFTER takes in the operator, in the order of a server's life."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the status should say besides the placement: travels with the next write of it."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[str, ...] | None = None
    recovery: Recovery | None = None
    """The timeline with what is newly known, None when nothing is."""
    clear_setback: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What `decide` answers: one step or none, when to look again, and what to tell."""

    step: Step | None = None
    next_check: float | None = None
    """Monotonic moment; None: when something changes."""
    outlook: Outlook = Outlook()
    awaits: tuple[Key, ...] = ()
    """Other things whose change would matter to this one."""
    urgent: bool = False
    """Whether the step belongs to a failover."""
    patient: bool = False
    """Whether it waits for the world, of which not every change is worth a report."""
