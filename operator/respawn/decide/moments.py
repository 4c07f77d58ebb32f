"""When a host was last seen, and when it is judged: wall time, for people."""

from datetime import datetime, timedelta

from respawn.decide import liveness
from respawn.decide.liveness import State
from respawn.model.node import Node
from respawn.model.sight import Sight
from respawn.model.world import World


def last_seen(sight: Sight, *, storage: bool) -> datetime | None:
    """Wall time of the last sign of life, or of the last that its storage was well: for the
    timeline.
    """
    if storage:
        return sight.heart.changed_wall
    seen = liveness.last_change(sight)
    if seen is None:
        return None
    # What was found when somebody began to listen is no sign of that moment.
    observed = (p.changed_wall for p in (sight.lease, sight.heart) if not p.found)
    known = (*observed, sight.lease.written if sight.lease.found else None)
    return min(seen[1], max((at for at in known if at is not None), default=seen[1]))


def judged_at(world: World, node: Node, state: State) -> datetime | None:
    """Wall time at which a host in that state is judged once more, and maybe fenced; None: its
    state has no such end.
    """
    sight, timings = world.sights.get(node.name, Sight()), liveness.timings_for(world, node)
    if state is State.UNRESPONSIVE:
        seen = liveness.last_change(sight)
        return seen and seen[1] + timedelta(seconds=timings.unresponsive_after)
    if state is State.STORAGE_DOUBT and node.host.storage_failing:
        seen_well = sight.heart.changed_wall
        return seen_well and seen_well + timedelta(seconds=timings.storage_lost_after)
    return None
