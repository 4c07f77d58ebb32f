"""Carries out the steps on a node: the fence, its lift, and the looks that come before."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from respawn.decide import fence_table, grounds, liveness
from respawn.model import actions
from respawn.model.actions import NodeStep, Outlook
from respawn.model.conditions import Reason, merged
from respawn.model.node import Fence, FencePhase, Form, Node
from respawn.model.sight import Answer, Testimony, WatchLook
from respawn.model.storage import Entry, bans
from respawn.model.world import World
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster, Leases
from respawn.ports.errors import Conflict, NotFound, PortError, Refused, Unavailable
from respawn.ports.fence import FencePort
from respawn.ports.images import Images
from respawn.ports.witness import Witness
from respawn.runtime.points import Point
from respawn.runtime.settling import Outdated, pool_of
from respawn.runtime.store import Store

LONGEST_QUESTION = 2.0
"""Seconds that the witnesses have at most."""


class NodeExecutor:
    """One method per step; every one raises the port errors, and Outdated."""

    def __init__(
        self, *, store: Store, cluster: Cluster, leases: Leases, fence: FencePort,
        images: Images, witness: Witness, clock: Clock, point: Point,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:  # fmt: skip
        self._store, self._cluster, self._leases, self._fence = store, cluster, leases, fence
        self._images, self._witness, self._clock = images, witness, clock
        self._point, self._spawn = point, spawn
        self._lost_removals: set[tuple[str, int]] = set()
        self._methods: dict[type, Callable[[Any, Node, Outlook, World], Awaitable[None]]] = {
            actions.BeginFence: self._begin,
            actions.ApplyFence: self._apply,
            actions.RestoreFence: self._restore,
            actions.BeginLift: self._lift,
            actions.TakeLift: self._take,
            actions.FinishLift: self._finish,
            actions.Untaint: self._untaint,
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

    # The fence.

    async def _begin(
        self, step: actions.BeginFence, node: Node, outlook: Outlook, world: World
    ) -> None:
        fresh, form = await self._still_condemned(step, node)
        registered = fresh.registration
        if registered is None or registered.boot_id != step.boot_id:
            # A host that came back with another boot before this write is not fenced for the old.
            raise Outdated("another boot has registered")
        blocked = grounds.obstacle(world, fresh)
        if blocked is not None:
            raise Refused(*blocked)
        # safety: an intent only; it forbids every start there and proves nothing.
        await self._move(fresh, outlook, lambda n: self._as_judged(n, fresh, step, form))
        self._point("Fencing")

    def _as_judged(self, node: Node, judged: Node, step: actions.BeginFence, form: Form) -> Fence:
        if node.registration is None or node.registration.boot_id != step.boot_id:
            raise Outdated("another boot has registered")
        if step.reason == Reason.HOST_LOST and node.host != judged.host:
            # A sign of life like a renewal, which may follow only in a second.
            heard, token = self._clock.now(), f"its agent wrote {node.resource_version}"
            self._store.saw_lease(node.name, token, heard.mono, heard.wall)
            raise Outdated("its agent has just written")
        return fence_table.begin(node, reason=step.reason, prefer=form)

    async def _still_condemned(self, step: actions.BeginFence, node: Node) -> tuple[Node, Form]:
        """A last live look at what condemned the host. Raises Outdated."""
        if step.reason == Reason.BLOCKLISTED:
            fresh = await self._cluster.get_node(node.name)
            form = grounds.banned_in(fresh, await self._read_blocklist())
            if form is None:
                raise Outdated("it is not blocklisted any more")
            return fresh, form
        begun = self._clock.now()
        fresh, token = await asyncio.gather(
            self._cluster.get_node(node.name), self._lease_token(node.name)
        )
        if step.reason != Reason.STORAGE_LOST:
            self._store.saw_lease(node.name, token, begun.mono, begun.wall)
        self._store.put_node(fresh)
        if grounds.held(self._store.world(), fresh, self._clock.now()) is not None:
            raise Outdated("there is doubt about it now")
        if not liveness.verdict(self._store.world(), fresh, self._clock.now()).condemned:
            raise Outdated("it gives signs of life")
        return fresh, Form.IP

    async def _lease_token(self, name: str) -> str:
        try:
            return (await self._leases.get_lease(name)).token
        except NotFound:
            return ""

    async def _apply(
        self, step: actions.ApplyFence, node: Node, outlook: Outlook, world: World
    ) -> None:
        node = await self._still(step, FencePhase.FENCING)
        entries = fence_table.entries(node.fence)
        if world.protected is None:
            raise Unavailable("the addresses of Ceph itself, which are never fenced, are unknown")
        hit = {e.address for e in entries} & world.protected
        if hit:
            raise Refused(Reason.ADDRESS_IN_USE, f"{', '.join(sorted(hit))} is Ceph's or ours")
        if fence_table.brief_in(node.fence, world.blocklist or frozenset()):
            await self._reform(node, outlook, world.blocklist or frozenset())
            return
        # safety: the intent is on record, as just read, with its addresses and form; adding is
        # idempotent, so whoever takes over repeats it.
        await self._fence.add(entries)
        self._point("add")
        listing = await self._read_blocklist()
        if fence_table.brief_in(node.fence, listing):
            await self._reform(node, outlook, listing)
            return
        if not entries <= listing:
            raise Unavailable("the blocklist does not show what was just added")
        at = self._clock.now().wall

        def move(fresh: Node) -> Fence:
            # safety: read back over a second connection; only now may it be called a fence, and
            # only in the form that was read back.
            if fence_table.entries(fresh.fence) != entries:
                raise Outdated("it is being made in another form now")
            return fence_table.done(fresh.fence, step.generation, at=at)

        await self._move(node, outlook, move)
        self._point("Fenced")

    async def _reform(self, node: Node, outlook: Outlook, listing: frozenset[Entry]) -> None:
        """An entry that ends soon is in the way, and adding does not prolong it."""
        fence = node.fence
        other = next(form for form in Form if form is not fence.form)
        if fence_table.brief_in(replace(fence, form=other), listing):
            raise Unavailable("entries of others, which end soon, stand in both forms")
        # safety: still an intent. The entry in the way is not removed: a late `rm` of it could
        # lift a fence.
        await self._move(
            node, outlook, lambda n: fence_table.reform(n.fence, fence.generation, other)
        )

    async def _restore(
        self, step: actions.RestoreFence, node: Node, outlook: Outlook, world: World
    ) -> None:
        node = await self._still(step, FencePhase.FENCED)
        missing = fence_table.gone(node.fence, await self._read_blocklist())
        if not missing:
            return
        # safety: the fence is on record as standing, as just read, so nobody has begun to lift it.
        await self._fence.add(missing)
        self._point("add")
        if fence_table.gone(node.fence, await self._read_blocklist()):
            raise Unavailable("the blocklist does not show what was just added")
        await self._move(node, outlook, lambda n: n.fence)

    async def _still(self, step: NodeStep, phase: FencePhase) -> Node:
        """The node as of now. Raises Outdated unless that fence is still in that phase."""
        fresh = await self._cluster.get_node(step.node)
        self._store.put_node(fresh)
        fence = fresh.fence
        if (fence.phase, fence.generation) != (phase, step.generation):
            raise Outdated(f"its fence is {fence.phase} {fence.generation}")
        return fresh

    # The lift.

    async def _lift(
        self, step: actions.BeginLift, node: Node, outlook: Outlook, world: World
    ) -> None:
        def move(fresh: Node) -> Fence:
            # safety: S4, judged on the node as read for this very write.
            if not grounds.clean(fresh):
                raise Outdated("it is not proven clean")
            return fence_table.lift(fresh.fence, step.generation, self._store.me.owner)

        await self._move(await self._cluster.get_node(node.name), outlook, move)
        self._point("Lifting")

    async def _take(
        self, step: actions.TakeLift, node: Node, outlook: Outlook, world: World
    ) -> None:
        # safety: the former owner's `rm` may still arrive, so its form is tainted in this write.
        me = self._store.me.owner
        await self._move(node, outlook, lambda n: fence_table.take(n.fence, step.generation, me))
        self._point("taken")

    async def _finish(
        self, step: actions.FinishLift, node: Node, outlook: Outlook, world: World
    ) -> None:
        me, this = self._store.me.owner, (node.name, step.generation)
        node = await self._still(step, FencePhase.LIFTING)
        if node.fence.owner != me:
            raise Outdated(f"the lift is now {node.fence.owner}'s")
        # safety: what returned is never sent again. The write of OK may have been done, or be on
        # its way, though its reply was lost: nothing would taint the form of a second `rm`.
        if this not in self._store.me.lifts_returned:
            await self._remove(node, outlook)
        lost = this in self._lost_removals
        if not lost:
            self._store.lift_returned(*this)
        await self._read_blocklist()

        def move(fresh: Node) -> Fence:
            fence = fence_table.lifted(fresh.fence, step.generation, me)
            # safety: the write that was to tell of the lost `rm` may be lost as well.
            return fence_table.taint(fence, me) if lost else fence

        await self._move(node, outlook, move)
        self._point("OK")

    async def _remove(self, node: Node, outlook: Outlook) -> None:
        try:
            # safety: Lifting and mine, as just read, on a host proven clean; exactly the recorded
            # entries.
            await self._fence.remove(fence_table.entries(node.fence))
        except PortError:
            self._lost_removals.add((node.name, node.fence.generation))
            me = self._store.me.owner
            await self._move(node, outlook, lambda n: fence_table.taint(n.fence, me))
            raise
        self._point("rm")

    async def _untaint(
        self, step: actions.Untaint, node: Node, outlook: Outlook, world: World
    ) -> None:
        def move(fresh: Node) -> Fence:
            gone = grounds.settled_taints(self._store.world(), fresh)
            return fence_table.untainted(fresh.fence, gone)

        await self._move(node, outlook, move)
        self._point("untaint")

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
        listing = await self._read_blocklist()
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
        await self._move(node, outlook, lambda n: n.fence)
        self._point("node-status")

    async def _read_blocklist(self) -> frozenset[Any]:
        listing = await self._fence.listing()
        self._store.blocklist = listing
        return listing

    async def _move(self, node: Node, outlook: Outlook, move: Callable[[Node], Fence]) -> None:
        """Compare-and-set what `move` makes of the node; the agent writes to it too, so read again.

        `move` judges each reading anew. Raises Outdated when it no longer allows the move.
        """
        wall = self._clock.now().wall
        for _ in range(8):
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
