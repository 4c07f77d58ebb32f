"""How many requests to the API are under way at a time: a slow API is not made slower by us.

Failover and routine have slots of their own, so neither waits for the other. Within a lane whoever
began first is served first: of twenty servers that lose their host together, the first is started
while the last still waits. Waiting for a slot is no part of a request's deadline.
"""

import asyncio
import heapq
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from itertools import count

from respawn.model.conditions import Condition
from respawn.model.node import Fence, Node
from respawn.model.server import Server, ServerStatus
from respawn.model.storage import Image
from respawn.ports.cluster import Cluster
from respawn.ports.together import Together

FAILOVER, ROUTINE = 6, 8
"""Requests under way at a time in each lane. At 10 ms each six are 600 in a second, which is more
than one process decides about."""

BESIDE_FENCE = FAILOVER // 2
"""Servers at a time that are revoked, and as many that are looked at, beside their host's fence."""

urgent: ContextVar[bool] = ContextVar("urgent", default=False)
"""Whether the work under way is a failover; set by the worker, inherited by what it spawns."""

turn: ContextVar[int] = ContextVar("turn", default=0)
"""When the work under way was begun, as a number that grows; set and inherited likewise."""


class Slots:
    """A bound on what is under way at a time; who has the earliest turn goes first."""

    def __init__(self, number: int) -> None:
        self._free, self._number = number, number
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return self._free < self._number

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (turn.get(), next(self._arrivals), given))
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():  # given in the very moment of the cancellation
                self._release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        while self._waiting:
            given = heapq.heappop(self._waiting)[2]
            if not given.done():
                given.set_result(None)
                return
        self._free += 1


class BesideFence:
    """What servers of a lost host do while it is fenced, a few at a time: not to delay the fence.

    With as many as the lane takes, twenty on two cores delayed the fence and the first start by a
    tenth of a second each. Their bans are not counted: those wait for a commit of Ceph's monitors,
    all for the same one, and a second each if that is slow.
    """

    def __init__(self) -> None:
        # One waits for the API alone, the other for Ceph as well, which may be away.
        self._revoking, self._looking = Slots(BESIDE_FENCE), Slots(BESIDE_FENCE)

    def revoking(self) -> AbstractAsyncContextManager[None]:
        """Around the write of a revocation; what is no failover waits for nobody."""
        return self._revoking if urgent.get() else nullcontext()

    def looking(self) -> AbstractAsyncContextManager[None]:
        """Around the looks before a ban."""
        return self._looking

    @property
    def busy(self) -> bool:
        """Whether anything of that is under way."""
        return self._revoking.busy or self._looking.busy


class LanedCluster:
    """Cluster, a lane at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lanes = {True: Slots(FAILOVER), False: Slots(ROUTINE)}
        self._nodes = Together(self._read_node)
        self.event = cluster.event

    def _slot(self) -> Slots:
        return self._lanes[urgent.get()]

    async def get_server(self, namespace: str, name: str) -> Server:
        """See Cluster.get_server."""
        async with self._slot():
            return await self._cluster.get_server(namespace, name)

    async def get_node(self, name: str) -> Node:
        """See Cluster.get_node."""
        return await self._nodes((urgent.get(), name))

    async def _read_node(self, asked: tuple[bool, str]) -> Node:
        # Its slot is that of the first who asked: it was begun first, and is served first.
        async with self._slot():
            return await self._cluster.get_node(asked[1])

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        """See Cluster.write_server."""
        async with self._slot():
            return await self._cluster.write_server(read, status)

    async def write_fence(
        self, read: Node, fence: Fence, conditions: tuple[Condition, ...]
    ) -> Node:
        """See Cluster.write_fence."""
        async with self._slot():
            return await self._cluster.write_fence(read, fence, conditions)

    async def write_image(self, read: Image, image: Image) -> Image:
        """See Cluster.write_image."""
        async with self._slot():
            return await self._cluster.write_image(read, image)

    async def protect_server(self, read: Server, on: bool) -> Server | None:
        """See Cluster.protect_server."""
        async with self._slot():
            return await self._cluster.protect_server(read, on)

    async def protect_node(self, read: Node, on: bool) -> Node | None:
        """See Cluster.protect_node."""
        async with self._slot():
            return await self._cluster.protect_node(read, on)

    async def occupied(self, node: str) -> bool:
        """See Cluster.occupied."""
        async with self._slot():
            return await self._cluster.occupied(node)
