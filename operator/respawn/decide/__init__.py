"""Deciding: pure functions over an immutable picture, with the moment passed in.

`decide(world, key, now)` names at most one step, when to look again, and what the status should
tell. Nothing here does I/O, asks a clock or draws lots, so all of it runs in virtual time.
"""

from respawn.decide import fencing, lifecycle
from respawn.model.actions import Decision
from respawn.model.base import Key, Kind, Now
from respawn.model.world import World

NOTHING = Decision()


def decide(world: World, key: Key, now: Now) -> Decision:
    """The next step for the thing named by `key`; a standby only answers for its own taints.

    A leader that slept past the end of its lease, and has not noticed yet, is a standby.
    """
    if not world.me.leader or now.mono >= world.me.lease_until:
        node = world.nodes.get(key.id) if key.kind is Kind.NODE else None
        return fencing.stand_by(world, node, now) if node else NOTHING
    if key.kind is Kind.SERVER and key.id in world.servers:
        return lifecycle.decide(world, world.servers[key.id], now)
    if key.kind is Kind.NODE and key.id in world.nodes:
        return fencing.decide(world, world.nodes[key.id], now)
    return NOTHING
