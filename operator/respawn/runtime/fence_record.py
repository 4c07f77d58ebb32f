"""The record of a node's fence: read afresh, and compared and set."""

from collections.abc import Callable

from respawn.decide import fence_table
from respawn.model.actions import NodeStep, Outlook
from respawn.model.conditions import merged
from respawn.model.node import Fence, FencePhase, Node
from respawn.model.storage import Entry
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster
from respawn.ports.errors import Conflict
from respawn.ports.fence import FencePort
from respawn.runtime.settling import Outdated
from respawn.runtime.store import Store

ATTEMPTS = 8
"""Writes of a node until its agent, who writes to it too, lets one through."""


class FenceRecord:
    """What is on record about the fences; every method raises the port errors, and Outdated."""

    def __init__(self, *, store: Store, cluster: Cluster, fence: FencePort, clock: Clock) -> None:
        self._store, self._cluster, self._fence, self._clock = store, cluster, fence, clock

    async def still(self, step: NodeStep, phase: FencePhase) -> Node:
        """The node as of now. Raises Outdated unless that fence is still in that phase."""
        fresh = await self._cluster.get_node(step.node)
        self._store.put_node(fresh)
        fence = fresh.fence
        if (fence.phase, fence.generation) != (phase, step.generation):
            raise Outdated(f"its fence is {fence.phase} {fence.generation}")
        return fresh

    async def read_blocklist(self) -> frozenset[Entry]:
        """The blocklist as it stands; the store learns it too."""
        listing = await self._fence.listing()
        self._store.blocklist = listing
        return listing

    async def move(self, node: Node, outlook: Outlook, move: Callable[[Node], Fence]) -> None:
        """Compare-and-set what `move` makes of the node; the agent writes to it too, so read again.

        `move` judges each reading anew. Raises Outdated when it no longer allows the move.
        """
        wall = self._clock.now().wall
        for _ in range(ATTEMPTS):
            try:
                fence = move(node)
            except fence_table.IllegalMove as refused:
                self._store.put_node(node)
                raise Outdated(str(refused)) from refused
            told = merged(node.conditions, outlook.conditions, wall)
            try:
                self._store.put_node(await self._cluster.write_fence(node, fence, told))
                return
            except Conflict:
                node = await self._cluster.get_node(node.name)
        raise Conflict(f"{node.name} is written by others all the time")
