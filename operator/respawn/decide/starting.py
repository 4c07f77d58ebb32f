"""Free, or proven ended: prepare its disks, wait for its turn and for room, and place it."""

from dataclasses import replace
from datetime import timedelta

from respawn.decide import conditions, hardware, placement, recovery, situations
from respawn.decide.case import Case, Wish, set_free, with_report
from respawn.decide.conditions import Situation
from respawn.model.actions import Decision, Delete, EnsureDisks, Place, Protect
from respawn.model.base import Key, Kind
from respawn.model.conditions import Reason
from respawn.model.endings import ended
from respawn.model.placement import Phase
from respawn.model.server import Recovery, Server

_TELL_AFTER = timedelta(seconds=5)


def free(case: Case) -> Decision:
    """Nothing can write: delete it, prepare its disks, leave it at rest, or place it."""
    server = case.server
    if case.wish is Wish.DELETE:
        return _delete(case)
    if not server.protected_by_us and not server.deleting:
        reason = "before anything of it exists"
        return case.do(Protect(case.uid, case.epoch, reason), situations.working(case, "Preparing"))
    # A wish that cannot be granted, for a larger disk, keeps nobody's server down.
    enough = case.disks.startable if case.wish is Wish.RUN else case.disks.ready
    if not enough:
        return _prepare_disks(case)
    if case.wish is Wish.STOP:
        return case.do(None, situations.at_rest(case))
    return place(case, situations.working(case, "Waiting"))


def _delete(case: Case) -> Decision:
    if not case.server.protected_by_us:
        return Decision()
    # safety: S10, the user deleted it; the phase Deleted is written before any image goes.
    step = Delete(case.uid, case.epoch, "its deletion was asked for")
    return case.do(step, situations.deleting(case))


def _prepare_disks(case: Case) -> Decision:
    if case.disks.missing:
        step = EnsureDisks(case.uid, case.epoch, "its disks are not as specified")
        return case.do(step, situations.working(case, "Preparing", Reason.PREPARING_DISKS))
    reason = case.disks.reason or Reason.PREPARING_DISKS
    s = replace(situations.waiting(case, reason, case.disks.message), stalled=case.disks.stalled)
    disks = case.server.spec.disks
    awaits = {
        *(Key(Kind.POOL, disk.pool) for disk in disks),
        *(Key(Kind.IMAGE, disk.image) for disk in disks if disk.image is not None),
    }
    return case.wait(None, s, awaits)


def place(case: Case, s: Situation) -> Decision:
    """Free, or Revoked with a proof at hand: the next start, if it is due and there is room."""
    server, now = case.server, case.now
    unplugged = next((nic.name for nic in server.spec.networks if not nic.bridge), None)
    if unplugged is not None:
        return _nowhere_to_plug(case, unplugged)
    left = recovery.still_due(server, now.wall)
    if left is not None:
        return _back_off(case, left.total_seconds())
    first = recovery.waits_for(case.world, server, now)
    if first is not None:
        return _wave(case, first)
    target = _target(case)
    if target.node is None:
        return _no_room(case, target)
    fixed = hardware.for_start(server, case.world.nodes[target.node])
    why = f"it is to run, and {target.node} has room"
    # safety: only from Free, or from Revoked with a proof that the executor reads again itself.
    step = Place(case.uid, case.epoch, why, target.node, fixed)
    placed = replace(
        s,
        summary="Starting",
        reason=Reason.STARTING,
        phase=Phase.PLACED,
        node=target.node,
        message=situations.starting_on(target.node),
    )
    return case.do(step, placed, urgent=situations.lost(server))


def _nowhere_to_plug(case: Case, interface: str) -> Decision:
    message = f"interface {interface} names a Network, which comes later: name a bridge instead"
    s = replace(situations.waiting(case, Reason.NETWORKS_COME_LATER, message), stalled=True)
    return case.do(set_free(case, "its network is not there"), s)


def _target(case: Case) -> placement.Choice:
    server, world, now = case.server, case.world, case.now
    home = recovery.home(server)
    if home is not None:
        in_place = placement.choose(world, server, now, only=home)
        if in_place.node is not None:
            return in_place
    return placement.choose(
        world, server, now, only=recovery.only_node(server), avoid=recovery.avoid(server)
    )


def _no_room(case: Case, target: placement.Choice) -> Decision:
    alone = recovery.only_node(case.server)
    reason = Reason.NO_HOST_FITS if alone is None else Reason.WAITING_FOR_OWN_HOST
    if target.only_busy:
        reason = Reason.STARTING_ELSEWHERE_BUSY
    message = f"no host fits: {target.message}"
    never = placement.fits_nowhere(case.world, case.server)
    if never is not None:
        advice = "change it, or change or add a host"
        message = f"no host could take it even if empty and well: {never}; {advice}"
    if alone is not None:
        message = f"recovery.mode is None: waits for its own host: {target.why_not(alone)}"
    step = set_free(case, "there is no host for it now")
    s = situations.waiting(case, reason, message)
    return case.wait(step, s, (Key(Kind.NODE, name) for name in case.world.nodes))


def _wave(case: Case, first: Server) -> Decision:
    message = f"{first.namespace}/{first.name} of higher priority starts first"
    s = replace(
        situations.waiting(case, Reason.WAITING_FOR_WAVE, message),
        phase=case.server.placement.phase,
    )
    awaits = (Key(Kind.SERVER, first.uid),)
    told = conditions.outlook(case.server, case.disks, s)
    # Said only if it lasts: a wave of a second is not worth a write in the middle of a failover.
    record = case.server.status.recovery
    decision = Decision(outlook=told, next_check=case.now.mono + 1.0, awaits=awaits, urgent=True)
    if record is None or record.decided is None or _age(case, record) < _TELL_AFTER:
        return decision
    return with_report(case.server, decision)


def _age(case: Case, record: Recovery) -> timedelta:
    """Since it was decided, whichever operator's clock was ahead."""
    return abs(case.now.wall - (record.decided or case.now.wall))


def _back_off(case: Case, seconds: float) -> Decision:
    last = case.server.status.setback
    assert last is not None
    times = f"it ended {last.count} times in a row, at last on {last.node}"
    step = set_free(case, "the next start is not due yet")
    due = recovery.retry_at(last)
    again = f"starts again at {due:%H:%M:%S}Z, or when its spec changes"
    message = f"{times}: {ended(last, '')}; {again}"
    s = situations.waiting(case, Reason.BACK_OFF, message)
    return case.do(step, s, next_check=case.now.mono + seconds)
