"""Carries out the steps on a server. Each reads afresh what it rests on, acts, and writes once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from respawn.decide import clients
from respawn.model import actions
from respawn.model.actions import Outlook, ServerStep
from respawn.model.node import FencePhase, Node
from respawn.model.placement import Phase, Placement, ProofKind
from respawn.model.server import (
    Recovery,
    Server,
)
from respawn.model.storage import Entry, EpochMark
from respawn.model.world import World
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster
from respawn.ports.errors import Forbidden, NotFound, Refused
from respawn.ports.images import Images
from respawn.runtime.disks import Disks
from respawn.runtime.lanes import BesideFence
from respawn.runtime.points import Point
from respawn.runtime.server_record import ServerRecord
from respawn.runtime.settling import (
    Evidence,
    Outdated,
    Settled,
    Settler,
    check_mark,
    gone,
    pool_of,
    with_lockers,
)
from respawn.runtime.store import Store


class ServerExecutor:
    """One method per step; every one raises the port errors, and Outdated."""

    def __init__(
        self, *, store: Store, cluster: Cluster, images: Images, settler: Settler,
        clock: Clock, point: Point,
    ) -> None:  # fmt: skip
        self.beside_fence = BesideFence()
        self._store, self._cluster, self._images = store, cluster, images
        self._settler, self._clock, self._point = settler, clock, point
        self._record = ServerRecord(store=store, cluster=cluster, clock=clock)
        self._raised: dict[str, tuple[str, int]] = {}
        """UID -> version that was known, and the epoch that was raised for a placement on it."""
        disks = Disks(record=self._record, images=images, point=point)
        self._methods: dict[type, Callable[[Any, Server, Outlook, World], Awaitable[None]]] = {
            actions.Protect: self._protect,
            actions.EnsureDisks: disks.ensure,
            actions.Place: self._place,
            actions.Revoke: self._revoke,
            actions.BanClients: self._ban_clients,
            actions.SetFree: self._set_free,
            actions.Delete: self._delete,
            actions.TrashDisks: disks.trash,
            actions.Unprotect: self._unprotect,
            actions.Report: self._report,
        }

    async def run(self, step: ServerStep, outlook: Outlook, world: World) -> None:
        """Carry out `step`, that was decided on `world`."""
        server = world.servers.get(step.uid)
        if server is None or server.placement.epoch != step.epoch:
            raise Outdated("the server has moved on")
        await self._methods[type(step)](step, server, outlook, world)

    # Free -> Placed, Revoked -> Placed.

    async def _place(
        self, step: actions.Place, server: Server, outlook: Outlook, world: World
    ) -> None:
        try:
            await self._place_known(step, server, outlook, world)
        except Forbidden:
            raise
        except Refused:
            # The image may know of a later write than this picture: then think again first.
            fresh = await self._record.fresh(server, Phase.FREE, Phase.REVOKED)
            if fresh.resource_version != server.resource_version:
                raise Outdated("it was written since") from None
            raise

    async def _place_known(
        self, step: actions.Place, known: Server, outlook: Outlook, world: World
    ) -> None:
        """On the version that is known here, mostly that of our own revocation: the write at the
        end is as good as a read at the beginning, and a crowd has twenty reads less to wait for.
        """
        node, evidence = await asyncio.gather(
            self._cluster.get_node(step.node), self._settler.evidence(known, world)
        )
        # The boot that it is placed on must be known here before the placement is: against an older
        # picture of the Node it would look as if its host had rebooted.
        self._store.put_node(node)
        target = _usable(node)
        settled = await self._settler.settle(known, evidence, world.pools)
        _refuse_gone(known, settled, world)
        epoch = await self._raise_epoch(known, world)
        registered = target.registration
        assert registered is not None
        # safety: the server is Free, or Revoked with a proof begun after that was known; its
        # clients are banned and its locks broken; the epoch is new. The write is on the version
        # that all of this rests on: anybody else's write since then makes it a 409.
        placement = Placement(
            phase=Phase.PLACED,
            epoch=epoch,
            node=target.name,
            machine_id=registered.machine_id,
            boot_id=registered.boot_id,
            proof=with_lockers(evidence.proof, settled.lockers),
        )
        recovery = self._placed_again(known.status.recovery, target, evidence)
        status = replace(known.status, hardware=step.hardware, recovery=recovery)
        await self._record.write(known, status, outlook, placement)
        self._raised.pop(known.uid, None)
        self._point("Placed")

    async def _raise_epoch(self, server: Server, world: World) -> int:
        """Write the next epoch into the root image; a mere gap in epochs is no reason to hold."""
        disk = server.root
        if disk is None:
            return server.placement.epoch + 1
        pool, image = pool_of(disk, world.pools), disk.image
        try:
            mark = await self._images.read_epoch(pool, image)
        except NotFound:
            raise gone(disk, pool) from None
        check_mark(server, image, mark)
        if mark and self._raised.get(server.uid) == (server.resource_version, mark.epoch):
            # safety: raised by us, for a write on this very version whose reply was lost. Of both
            # at most one succeeds; were the first to arrive with an epoch that the image has left
            # behind, its host would refuse to start it.
            return mark.epoch
        epoch = max(mark.epoch if mark else 0, server.placement.epoch) + 1
        version = int(server.resource_version)
        await self._images.write_epoch(pool, image, EpochMark(epoch, version))
        self._raised[server.uid] = server.resource_version, epoch
        self._point("epoch")
        return epoch

    def _placed_again(
        self, record: Recovery | None, target: Node, evidence: Evidence
    ) -> Recovery | None:
        if record is None or not record.open:
            return record
        proven = _proven(record, evidence)
        return replace(proven, to_node=target.name, placed=self._clock.now().wall)

    # Placed -> Revoked -> Free -> Deleted.

    async def _revoke(
        self, step: actions.Revoke, server: Server, outlook: Outlook, world: World
    ) -> None:
        if server.placement.phase is not Phase.PLACED:
            raise Outdated(f"the server is {server.placement.phase}")
        placement = replace(
            server.placement, phase=Phase.REVOKED, grace=step.grace or None, proof=None
        )
        status = server.status
        if step.setback is not None:
            status = replace(status, setback=step.setback)
        async with self.beside_fence.revoking():
            await self._record.write(server, status, outlook, placement)
        self._point("Revoked")

    async def _ban_clients(
        self, step: actions.BanClients, server: Server, outlook: Outlook, world: World
    ) -> None:
        """While the fence is still being made: whoever writes has the lock. Who has opened an image
        without it, or does so later, is found when all are listed before Placed.
        """
        async with self.beside_fence.looking():
            ban = await self._lockers(server, world)
            if ban:
                await self._settler.still_revoked(server)
        if ban:
            await self._settler.ban(ban, for_good=False)
        self._store.nonced[server.uid] = step.epoch

    async def _lockers(self, server: Server, world: World) -> frozenset[Entry]:
        host = clients.host_addresses(world.nodes.get(server.placement.node or ""))
        try:
            return (await self._settler.list_lockers(server, world.pools, host)).ban
        except Refused:
            # The epoch in the image may be newer than what is known here, though not than the API.
            fresh = await self._record.fresh(server, Phase.REVOKED)
            return (await self._settler.list_lockers(fresh, world.pools, host)).ban

    async def _set_free(
        self, step: actions.SetFree, server: Server, outlook: Outlook, world: World
    ) -> None:
        fresh = await self._record.fresh(server, Phase.REVOKED)
        evidence = await self._settler.evidence(fresh, world)
        settled = await self._settler.settle(fresh, evidence, world.pools)
        # safety: proof and R7 were begun after the server was read as Revoked, and the write is on
        # the version that was read.
        placement = Placement(
            phase=Phase.FREE,
            epoch=fresh.placement.epoch,
            proof=with_lockers(evidence.proof, settled.lockers),
        )
        record = fresh.status.recovery
        if record is not None and record.open:
            record = _proven(record, evidence)
        await self._record.write(fresh, replace(fresh.status, recovery=record), outlook, placement)
        self._point("Free")

    async def _delete(
        self, step: actions.Delete, server: Server, outlook: Outlook, world: World
    ) -> None:
        # safety: S10, only what the user deleted; and a compare-and-set from Free, so that whoever
        # would place it at this moment loses.
        fresh = await self._record.fresh(server, Phase.FREE)
        if not fresh.deleting or fresh.spec.protected:
            raise Outdated("the server is not to be deleted")
        placement = replace(fresh.placement, phase=Phase.DELETED)
        await self._record.write(fresh, fresh.status, outlook, placement)
        self._point("Deleted")

    # What surrounds a placement.

    async def _protect(
        self, step: actions.Protect, server: Server, outlook: Outlook, world: World
    ) -> None:
        written = await self._cluster.protect_server(server, True)
        if written is not None:
            self._store.put_server(written)
        self._point("protect")

    async def _unprotect(
        self, step: actions.Unprotect, server: Server, outlook: Outlook, world: World
    ) -> None:
        fresh = await self._record.fresh(server, Phase.DELETED)
        written = await self._cluster.protect_server(fresh, False)
        self._point("unprotect")
        if written is None:
            self._store.drop_server(server.uid)
        else:
            self._store.put_server(written)

    async def _report(
        self, step: actions.Report, server: Server, outlook: Outlook, world: World
    ) -> None:
        await self._record.write(server, server.status, outlook, server.placement)
        self._point("status")


def _refuse_gone(server: Server, settled: Settled, world: World) -> None:
    """Raises Refused (DiskFailed) when a disk that it is to start with has lost its image: its
    start could only fail, again and again.
    """
    wanted = {disk.name for disk in server.spec.disks}
    for disk in settled.gone:
        if disk.name in wanted and disk.exists:
            raise gone(disk, pool_of(disk, world.pools))


def _usable(node: Node) -> Node:
    """Raises Outdated unless servers may be placed on the node, as just read."""
    if node.fence.phase is not FencePhase.OK or node.registration is None or node.gone:
        raise Outdated(f"{node.name} is {node.fence.phase}, or has no registration")
    if node.deleting:
        raise Outdated(f"{node.name} is being deleted")
    return node


def _proven(record: Recovery, evidence: Evidence) -> Recovery:
    """The timeline with its proof, whether the next start follows at once or has to wait."""
    proof, node = evidence.proof, evidence.node
    # What proves that a start on the way back has failed is not what the recovery rests on.
    if proof is None or record.proof is not None:
        return record
    by_fence = proof.kind is ProofKind.FENCED
    fenced = node.fence.fenced if by_fence and node is not None else record.fenced
    if fenced is not None and record.decided is not None:
        # For one that was revoked when its host was fenced already, it is proven from then on.
        fenced = max(fenced, record.decided)
    return replace(record, proof=str(proof.kind), fenced=fenced)
