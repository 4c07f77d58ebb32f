"""What is told of a host's servers while nobody is there to tell: its last report may be long over.

Of a host that is fenced or has rebooted its servers are revoked; this is about the others: held
back, cut off, without an agent, or without its storage.
"""

from dataclasses import dataclass

from respawn.decide import grounds, liveness, moments
from respawn.decide.liveness import State
from respawn.model.base import Now
from respawn.model.conditions import Reason, Status, Type, find, known
from respawn.model.node import Node
from respawn.model.server import Server
from respawn.model.sight import Pulse, Sight
from respawn.model.world import World

TELL_AFTER = 3.0
"""Seconds for which a host is silent beyond its limit before its servers' status says so: most are
fenced by then, and a failover is no series of status writes."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What Ready and Running say instead of the last report."""

    status: Status
    reason: Reason
    message: str
    summary: str = "Unknown"
    """One word for people."""


def of(world: World, node: Node, now: Now) -> Silence | None:
    """What the silence of `node` means for its servers; None: what its agent said last holds."""
    v = liveness.verdict(world, node, now)
    if v.state in (State.API_LOST, State.HEALTHY, State.UNKNOWN):
        without_storage = _without_storage(world, node, now) if v.state is State.UNKNOWN else None
        silence = _without_agent(world, node) or without_storage
        return silence or _without_libvirtd(node, v.state)
    if v.state in (State.STORAGE_DOUBT, State.STORAGE_LOST):
        return _without_storage(world, node, now) or _without_agent(world, node)
    if v.failed_at is None:
        return None
    fence_begins = v.condemned and grounds.held(world, node, now) is None
    if now.mono < v.failed_at + TELL_AFTER or fence_begins:
        # A suspicion takes nothing back that was told before it.
        return _without_agent(world, node) or _without_storage(world, node, now)
    if v.condemned:
        message = f"{node.name} looks dead and is not fenced: its Node says why"
        return Silence("False", Reason.DEAD, message)
    return Silence("Unknown", Reason.UNREACHABLE, _doubtful(world, node, v.state, now))


def as_told(world: World, server: Server, node: Node, now: Now) -> Silence | None:
    """What a silence was told to mean before stands as long as the host is in doubt: who looks for
    the last time before a fence knows nothing better. None: nothing of the kind was told.
    """
    told = find(server.status.conditions, Type.READY)
    if told is None or told.status == "True" or told.reason not in _SILENCES:
        return None
    if liveness.verdict(world, node, now).state not in liveness.DOUBTFUL:
        return None
    reason = known(told.reason, Reason.UNREACHABLE)
    without_storage = (told.status, reason) == ("False", Reason.UNREACHABLE)
    return Silence(told.status, reason, told.message, _NO_STORAGE if without_storage else "Unknown")


_NO_STORAGE = "NoStorage"
_SILENCES = (Reason.AGENT_DOWN, Reason.UNREACHABLE, Reason.DEAD, Reason.HYPERVISOR_DOWN)


def _doubtful(world: World, node: Node, state: State, now: Now) -> str:
    """Silent everywhere, and perhaps not dead."""
    if state is State.CUT_OFF:
        return (
            f"neither the agent nor the heart of {node.name} is heard, but its libvirt answers: "
            "its servers may run, and are left alone; start both, or mend its networks"
        )
    if state is State.UNRESPONSIVE_RUNNING:
        return (
            f"only the kernel of {node.name} answers, but its servers hold their disks: they are "
            "left alone; look at it, or power it off"
        )
    message = f"{node.name} has lost contact with the API and with Ceph; it may or may not be dead"
    at = moments.judged_at(world, node, state)
    if at is None:
        return message
    hitch = grounds.hitch(world, node, now)
    if hitch is not None:
        return f"{message}; {hitch}"
    return f"{message}; judged at {at:%H:%M:%S}Z, and its servers start elsewhere if it is"


def _without_storage(world: World, node: Node, now: Now) -> Silence | None:
    """Their QEMUs run, and libvirt says so; but whatever a guest writes waits."""
    if not node.host.storage_failing:
        return None  # only its heart is silent
    message = f"{node.name} does not reach its storage: what its servers write waits until it does"
    state = liveness.verdict(world, node, now).state
    at, hitch = moments.judged_at(world, node, state), grounds.hitch(world, node, now)
    if grounds.held(world, node, now) is not None:
        message += "; it is not fenced, its Node says why"
    elif at is not None and hitch is not None:
        message += f"; {hitch}"
    elif at is not None:
        message += f"; at {at:%H:%M:%S}Z it is fenced, and they start elsewhere"
    return Silence("False", Reason.UNREACHABLE, message, _NO_STORAGE)


def _without_libvirtd(node: Node, state: State) -> Silence | None:
    """Their QEMUs run on, or not: the agent hears of it from libvirtd alone."""
    if not node.host.hypervisor_failing or state is not State.HEALTHY:
        return None
    message = f"libvirtd on {node.name} does not answer: nobody says whether it still runs"
    return Silence("Unknown", Reason.HYPERVISOR_DOWN, message)


def _without_agent(world: World, node: Node) -> Silence | None:
    limit = liveness.timings_for(world, node).fence_after + TELL_AFTER
    lease = world.sights.get(node.name, Sight()).lease
    # One that is back has renewed first and looks at its servers then: what it said before it was
    # away is believed again when it has renewed once more.
    if max(lease.heeded, lease.broke) < limit and not _known_silent(node, lease):
        return None
    message = f"the agent of {node.name} is down or cut off: nobody says whether it still runs"
    return Silence("Unknown", Reason.AGENT_DOWN, message)


_OF_SILENCE = frozenset(
    {
        *(Reason.AGENT_DOWN, Reason.CUT_OFF_BUT_ALIVE, Reason.DEAD),
        *(Reason.UNRESPONSIVE, Reason.UNRESPONSIVE_BUT_RUNNING),
        *(Reason.TOO_MANY_HOSTS, Reason.NO_OTHER_HEART),
        *(Reason.API_UNPROVEN, Reason.CEPH_UNPROVEN),
    }
)
"""Reasons of a Node that is not Ready for its silence."""


def _known_silent(node: Node, lease: Pulse) -> bool:
    """Whether it was silent for the operator before, and this one has not heard it yet."""
    told = find(node.conditions, Type.READY)
    return not lease.moved and told is not None and told.reason in _OF_SILENCE
