"""Loops that look: at hosts' Leases that the watch does not confirm, and at the blocklist.

They run in the leader and in the standby alike, so that a new leader that observed without a gap
owes nobody a fresh grace. What they see goes into the store; they decide nothing.
"""

import asyncio

from respawn.decide import liveness
from respawn.model.placement import entity_ip
from respawn.ports.clock import Clock
from respawn.ports.cluster import Leases
from respawn.ports.errors import NotFound, PortError
from respawn.ports.fence import FencePort
from respawn.runtime.rounds import Rounds
from respawn.runtime.store import Store

BLOCKLIST_EVERY = 5.0


class Monitors:
    """All monitors that run in the operator's loop."""

    def __init__(self, *, store: Store, leases: Leases, fence: FencePort, clock: Clock) -> None:
        self._store, self._leases, self._fence, self._clock = store, leases, fence, clock

    async def run(self) -> None:
        """All loops, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease_rounds().run())
            group.create_task(self._watch_blocklist())

    # Leases: a watch feeds the store; what it does not confirm is read here.

    def _lease_rounds(self) -> Rounds:
        return Rounds(
            store=self._store, clock=self._clock, read=self._read_lease,
            pulse=lambda sight: sight.lease,
            often=lambda n: 1.25 * liveness.timings_for(self._store.world(), n).lease_renew,
        )  # fmt: skip

    async def _read_lease(self, name: str) -> None:
        begun = self._clock.now()
        try:
            token = (await self._leases.get_lease(name)).token
        except NotFound:
            token = ""
        self._store.saw_lease(name, token, begun.mono, begun.wall)
        self._store.api_answered(begun.mono)

    # Ceph.

    async def _watch_blocklist(self) -> None:
        while True:
            try:
                self._store.blocklist = await self._fence.listing()
                ours = await self._fence.own_addresses()
                theirs = await self._fence.infrastructure()
                self._store.protected = frozenset(theirs | {entity_ip(a) for a in ours})
            except PortError:
                self._store.blocklist = None
            await self._clock.sleep(BLOCKLIST_EVERY)
