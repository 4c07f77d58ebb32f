"""What was told of a node before stands until something certain is known.

Suspicions pass, and an operator that has just begun knows nothing: neither is worth a word.
"""

from respawn.decide import grounds, liveness
from respawn.decide.liveness import State
from respawn.decide.node_sentences import HELD, SENTENCES
from respawn.model.base import Now
from respawn.model.conditions import Status, Type, find
from respawn.model.node import Node
from respawn.model.sight import Sight
from respawn.model.world import World

Row = tuple[Type, Status, str, str]
"""Of a condition: type, status, reason and message."""


def state(world: World, node: Node, now: Now) -> State:
    """What is told of it: what is not certain takes nothing back that was told before."""
    found, before = liveness.verdict(world, node, now).state, find(node.conditions, Type.READY)
    if before is None or not _uncertain(world, node, found):
        return found
    if before.status == "True":
        return State.SUSPECT  # which is Ready still
    if before.reason in HELD:
        return State.DEAD
    told = (s for s, (reason, _) in SENTENCES.items() if reason == before.reason)
    return next(told, found)


def kept(world: World, node: Node, now: Now) -> Row | None:
    """Ready as it was told, if that was bad, and nothing certain is known now."""
    before = find(node.conditions, Type.READY)
    if before is None or before.status == "True":
        return None
    was_held = before.reason in HELD
    bad = was_held or before.reason in {reason for reason, _ in SENTENCES.values()}
    # Who has just begun holds what others held, for want of proofs; theirs was the better reason.
    begins = was_held and grounds.held(world, node, now) and grounds.only_beginning(world)
    if begins or (bad and _uncertain(world, node, liveness.verdict(world, node, now).state)):
        return Type.READY, before.status, before.reason, before.message
    return None


def _uncertain(world: World, node: Node, state: State) -> bool:
    """A suspicion; signs that were not seen yet, or only once, which may be left by a host that is
    dead; or an agent that could not be heard before, because the API server was away.
    """
    sight = world.sights.get(node.name, Sight())
    limit = liveness.timings_for(world, node).fence_after
    if state is State.API_LOST:
        return sight.lease.heeded < limit or sight.heart.found
    if state is State.UNKNOWN:
        return _not_read_yet(sight, limit)
    seen_once = not (sight.lease.moved and sight.heart.moved)
    return state is State.SUSPECT or (state is State.HEALTHY and seen_once)


def _not_read_yet(sight: Sight, limit: float) -> bool:
    """Whether this process, which may just have begun, has still to read it for the first time."""
    since, at = sight.lease.read_since, sight.lease.read_at
    listening = at - since if at is not None and since is not None else 0.0
    return at is None or (sight.heart.read_at is None and listening < limit)
