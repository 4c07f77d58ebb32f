"""Loops that look: at hosts' Leases that the watch does not confirm, and at the blocklist.

They run in the leader and in the standby alike, so that a new leader that observed without a gap
owes nobody a fresh grace. What they see goes into the store; they decide nothing.
"""

import asyncio
from contextlib import suppress

from respawn.decide import liveness
from respawn.model.node import FencePhase, Node
from respawn.model.placement import entity_ip
from respawn.model.sight import Sight
from respawn.ports.clock import Clock
from respawn.ports.cluster import Leases
from respawn.ports.errors import NotFound, PortError
from respawn.ports.fence import FencePort
from respawn.runtime.store import Store

BLOCKLIST_EVERY = 5.0
AT_ONCE = 64
"""Reads under way at a time."""


class Monitors:
    """All monitors that run in the operator's loop."""

    def __init__(self, *, store: Store, leases: Leases, fence: FencePort, clock: Clock) -> None:
        self._store, self._leases, self._fence, self._clock = store, leases, fence, clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """All loops, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_leases())
            group.create_task(self._watch_blocklist())

    # Leases: a watch feeds the store; what it does not confirm is read here.

    async def _watch_leases(self) -> None:
        while True:
            for node in list(self._store.nodes.values()):
                if node.name not in self._reading and self._due(node):
                    self._begin(node.name)
            await self._clock.sleep(self._store.policy.timings.heartbeat / 4)

    def _begin(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._read(name))
        self._reading[name] = task
        task.add_done_callback(lambda _: self._reading.pop(name, None))

    def _due(self, node: Node) -> bool:
        """Only when the watch is quiet, but a suspect's at each pace."""
        pulse = self._store.sights.get(node.name, Sight()).lease
        # A host whose fence stands is in no hurry: what it says next comes with its Node.
        in_doubt = node.name in self._store.uneasy and node.fence.phase is FencePhase.OK
        if pulse.read_at is None or in_doubt:
            return True
        often = 1.25 * liveness.timings_for(self._store.world(), node).lease_renew
        return self._clock.now().mono - pulse.read_at >= often - 1e-6

    async def _read(self, name: str) -> None:
        """One read; what could not be read is unknown, and the pulse's age says so by itself."""
        with suppress(PortError):
            async with self._slots:
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
