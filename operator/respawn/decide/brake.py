"""Self-doubt (S7): before a host is condemned, the operator proves its own health, and a brake
holds when so many hosts fail at once that the fault is likelier on our side."""

from datetime import timedelta
from math import ceil

from respawn.decide import liveness
from respawn.model.base import Now
from respawn.model.conditions import Reason
from respawn.model.node import FencePhase, Node
from respawn.model.policy import Timings
from respawn.model.sight import Sight
from respawn.model.world import Me, World

LEASE_MARGIN = 0.5
"""Seconds of leadership that must remain when something irreversible begins."""


def ceph_answers(world: World, node: Node, now: Now) -> bool:
    """Whether the operator itself has had an answer from Ceph lately enough to judge `node`."""
    return _lately(world.me.ceph_ok_at, world, node, now)


def ceph_fell_silent(me: Me, timings: Timings, now: Now) -> bool:
    """Whether it has answered this operator, and not for `fenceAfter` since."""
    return me.ceph_ok_at is not None and me.ceph_ok_at < now.mono - timings.fence_after


def _lately(at: float | None, world: World, node: Node, now: Now) -> bool:
    return at is not None and at >= now.mono - liveness.timings_for(world, node).fence_after / 2


def doubt(world: World, node: Node, now: Now) -> Reason | None:
    """Why `node` may not be condemned although it looks dead; None: nothing speaks against it."""
    timings = liveness.timings_for(world, node)
    me = world.me
    if not me.leader or me.lease_until - now.mono < LEASE_MARGIN:
        return Reason.NOT_LEADER
    if not _lately(me.api_ok_at, world, node, now):
        return Reason.API_UNPROVEN
    if not ceph_answers(world, node, now):
        return Reason.CEPH_UNPROVEN
    if not world.policy.brake_released and failing(world, node, now) > limit(world):
        return Reason.TOO_MANY_HOSTS
    return None if _another_heart(world, node, timings, now) else Reason.NO_OTHER_HEART


def limit(world: World) -> int:
    """How many hosts may fail within one window: max(1, ceil(N/3))."""
    hosts = sum(1 for n in world.nodes.values() if n.registration is not None)
    return max(1, ceil(hosts / 3))


def many_in_doubt(world: World, now: Now) -> bool:
    """Whether more hosts are in doubt than may fail within one window."""
    states = (liveness.verdict(world, n, now).state for n in world.nodes.values())
    return sum(state in liveness.DOUBTFUL for state in states) > limit(world)


def failing(world: World, node: Node, now: Now) -> int:
    """How many hosts failed within one window of `node`'s failure, itself included.

    It is judged by when they failed, so hosts that failed together stay held together until
    enough of them are back; one that failed long before counts no more. One that has only just
    been heard again still counts: when a switch is back, the last to be heard is not the dead one.
    A host with a hard proof (another boot) has no failing verdict and does not count.
    """
    own = liveness.verdict(world, node, now).failed_at
    return sum(_fails_with(world, other, own, now) for other in world.nodes.values())


def _fails_with(world: World, other: Node, own: float | None, now: Now) -> bool:
    window = world.policy.brake_window
    if other.fence.phase in (FencePhase.FENCING, FencePhase.FENCED):
        return not _lease_fresh(world, other, now) and _fenced_near(world, other, own, now)
    if _just_back(world, other, now):
        return True
    v = liveness.verdict(world, other, now)
    if v.state not in liveness.FAILING or v.failed_at is None:
        return False
    return own is None or abs(v.failed_at - own) <= window


def _fenced_near(world: World, other: Node, own: float | None, now: Now) -> bool:
    """Whether a host that was fenced failed within one window of `own` (else of now)."""
    fenced, window = other.fence.fenced, world.policy.brake_window
    if fenced is None:
        return True
    failed = now.mono if own is None else own
    seen = liveness.last_change(world.sights.get(other.name, Sight()))
    if seen is not None and seen[1] <= fenced:
        # This process saw it fail: no wall clock, which may be set, has a say.
        theirs = seen[0] + liveness.timings_for(world, other).fence_after
        return abs(theirs - failed) <= window
    failed_wall = now.wall - timedelta(seconds=now.mono - failed)
    return abs(fenced - failed_wall) <= timedelta(seconds=window)


def _just_back(world: World, node: Node, now: Now) -> bool:
    """Whether it was heard again so lately that others of its kind may still be on their way."""
    back = world.sights.get(node.name, Sight()).back_at
    return back is not None and now.mono - back < liveness.timings_for(world, node).fence_after


def _lease_fresh(world: World, node: Node, now: Now) -> bool:
    return liveness.verdict(world, node, now).state is liveness.State.HEALTHY


def _another_heart(world: World, node: Node, timings: Timings, now: Now) -> bool:
    return any(
        liveness.sign(
            world.sights.get(name, Sight()).heart,
            timings.fence_after / 2,
            now.mono,
            timings.fence_after / 2,
        )
        is liveness.Sign.FRESH
        for name in world.nodes
        if name != node.name
    )
