"""Loops that look: at hosts' Leases and hearts, at the blocklist, at our own access to Ceph.

They run in the leader and in the standby alike, so that a new leader that observed without a gap
owes nobody a fresh grace. What they see goes into the store; they decide nothing.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace

from respawn.decide import liveness
from respawn.model.node import FencePhase, Node
from respawn.model.placement import entity_ip
from respawn.model.sight import Beat, Sight
from respawn.ports.clock import Clock
from respawn.ports.cluster import Leases
from respawn.ports.errors import NotFound, PortError
from respawn.ports.fence import FencePort
from respawn.ports.heart import HeartReads
from respawn.runtime.store import Store

BLOCKLIST_EVERY = 5.0
AT_ONCE = 64
"""Reads under way at a time."""


class Monitors:
    """All monitors of one operator."""

    def __init__(
        self, *, store: Store, leases: Leases, heart: HeartReads, fence: FencePort, clock: Clock
    ) -> None:  # fmt: skip
        self._store, self._leases, self._heart = store, leases, heart
        self._fence, self._clock = fence, clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reading: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """All loops, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_hearts())
            group.create_task(self._watch_leases())
            group.create_task(self._watch_blocklist())
            group.create_task(self._prove_ourselves())

    # Hearts: every one of them, twice a beat.

    async def _watch_hearts(self) -> None:
        while True:
            for node in list(self._store.nodes.values()):
                self._begin("heart", node)
            await self._clock.sleep(self._pace())

    def _pace(self) -> float:
        return self._store.policy.timings.heartbeat / 4

    def _begin(self, what: str, node: Node) -> None:
        """Start a read, unless one is still under way or none is due."""
        this = (what, node.name)
        if this in self._reading or not self._due(what, node):
            return
        self._reading.add(this)
        task = asyncio.get_running_loop().create_task(self._read(what, node.name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, what: str, name: str) -> None:
        """One read; what could not be read is unknown, and the pulse's age says so by itself."""
        try:
            with suppress(PortError):
                await (self._read_heart if what == "heart" else self._read_lease)(name)
        finally:
            self._reading.discard((what, name))

    def _due(self, what: str, node: Node) -> bool:
        """Hearts every half beat and suspects at each pace; Leases only when the watch is quiet."""
        sight = self._store.sights.get(node.name, Sight())
        pulse = sight.heart if what == "heart" else sight.lease
        # A host whose fence stands is in no hurry: what it says next comes with its Node.
        in_doubt = node.name in self._store.uneasy and node.fence.phase is FencePhase.OK
        if pulse.read_at is None or in_doubt:
            return True
        timings = liveness.timings_for(self._store.world(), node)
        often = timings.heartbeat / 2 if what == "heart" else 1.25 * timings.lease_renew
        return self._clock.now().mono - pulse.read_at >= often - 1e-6

    async def _read_heart(self, name: str) -> None:
        async with self._slots:
            begun = self._clock.now()
            beats = await self._heart.read(name)
        token = "|".join(_mark(beat) for beat in beats)
        newest = max((b for b in beats if b), key=lambda b: b.counter, default=None)
        self._store.saw_heart(name, token, newest, begun.mono, begun.wall)

    # Leases: a watch feeds the store; what it does not confirm is read here.

    async def _watch_leases(self) -> None:
        while True:
            for node in list(self._store.nodes.values()):
                self._begin("lease", node)
            await self._clock.sleep(self._pace())

    async def _read_lease(self, name: str) -> None:
        async with self._slots:
            begun = self._clock.now()
            try:
                token = (await self._leases.get_lease(name)).token
            except NotFound:
                token = ""
        self._store.saw_lease(name, token, begun.mono, begun.wall)
        self._store.me = replace(self._store.me, api_ok_at=begun.mono)

    # Ceph and ourselves.

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

    async def _prove_ourselves(self) -> None:
        while True:
            begun = self._clock.now().mono
            with suppress(PortError):  # unproven, and self-doubt holds
                await self._heart.prove_write()
                self._store.me = replace(self._store.me, ceph_ok_at=begun)
            await self._clock.sleep(self._store.policy.timings.heartbeat)


def _mark(beat: Beat | None) -> str:
    return "" if beat is None else f"{beat.machine_id}/{beat.boot_id}/{beat.counter}"
