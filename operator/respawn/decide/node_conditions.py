"""What a node's status tells: each aspect judged by itself, Ready as their sum."""

from respawn.decide import brake, earlier, fence_table, grounds, liveness, moments
from respawn.decide.earlier import Row
from respawn.decide.liveness import Sign, State
from respawn.decide.node_sentences import (
    CEPH_SILENT,
    FENCES_NOBODY,
    HEART_DOWN,
    HELD,
    LIBVIRT_DOWN,
    NO_BEAT_YET,
    SENTENCES,
    orphans,
)
from respawn.model.actions import Outlook
from respawn.model.base import Now
from respawn.model.conditions import Condition, Reason, Status, Type, find
from respawn.model.node import FencePhase, Node, ReportState
from respawn.model.server import domain_name
from respawn.model.sight import Answer, Pulse, Sight
from respawn.model.world import World


def outlook(world: World, node: Node, now: Now) -> Outlook:
    """All conditions of the node."""
    rows = [
        _registered(node),
        _agent(world, node, now),
        _storage(world, node, now),
        _hypervisor(world, node, now),
        _fencing_ready(world, node, now),
        _fenced(world, node, now),
        _schedulable(world, node, now),
    ]
    rows.append(_ready(world, node, now, rows))
    return Outlook(
        conditions=tuple(Condition(kind, s, r, m, node.generation) for kind, s, r, m in rows)
    )


def _sign(world: World, node: Node, pulse: Pulse, now: Now) -> Sign:
    timings = liveness.timings_for(world, node)
    return liveness.sign(pulse, timings.fence_after, now.mono, timings.fence_after / 2)


def _alive(kind: Type, sign: Sign, silent: str) -> Row:
    if sign is Sign.FRESH:
        return kind, "True", Reason.ALIVE, ""
    if sign is Sign.STALE:
        return kind, "False", Reason.SILENT, silent
    return kind, "Unknown", Reason.UNKNOWN, "cannot be read from here"


def _agent(world: World, node: Node, now: Now) -> Row:
    if node.registration is None:
        return Type.AGENT_ALIVE, "False", Reason.NOT_REGISTERED, _NO_AGENT
    sight = world.sights.get(node.name, Sight())
    return _alive(Type.AGENT_ALIVE, _sign(world, node, sight.lease, now), "its Lease is silent")


def _registered(node: Node) -> Row:
    registered = node.registration
    if registered is None:
        return Type.REGISTERED, "False", Reason.NOT_REGISTERED, _NO_AGENT
    return Type.REGISTERED, "True", Reason.AS_SPECIFIED, f"boot {registered.boot_id}"


_NO_AGENT = "no agent has registered; start respawn-agent on the host"


def _storage_fails(world: World, node: Node, now: Now) -> str:
    at = moments.judged_at(world, node, liveness.verdict(world, node, now).state)
    if at is None:
        return "its agent sees storage I/O fail"
    end = grounds.hitch(world, node, now) or f"fenced at {at:%H:%M:%S}Z unless it works again"
    return f"its agent sees storage I/O fail; {end}"


def _storage(world: World, node: Node, now: Now) -> Row:
    if node.host.storage_failing:
        message = _storage_fails(world, node, now)
        return Type.STORAGE_REACHABLE, "False", Reason.UNREACHABLE, message
    sight = world.sights.get(node.name, Sight())
    if liveness.other_boot(node, sight):
        return Type.STORAGE_REACHABLE, "Unknown", Reason.FIRST_SIGNS_AWAITED, NO_BEAT_YET
    sign = _sign(world, node, sight.heart, now)
    if sign is Sign.FRESH and node.host.heart_failing:
        return Type.STORAGE_REACHABLE, "True", Reason.HEART_DOWN, HEART_DOWN
    if sign is Sign.STALE and _sign(world, node, sight.lease, now) is Sign.STALE:
        return Type.STORAGE_REACHABLE, "Unknown", Reason.SILENT, _UNHEARD
    return _alive(Type.STORAGE_REACHABLE, sign, "its heart in Ceph is silent")


_UNHEARD = "neither its heart nor its agent is heard"


def _hypervisor(world: World, node: Node, now: Now) -> Row:
    if liveness.verdict(world, node, now).state is State.HEALTHY:
        if node.host.hypervisor_failing:
            return Type.HYPERVISOR_REACHABLE, "False", Reason.HYPERVISOR_DOWN, LIBVIRT_DOWN
        return Type.HYPERVISOR_REACHABLE, "True", Reason.ALIVE, ""
    said = world.sights.get(node.name, Sight()).testimony
    if said is None:
        return Type.HYPERVISOR_REACHABLE, "Unknown", Reason.NOT_NEEDED, _NOT_ASKED
    answers: Status = "True" if said.answer is Answer.LIBVIRT else "False"
    return Type.HYPERVISOR_REACHABLE, answers, said.answer, _ASKED


_NOT_ASKED = "it is asked only when its host is in doubt"
_ASKED = "its answer when it was asked last, as its host was in doubt"


def _fencing_ready(world: World, node: Node, now: Now) -> Row:
    blocked = grounds.obstacle(world, node)
    if blocked is not None:
        return Type.FENCING_READY, "False", blocked[0], blocked[1]
    told = find(node.conditions, Type.FENCING_READY)
    was_silent = told is not None and told.reason == Reason.CEPH_UNPROVEN
    fell_silent = brake.ceph_fell_silent(world.me, liveness.timings_for(world, node), now)
    # An operator that has just begun has not asked it yet.
    silent = was_silent if grounds.only_beginning(world) else fell_silent
    if silent:
        return Type.FENCING_READY, "Unknown", Reason.CEPH_UNPROVEN, FENCES_NOBODY
    return Type.FENCING_READY, "True", Reason.AS_SPECIFIED, ""


def _fenced(world: World, node: Node, now: Now) -> Row:
    phase = node.fence.phase
    if phase is FencePhase.OK:
        return Type.FENCED, "False", Reason.NOT_FENCED, ""
    listing = world.blocklist or frozenset()
    if phase is FencePhase.FENCED and world.blocklist is not None:
        lost = sorted(e.address for e in fence_table.gone(node.fence, listing))
        if lost:
            message = f"{', '.join(lost)} vanished from Ceph's blocklist; put back at once"
            return Type.FENCED, "False", Reason.FENCE_GONE, message
    fenced = phase is FencePhase.FENCED
    waits_for = grounds.waits_with_lift(node, listing)
    if fenced and grounds.looks_clean(world, node, now) and waits_for is not None:
        return Type.FENCED, "True", str(phase), f"it is clean; waits until {waits_for}"
    ends = {
        FencePhase.FENCING: "its addresses are being blocklisted",
        FencePhase.FENCED: _ends(world, node, now),
        FencePhase.LIFTING: "its entries are being removed",
    }
    true: Status = "True" if fenced else "False"
    return Type.FENCED, true, str(phase), ends[phase]


def _ends(world: World, node: Node, now: Now) -> str:
    """What ends a fence that stands."""
    fence, registered = node.fence, node.registration
    if grounds.disputed(world, node, fence.boot_id, now):
        return grounds.dispute(node, fence.boot_id)
    by_hand = f"put its boot ID, {fence.boot_id}, into spec.fencing.endedBoots"
    if registered is not None and registered.machine_id != fence.machine_id:
        return (
            f"another machine has its name now and cannot speak for the fenced one: once that is "
            f"off or destroyed, {by_hand}"
        )
    if node.deleting:
        return f"it is to be removed: once its machine is off or destroyed, {by_hand}"
    return (
        "ends when its agent reports clean, or it is powered on and comes back with another boot; "
        f"if it never will: once its machine is off or destroyed, {by_hand}"
    )


def _schedulable(world: World, node: Node, now: Now) -> Row:
    if node.deleting:
        return Type.SCHEDULABLE, "False", Reason.DELETING, _removal(world, node)
    if node.spec.cordoned:
        return Type.SCHEDULABLE, "False", Reason.CORDONED, "ends with scheduling.mode Enabled"
    if node.spec.drain:
        return Type.SCHEDULABLE, "False", Reason.DRAIN_COMES_LATER, _drain(world, node)
    if node.fence.phase is not FencePhase.OK:
        return Type.SCHEDULABLE, "False", Reason.FENCED, "ends when its fence is lifted"
    if node.host.storage_failing:
        message = _storage_fails(world, node, now)
        return Type.SCHEDULABLE, "False", Reason.UNREACHABLE, message
    if node.host.hypervisor_failing:
        return Type.SCHEDULABLE, "False", Reason.HYPERVISOR_DOWN, LIBVIRT_DOWN
    if earlier.state(world, node, now) in (State.HEALTHY, State.SUSPECT):
        return Type.SCHEDULABLE, "True", Reason.AS_SPECIFIED, ""
    reason, message = _sentence(world, node, now)
    return Type.SCHEDULABLE, "False", reason, message


def _removal(world: World, node: Node) -> str:
    """What the removal of its object waits for."""
    left = len(world.by_node.get(node.name, ()))
    if left:
        return (
            f"it is to be removed; waits until the {left} servers on it are gone: delete them, or "
            "halt them"
        )
    if node.fence.phase is not FencePhase.OK:
        return "it is to be removed; waits until its fence is lifted"
    told = ", ".join(f"{t.form} by {t.owner}" for t in node.fence.tainted)
    if told:
        return f"it is to be removed; a late removal may still arrive ({told}) until they restart"
    return "it is being removed"


def _drain(world: World, node: Node) -> str:
    here = len(world.by_node.get(node.name, ()))
    if not here:
        return "it is empty, and no new servers come here; ends with maintenance.mode None"
    return (
        f"no new servers come here, but the {here} on it stay: live migration comes later. Halt "
        "them to empty the host; ends with maintenance.mode None"
    )


def _ready(world: World, node: Node, now: Now, rows: list[Row]) -> Row:
    if node.fence.phase is not FencePhase.OK:
        return (
            Type.READY,
            "False",
            *next((reason, m) for kind, _, reason, m in rows if kind is Type.FENCED),
        )
    kept = earlier.kept(world, node, now)
    if kept is not None:
        return kept
    why = grounds.held(world, node, now)
    if why is not None:
        blocked = grounds.obstacle(world, node)
        because = blocked[1] if blocked and blocked[0] is why else HELD[why]
        lost = "has lost its storage" if node.host.storage_failing else "looks dead"
        return Type.READY, "False", why, f"it {lost} and is not fenced: {because}"
    state = earlier.state(world, node, now)
    if state not in (State.HEALTHY, State.SUSPECT):
        reason, message = _sentence(world, node, now)
        return Type.READY, "Unknown" if state is State.UNKNOWN else "False", reason, message
    if liveness.other_boot(node, world.sights.get(node.name, Sight())):
        return Type.READY, "Unknown", Reason.FIRST_SIGNS_AWAITED, NO_BEAT_YET
    # A suspicion takes nothing back: what is silent in it is about to be judged.
    needed = _NEEDED if state is State.HEALTHY else (Type.FENCING_READY,)
    for kind, status, reason, message in rows:
        if kind in needed and status == "False":
            return Type.READY, "False", reason, message
    told = _removal(world, node) if node.deleting else ""
    told = told or (HEART_DOWN if node.host.heart_failing else "")
    told = told or _orphans(world, node)
    return Type.READY, "True", Reason.ALIVE, told


def _orphans(world: World, node: Node) -> str:
    """No object is no order to kill: somebody has to be told of what has none."""
    here = (
        domain_name(said.uid, said.epoch)
        for said in node.host.servers
        if said.uid not in world.servers and said.state in _RUNS
    )
    domains = sorted(here)
    return orphans(domains) if domains else ""


_RUNS = (ReportState.RUNNING, ReportState.PAUSED)


_NEEDED = (Type.STORAGE_REACHABLE, Type.FENCING_READY, Type.HYPERVISOR_REACHABLE)
"""Without these a host is not Ready, however healthy it is."""


def _sentence(world: World, node: Node, now: Now) -> tuple[str, str]:
    state = earlier.state(world, node, now)
    registered = node.registration
    if registered is not None and grounds.disputed(world, node, registered.boot_id, now):
        return Reason.CONFIRMED_BUT_ALIVE, grounds.dispute(node, registered.boot_id)
    if node.gone:
        message = "its last boot is confirmed to have ended; start its agent, or delete the Node"
        return Reason.NOT_REGISTERED, message
    if state is State.UNREGISTERED:
        blocked = grounds.obstacle(world, node)
        if blocked is not None and blocked[0] == Reason.ADDRESS_IN_USE:
            return blocked  # the slip is told where it was made, before an agent tries its best
        return Reason.NOT_REGISTERED, _NO_AGENT
    sight = world.sights.get(node.name, Sight())
    if state is State.UNKNOWN and (sight.lease.read_at is None or sight.heart.read_at is None):
        return Reason.FIRST_SIGNS_AWAITED, "a boot, or a time after a fence, has just begun there"
    if state is State.UNKNOWN and not brake.ceph_answers(world, node, now):
        return Reason.UNKNOWN, CEPH_SILENT
    reason, message = SENTENCES.get(state, (Reason.SUSPECT, "its signs of life are late"))
    at = moments.judged_at(world, node, state)
    if state is State.STORAGE_DOUBT and at is not None:
        return reason, _storage_fails(world, node, now)
    if state is State.UNRESPONSIVE and at is not None:
        end = f"fenced at {at:%H:%M:%S}Z if its QEMUs hold no disks any more then"
        message += f"; {grounds.hitch(world, node, now) or end}"
    return reason, message
