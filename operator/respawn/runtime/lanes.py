"""How many requests to the API are under way at a time: a slow API is not made slower by us.

Failover and routine have slots of their own, so neither waits for the other; within a lane requests
are served in the order in which they came. Waiting for a slot is no part of a request's deadline.
"""

import asyncio
from contextvars import ContextVar

from respawn.model.conditions import Condition
from respawn.model.node import Fence, Node
from respawn.model.server import Server, ServerStatus
from respawn.model.storage import Image
from respawn.ports.cluster import Cluster

FAILOVER, ROUTINE = 16, 8
"""Requests under way at a time in each lane."""

urgent: ContextVar[bool] = ContextVar("urgent", default=False)
"""Whether the work under way is a failover; set by the worker, inherited by what it spawns."""


class LanedCluster:
    """Cluster, a lane at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lanes = {True: asyncio.Semaphore(FAILOVER), False: asyncio.Semaphore(ROUTINE)}
        self.event = cluster.event

    def _slot(self) -> asyncio.Semaphore:
        return self._lanes[urgent.get()]

    async def get_server(self, namespace: str, name: str) -> Server:
        """See Cluster.get_server."""
        async with self._slot():
            return await self._cluster.get_server(namespace, name)

    async def get_node(self, name: str) -> Node:
        """See Cluster.get_node."""
        async with self._slot():
            return await self._cluster.get_node(name)

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
