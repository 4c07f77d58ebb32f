"""How many requests to the API are under way at a time: a slow API is not made slower by us.

Failover and routine have slots of their own, so neither waits for the other. Within a lane whoever
began first is served first: of twenty servers that lose their host together, the first is started
while the last still waits. Waiting for a slot is no part of a request's deadline.
"""

import asyncio
import heapq
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
