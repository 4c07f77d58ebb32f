"""Dispatches the steps on a node, and takes the looks that come before a fence."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from respawn.decide import liveness
from respawn.model import actions
from respawn.model.actions import NodeStep, Outlook
from respawn.model.node import Node
from respawn.model.sight import Answer, Testimony, WatchLook
from respawn.model.storage import bans
from respawn.model.world import World
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster, Leases
from respawn.ports.errors import NotFound
from respawn.ports.fence import FencePort
from respawn.ports.images import Images
from respawn.ports.witness import Witness
from respawn.runtime.fence_record import FenceRecord
from respawn.runtime.fencing import Fencing
from respawn.runtime.lifting import Lifting
from respawn.runtime.points import Point
from respawn.runtime.settling import Outdated, pool_of
from respawn.runtime.store import Store
from respawn.runtime.vitals import Vitals

LONGEST_QUESTION = 2.0
"""Seconds that the witnesses have at most."""


class NodeExecutor:
    """One method per step; every one raises the port errors, and Outdated."""

    def __init__(
        self, *, store: Store, cluster: Cluster, leases: Leases, fence: FencePort,
        images: Images, witness: Witness, vitals: Vitals, clock: Clock, point: Point,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:  # fmt: skip
        self._store, self._cluster, self._images, self._witness = store, cluster, images, witness
        self._clock, self._point, self._spawn = clock, point, spawn
        self._record = record = FenceRecord(store=store, cluster=cluster, fence=fence, clock=clock)
        fencing = Fencing(
            record=record, store=store, cluster=cluster, leases=leases, fence=fence,
            clock=clock, point=point,
        )  # fmt: skip
        lifting = Lifting(
            record=record, store=store, cluster=cluster, fence=fence, vitals=vitals, point=point,
        )  # fmt: skip
        self._methods: dict[type, Callable[[Any, Node, Outlook, World], Awaitable[None]]] = {
            actions.BeginFence: fencing.begin,
            actions.ApplyFence: fencing.apply,
            actions.RestoreFence: fencing.restore,
            actions.BeginLift: lifting.begin,
            actions.TakeLift: lifting.take,
            actions.FinishLift: lifting.finish,
            actions.Untaint: lifting.untaint,
            actions.AskWitnesses: self._ask,
            actions.LookAtWatches: self._look,
            actions.ProtectNode: self._protect,
            actions.UnprotectNode: self._unprotect,
            actions.ReportNode: self._report,
        }

    async def run(self, step: NodeStep, outlook: Outlook, world: World) -> None:
        """Carry out `step`, that was decided on `world`."""
        node = world.nodes.get(step.node)
        if node is None or node.fence.generation != step.generation:
            raise Outdated("the node has moved on")
        await self._methods[type(step)](step, node, outlook, world)

    # Looks.

    async def _ask(
        self, step: actions.AskWitnesses, node: Node, outlook: Outlook, world: World
    ) -> None:
        """Ask in the background: the window runs on, and so may the node's next decision."""
        timings = liveness.timings_for(world, node)
        window = timings.fence_after - liveness.suspect_after(timings)
        self._store.asking(node.name, True)
        self._spawn(self._hear(node, min(LONGEST_QUESTION, 0.7 * window)))

    async def _hear(self, node: Node, deadline: float) -> None:
        begun = self._clock.now().mono
        answer, boot = await self._witness.ask(node, deadline)
        said = Testimony(begun, answer, boot)
        self._store.heard(node.name, said, answered=answer is not Answer.SILENCE)

    async def _look(
        self, step: actions.LookAtWatches, node: Node, outlook: Outlook, world: World
    ) -> None:
        begun = self._clock.now().mono
        looks = (
            self._images.clients(pool_of(disk, world.pools), disk.image)
            for server in world.here(node.name)
            for disk in server.status.disks
        )
        found = await asyncio.gather(*looks, return_exceptions=True)
        listing = await self._record.read_blocklist()
        lost = [f for f in found if isinstance(f, BaseException) and not isinstance(f, NotFound)]
        if lost:
            raise lost[0]
        watchers = [w for f in found if not isinstance(f, BaseException) for w in f.watchers]
        host = set(node.storage_addresses)
        alive = any(w.ip in host and not bans(listing, w.address) for w in watchers)
        self._store.looked(node.name, WatchLook(begun, alive))

    # Around it.

    async def _protect(
        self, step: actions.ProtectNode, node: Node, outlook: Outlook, world: World
    ) -> None:
        await self._protection(node, True)

    async def _unprotect(
        self, step: actions.UnprotectNode, node: Node, outlook: Outlook, world: World
    ) -> None:
        # safety: whoever is placed there could neither start nor be proven ended without its Node;
        # the picture may not show yet what another leader has placed.
        if await self._cluster.occupied(node.name):
            raise Outdated("servers are placed there")
        await self._protection(node, False)

    async def _protection(self, node: Node, on: bool) -> None:
        written = await self._cluster.protect_node(node, on)
        if written is None:
            self._store.drop_node(node.name)
        else:
            self._store.put_node(written)

    async def _report(
        self, step: actions.ReportNode, node: Node, outlook: Outlook, world: World
    ) -> None:
        await self._record.move(node, outlook, lambda n: n.fence)
        self._point("node-status")
