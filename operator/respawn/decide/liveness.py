"""Is a host alive? Two hearts, judged by change observed, and witnesses for doubt.

Nothing here is needed for safety: a wrong verdict costs a restart, never a byte. What could not be
read is unknown, and unknown never condemns anybody.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from respawn.model.base import Now
from respawn.model.node import FencePhase, Node
from respawn.model.policy import Timings
from respawn.model.sight import Answer, Pulse, Sight
from respawn.model.world import World

ASK_AGAIN = 1.0
"""Seconds between two questions to the witnesses of one host."""


KERNEL_ALONE = 2.0
"""Seconds beyond its limit for which only a host's kernel must have answered before that is said
of it: a libvirtd under load is slower than a kernel."""


class Sign(StrEnum):
    """One sign of life."""

    FRESH = "fresh"
    STALE = "stale"
    UNKNOWN = "unknown"


class State(StrEnum):
    """What is thought of a host."""

    UNREGISTERED = "Unregistered"
    UNKNOWN = "Unknown"
    HEALTHY = "Healthy"
    API_LOST = "ApiLost"
    """Its agent is down or cut from the API; its servers run."""
    REBOOTED = "Rebooted"
    """Another boot beats in Ceph than is registered: what ran on the old one is dead."""
    STORAGE_DOUBT = "StorageDoubt"
    SUSPECT = "Suspect"
    """Both signs are late; the witnesses are being asked."""
    CUT_OFF = "CutOff"
    """Both stale, but its libvirt answers."""
    UNRESPONSIVE = "Unresponsive"
    """Both stale, only its kernel answers; its QEMUs' watches will decide."""
    UNRESPONSIVE_RUNNING = "UnresponsiveRunning"
    # condemned:
    DEAD = "Dead"
    UNRESPONSIVE_DEAD = "UnresponsiveDead"
    STORAGE_LOST = "StorageLost"


CONDEMNED = frozenset({State.DEAD, State.UNRESPONSIVE_DEAD, State.STORAGE_LOST})
FAILING = CONDEMNED | {State.SUSPECT, State.UNRESPONSIVE, State.UNRESPONSIVE_RUNNING}

DOUBTFUL = FAILING | {State.STORAGE_DOUBT, State.CUT_OFF}

_BY_SIGNS = {
    (Sign.FRESH, Sign.FRESH): State.HEALTHY,
    (Sign.STALE, Sign.FRESH): State.API_LOST,
    (Sign.FRESH, Sign.STALE): State.STORAGE_DOUBT,
    (Sign.STALE, Sign.STALE): State.SUSPECT,
}
"""The table; a pair with an unknown sign is not in it, and nothing happens."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a host, since when it failed (monotonic), and when to think again."""

    state: State
    failed_at: float | None = None
    next_check: float | None = None
    ask: bool = False
    """Whether its witnesses should be asked now."""
    look: bool = False
    """Whether its images' watchers should be looked at now."""

    @property
    def condemned(self) -> bool:
        """Whether it should be fenced and its servers restarted elsewhere."""
        return self.state in CONDEMNED


def suspect_after(timings: Timings) -> float:
    """Seconds of silence after which the witnesses are asked, well inside the window."""
    return max(2 * timings.lease_renew, timings.fence_after / 2)


def timings_for(world: World, node: Node) -> Timings:
    """The timings that bind this host: new ones only once its agent obeys them."""
    return world.policy.binding(node.host.policy_generation, node.host.timings)


def sign(pulse: Pulse, limit: float, now: float, readable: float) -> Sign:
    """`pulse` against `limit` seconds of silence; unread for `readable` seconds is unknown."""
    silence = pulse.silence
    if silence is None or pulse.read_at is None or now - pulse.read_at > readable:
        return Sign.UNKNOWN
    return Sign.STALE if silence >= limit else Sign.FRESH


def lives_until(world: World, node: Node, boot_id: str, now: Now) -> float | None:
    """Until when (monotonic) exactly that boot counts as alive, if no further sign of it comes.

    None: it was silent for `fenceAfter` up to the last read, or nothing of it was ever read: who
    believes in silence reads afresh before.
    """
    sight = world.sights.get(node.name, Sight())
    limit = timings_for(world, node).fence_after
    ends = [
        p.changed_at + limit
        for p in sight.signs_of(boot_id)
        if p.changed_at is not None and (p.silence or 0.0) < limit
    ]
    if not ends:
        return None
    # One that is over was not confirmed: it could not be read since.
    return max(ends) if max(ends) > now.mono else now.mono + ASK_AGAIN


def verdict(world: World, node: Node, now: Now) -> Verdict:
    """What to think of `node`."""
    if node.registration is None:
        return Verdict(State.UNREGISTERED)
    if node.gone and node.fence.phase is FencePhase.OK:
        until = lives_until(world, node, node.registration.boot_id, now)
        return Verdict(State.UNREGISTERED, next_check=until)
    sight = world.sights.get(node.name, Sight())
    timings = timings_for(world, node)
    signs = _signs(node, sight, timings, now.mono)
    state = _BY_SIGNS.get(signs, State.UNKNOWN)
    if node.fence.phase is not FencePhase.OK:
        return Verdict(State.DEAD if state is State.SUSPECT else state)
    if state is State.API_LOST and other_boot(node, sight):
        return Verdict(State.REBOOTED)
    if state in (State.API_LOST, State.STORAGE_DOUBT) and _fading(sight, timings):
        return _late(sight, timings, now.mono)
    if state is State.STORAGE_DOUBT:
        return _storage(node, sight, timings, now.mono)
    if state is State.SUSPECT:
        return _silent(node, sight, timings, now.mono)
    if state is State.HEALTHY:
        return _perhaps_suspect(sight, timings, now.mono)
    return Verdict(state)


def _signs(node: Node, sight: Sight, timings: Timings, now: float) -> tuple[Sign, Sign]:
    readable = timings.fence_after / 2
    lease = sign(sight.lease, timings.fence_after, now, readable)
    if node.fence.phase is not FencePhase.OK:
        return lease, lease  # a fenced host's Ceph handles are shut: its Lease speaks for it
    return lease, sign(sight.heart, timings.fence_after, now, readable)


def other_boot(node: Node, sight: Sight) -> bool:
    """Whether the last beat in Ceph is of another boot of the machine than is registered."""
    beat, registered = sight.beat, node.registration
    return (
        beat is not None
        and registered is not None
        and beat.machine_id == registered.machine_id
        and beat.boot_id != registered.boot_id
    )


def _perhaps_suspect(sight: Sight, timings: Timings, now: float) -> Verdict:
    """Fresh by `fence_after`; but both late already: then ask, while the window still runs."""
    begins = suspected_at(sight, timings)
    if begins is None or min(_silence(sight.lease), _silence(sight.heart)) < suspect_after(timings):
        soonest = None if begins is None else max(begins, now + 0.05)
        return Verdict(State.HEALTHY, next_check=soonest)
    return _late(sight, timings, now)


def _fading(sight: Sight, timings: Timings) -> bool:
    """One sign is stale, and the other one on its way there: it would be wrong to speak of an
    agent that is down, or of storage, when it is the host that is about to be found dead."""
    return min(_silence(sight.lease), _silence(sight.heart)) >= timings.fence_after / 2


def _late(sight: Sight, timings: Timings, now: float) -> Verdict:
    begins = suspected_at(sight, timings)
    assert begins is not None
    failed = begins - suspect_after(timings) + timings.fence_after
    if now < begins:  # an answer to a question asked before would not count
        return Verdict(State.SUSPECT, failed, begins)
    due = _ask_due(sight, begins, now)
    return Verdict(State.SUSPECT, failed, max(min(failed, now + ASK_AGAIN), now + 0.02), ask=due)


def _silent(node: Node, sight: Sight, timings: Timings, now: float) -> Verdict:
    """Both stale: the witnesses decide, by their last answer since the suspicion."""
    begins = suspected_at(sight, timings)
    assert begins is not None
    failed = begins - suspect_after(timings) + timings.fence_after
    again = now + ASK_AGAIN
    due = _ask_due(sight, begins, now)
    said = sight.testimony
    if said is None or said.asked_at < begins:
        return Verdict(State.SUSPECT, failed, again, ask=due)
    if said.answer is Answer.LIBVIRT:
        registered = node.registration
        same = registered is None or said.boot_id in (None, registered.boot_id)
        # Another boot whose agent and heart never came up: what ran before is gone, fence it.
        return (
            Verdict(State.CUT_OFF, failed, again, ask=due) if same else Verdict(State.DEAD, failed)
        )
    if said.answer is Answer.KERNEL:
        return _unresponsive(sight, timings, failed, now, due)
    answered = sight.answered_at
    if answered is not None and answered >= begins and now < answered + timings.fence_after:
        # It answered a moment ago: one lost probe is not silence.
        return Verdict(State.SUSPECT, failed, again, ask=due)
    return Verdict(State.DEAD, failed)


def _unresponsive(sight: Sight, timings: Timings, failed: float, now: float, due: bool) -> Verdict:
    """A watch outlives its client by half a minute: worthless at once, good evidence later."""
    begin = failed - timings.fence_after + timings.unresponsive_after
    looked = sight.watches
    if now < min(begin, failed + KERNEL_ALONE):
        return Verdict(State.SUSPECT, failed, now + ASK_AGAIN, ask=due)
    if now < begin:
        return Verdict(State.UNRESPONSIVE, failed, min(begin, now + ASK_AGAIN), ask=due)
    if looked is None or looked.begun_at < begin:
        return Verdict(State.UNRESPONSIVE, failed, now + ASK_AGAIN, ask=due, look=True)
    if not looked.alive:
        return Verdict(State.UNRESPONSIVE_DEAD, failed)
    stale = now - looked.begun_at > 10.0
    return Verdict(State.UNRESPONSIVE_RUNNING, failed, now + ASK_AGAIN, ask=due, look=stale)


def _storage(node: Node, sight: Sight, timings: Timings, now: float) -> Verdict:
    """Only the host's own word makes a silent heart more than a silent heart process."""
    silence = _silence(sight.heart)
    changed = sight.heart.changed_at or 0.0
    if not node.host.storage_failing:
        return Verdict(State.STORAGE_DOUBT)
    if silence < timings.storage_lost_after:
        due = max(changed + timings.storage_lost_after, now + 0.05)
        return Verdict(State.STORAGE_DOUBT, next_check=due)
    return Verdict(State.STORAGE_LOST, changed + timings.storage_lost_after)


def last_change(sight: Sight) -> tuple[float, datetime] | None:
    """When the later of both signs last changed: monotonic, and wall time for people."""
    seen = [
        (p.changed_at, p.changed_wall)
        for p in (sight.lease, sight.heart)
        if p.changed_at is not None and p.changed_wall is not None
    ]
    return max(seen) if len(seen) == 2 else None


def after_silence(before: Sight, after: Sight, timings: Timings, now: float) -> Sight:
    """`after`, which follows on `before`, with the moment of return if it ends a long silence."""
    if not _fails(before, timings) or _fails(after, timings):
        return after
    return replace(after, back_at=now)


def _fails(sight: Sight, timings: Timings) -> bool:
    """Whether it is silent so long that it may be condemned: in both signs, or in its heart."""
    heart, both = _silence(sight.heart), min(_silence(sight.lease), _silence(sight.heart))
    return both >= timings.fence_after or heart >= timings.storage_lost_after


def suspected_at(sight: Sight, timings: Timings) -> float | None:
    """When silence in both became suspicious (monotonic)."""
    seen = last_change(sight)
    return None if seen is None else seen[0] + suspect_after(timings)


def _silence(pulse: Pulse) -> float:
    return pulse.silence or 0.0


def _ask_due(sight: Sight, since: float, now: float) -> bool:
    asked = sight.testimony.asked_at if sight.testimony else None
    return not sight.asking and (asked is None or asked < since or now >= asked + ASK_AGAIN)
