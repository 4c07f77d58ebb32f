"""Fresh looks at a host's signs of life, for who is about to believe that a boot has ended."""

import asyncio

from respawn.decide import grounds
from respawn.model.node import Node
from respawn.ports.clock import Clock
from respawn.ports.cluster import Leases
from respawn.ports.errors import NotFound
from respawn.ports.heart import HeartReads
from respawn.runtime.heart_watch import told
from respawn.runtime.store import Store


class Vitals:
    """Reads Lease and heart; what they show goes into the store, beside what it saw before."""

    def __init__(self, *, store: Store, leases: Leases, heart: HeartReads, clock: Clock) -> None:
        self._store, self._leases, self._heart, self._clock = store, leases, heart, clock

    async def disputed(self, node: Node, boot_id: str | None) -> bool:
        """Whether a person says that this boot of `node`, just read, has ended, and it lives.

        By reads begun now. A boot of which nothing was known before counts as alive until it was
        silent for `fenceAfter`. Raises Unavailable.
        """
        if boot_id not in node.spec.ended_boots:
            return False
        begun = self._clock.now()
        token, beats = await asyncio.gather(self._lease(node.name), self._heart.read(node.name))
        # safety: both, as of now: what changed since the last look is a sign of life.
        self._store.saw_lease(node.name, token, begun.mono, begun.wall)
        self._store.saw_heart(node.name, *told(beats), begun.mono, begun.wall)
        return grounds.disputed(self._store.world(), node, boot_id, self._clock.now())

    async def _lease(self, name: str) -> str:
        try:
            return (await self._leases.get_lease(name)).token
        except NotFound:
            return ""
