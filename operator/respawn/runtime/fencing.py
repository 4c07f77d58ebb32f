"""Carries out the steps that shut a host out of Ceph: intent, add, read back, outcome."""

import asyncio
from dataclasses import replace

from respawn.decide import fence_table, grounds, liveness
from respawn.model import actions
from respawn.model.actions import Outlook
from respawn.model.conditions import Reason
from respawn.model.node import Fence, FencePhase, Form, Node
from respawn.model.storage import Entry
from respawn.model.world import World
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster, Leases
from respawn.ports.errors import NotFound, Refused, Unavailable
from respawn.ports.fence import FencePort
from respawn.runtime.fence_record import FenceRecord
from respawn.runtime.points import Point
from respawn.runtime.settling import Outdated
from respawn.runtime.store import Store


class Fencing:
    """One method per step; every one raises the port errors, and Outdated."""

    def __init__(
        self, *, record: FenceRecord, store: Store, cluster: Cluster, leases: Leases,
        fence: FencePort, clock: Clock, point: Point,
    ) -> None:  # fmt: skip
        self._record, self._store, self._cluster = record, store, cluster
        self._leases, self._fence, self._clock, self._point = leases, fence, clock, point

    async def begin(
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
        await self._record.move(fresh, outlook, lambda n: self._as_judged(n, fresh, step, form))
        self._point("Fencing")

    def _as_judged(self, node: Node, judged: Node, step: actions.BeginFence, form: Form) -> Fence:
        if node.registration is None or node.registration.boot_id != step.boot_id:
            raise Outdated("another boot has registered")
        if step.reason == Reason.HOST_LOST and node.host != judged.host:
            # A sign of life like a renewal, which may follow only in a second.
            heard, token = self._clock.now(), f"its agent wrote {node.resource_version}"
            self._store.saw_lease(node.name, token, heard.mono, heard.wall)
            raise Outdated("its agent has just written")
        # safety: only its own word condemned it, and it has just taken that back.
        if step.reason == Reason.STORAGE_LOST and not node.host.storage_failing:
            raise Outdated("its storage works again")
        return fence_table.begin(node, reason=step.reason, prefer=form)

    async def _still_condemned(self, step: actions.BeginFence, node: Node) -> tuple[Node, Form]:
        """A last live look at what condemned the host. Raises Outdated."""
        if step.reason == Reason.BLOCKLISTED:
            fresh = await self._cluster.get_node(node.name)
            form = grounds.banned_in(fresh, await self._record.read_blocklist())
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

    async def apply(
        self, step: actions.ApplyFence, node: Node, outlook: Outlook, world: World
    ) -> None:
        node = await self._record.still(step, FencePhase.FENCING)
        entries = fence_table.entries(node.fence)
        if world.protected is None:
            raise Unavailable("the addresses of Ceph itself, which are never fenced, are unknown")
        hit = {e.address for e in entries} & world.protected
        if hit:
            raise Refused(Reason.ADDRESS_IN_USE, f"{', '.join(sorted(hit))} is Ceph's or ours")
        # Looked at before anything is added: what was added in a form that is then given up stays,
        # and would have the host fenced once more for it.
        listing = await self._record.read_blocklist()
        if fence_table.brief_in(node.fence, listing):
            await self._reform(node, outlook, listing)
            return
        # safety: the intent is on record, as just read, with its addresses and form; adding is
        # idempotent, so whoever takes over repeats it.
        await self._fence.add(entries)
        self._point("add")
        listing = await self._record.read_blocklist()
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

        await self._record.move(node, outlook, move)
        self._point("Fenced")

    async def _reform(self, node: Node, outlook: Outlook, listing: frozenset[Entry]) -> None:
        """An entry that ends soon is in the way, and adding does not prolong it."""
        fence = node.fence
        other = next(form for form in Form if form is not fence.form)
        if fence_table.brief_in(replace(fence, form=other), listing):
            raise Unavailable("entries of others, which end soon, stand in both forms")
        # safety: still an intent. The entry in the way is not removed: a late `rm` of it could
        # lift a fence.
        await self._record.move(
            node, outlook, lambda n: fence_table.reform(n.fence, fence.generation, other)
        )

    async def restore(
        self, step: actions.RestoreFence, node: Node, outlook: Outlook, world: World
    ) -> None:
        node = await self._record.still(step, FencePhase.FENCED)
        missing = fence_table.gone(node.fence, await self._record.read_blocklist())
        if not missing:
            return
        # safety: the fence is on record as standing, as just read, so nobody has begun to lift it.
        await self._fence.add(missing)
        self._point("add")
        if fence_table.gone(node.fence, await self._record.read_blocklist()):
            raise Unavailable("the blocklist does not show what was just added")
        await self._record.move(node, outlook, lambda n: n.fence)
