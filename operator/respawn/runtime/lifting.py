"""Carries out the steps that let a host into Ceph again: who lifts, `rm`, read back, outcome."""

from respawn.decide import fence_table, grounds
from respawn.model import actions
from respawn.model.actions import Outlook
from respawn.model.node import Fence, FencePhase, Node
from respawn.model.world import World
from respawn.ports.cluster import Cluster
from respawn.ports.errors import PortError
from respawn.ports.fence import FencePort
from respawn.runtime.fence_record import FenceRecord
from respawn.runtime.points import Point
from respawn.runtime.settling import Outdated
from respawn.runtime.store import Store
from respawn.runtime.vitals import Vitals
from respawn.runtime.warrant import Deposed


class Lifting:
    """One method per step; every one raises the port errors, and Outdated."""

    def __init__(
        self, *, record: FenceRecord, store: Store, cluster: Cluster, fence: FencePort,
        vitals: Vitals, point: Point,
    ) -> None:  # fmt: skip
        self._record, self._store, self._cluster = record, store, cluster
        self._fence, self._vitals, self._point = fence, vitals, point
        self._lost_removals: set[tuple[str, int]] = set()

    async def begin(
        self, step: actions.BeginLift, node: Node, outlook: Outlook, world: World
    ) -> None:
        node = await self._cluster.get_node(node.name)
        # safety: the signs of life are read after the word that they speak against.
        disputed = await self._vitals.disputed(node, node.fence.boot_id)
        named = node.spec.ended_boots

        def move(fresh: Node) -> Fence:
            if fresh.spec.ended_boots != named:
                raise Outdated("what a person says of its boots has changed")
            # safety: S4, judged on the node as read for this very write.
            if not grounds.clean(fresh, disputed=disputed):
                raise Outdated("it is not proven clean")
            return fence_table.lift(fresh.fence, step.generation, self._store.me.owner)

        await self._record.move(node, outlook, move)
        self._point("Lifting")

    async def take(
        self, step: actions.TakeLift, node: Node, outlook: Outlook, world: World
    ) -> None:
        # safety: the former owner's `rm` may still arrive, so its form is tainted in this write.
        me = self._store.me.owner
        await self._record.move(
            node, outlook, lambda n: fence_table.take(n.fence, step.generation, me)
        )
        self._point("taken")

    async def finish(
        self, step: actions.FinishLift, node: Node, outlook: Outlook, world: World
    ) -> None:
        node = await self._record.still(step, FencePhase.LIFTING)
        me, this = self._store.me.owner, (node.uid, step.generation)
        if node.fence.owner != me:
            raise Outdated(f"the lift is now {node.fence.owner}'s")
        # safety: what returned is never sent again. The write of OK may have been done, or be on
        # its way, though its reply was lost: nothing would taint the form of a second `rm`.
        if this not in self._store.me.lifts_returned:
            await self._remove(node, outlook)
        lost = this in self._lost_removals
        if not lost:
            self._store.lift_returned(node)
        await self._record.read_blocklist()

        def move(fresh: Node) -> Fence:
            fence = fence_table.lifted(fresh.fence, step.generation, me)
            # safety: the write that was to tell of the lost `rm` may be lost as well.
            return fence_table.taint(fence, me) if lost else fence

        await self._record.move(node, outlook, move)
        self._point("OK")

    async def _remove(self, node: Node, outlook: Outlook) -> None:
        try:
            # safety: Lifting and mine, as just read, on a host proven clean; exactly the recorded
            # entries.
            await self._fence.remove(fence_table.entries(node.fence))
        except Deposed:
            raise  # it was not sent
        except PortError:
            self._lost_removals.add((node.uid, node.fence.generation))
            self._store.removal_lost(node)
            me = self._store.me.owner
            await self._record.move(node, outlook, lambda n: fence_table.taint(n.fence, me))
            raise
        self._point("rm")

    async def untaint(
        self, step: actions.Untaint, node: Node, outlook: Outlook, world: World
    ) -> None:
        def move(fresh: Node) -> Fence:
            gone = grounds.settled_taints(self._store.world(), fresh)
            return fence_table.untainted(fresh.fence, gone)

        await self._record.move(node, outlook, move)
        self._point("untaint")
