"""R7 and the proofs, on fresh reads: what must be true before a placement is Free or moves on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from respawn.decide import clients, liveness, proof
from respawn.decide.clients import Settling
from respawn.model.conditions import Reason
from respawn.model.node import Node
from respawn.model.placement import Locker, Phase, Proof, ProofKind
from respawn.model.server import DiskStatus, Server
from respawn.model.storage import Entry, EpochMark, ImageClients, Pool, brief
from respawn.model.world import World
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster
from respawn.ports.errors import NotFound, Refused, Unavailable
from respawn.ports.fence import FencePort
from respawn.ports.heart import HeartReads
from respawn.ports.images import Images
from respawn.runtime.points import Point
from respawn.runtime.vitals import Vitals

A_YEAR = 31536000
"""Seconds: a blocklist entry for good, as our own are."""


class Outdated(Exception):
    """A fresh read shows that the step's ground is gone; nothing was done."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A proof, the node that it speaks of, and the blocklist as read with it."""

    proof: Proof | None
    node: Node | None
    listing: frozenset[Entry]


@dataclass(frozen=True, slots=True)
class Settled:
    """What was found at a server's images once nobody has them open any more."""

    lockers: tuple[Locker, ...] = ()
    """Whose locks were broken."""
    gone: tuple[DiskStatus, ...] = ()
    """Disks whose image is not there."""


class Settler:
    """Finds proofs and settles image clients, for the server executor."""

    def __init__(
        self, *, cluster: Cluster, images: Images, fence: FencePort, heart: HeartReads,
        vitals: Vitals, clock: Clock, point: Point,
    ) -> None:  # fmt: skip
        self._cluster, self._images, self._fence, self._vitals = cluster, images, fence, vitals
        self._heart, self._clock, self._point = heart, clock, point

    async def evidence(self, server: Server, world: World) -> Evidence:
        """What proves that `server`, as known here, has no instance left. Raises Outdated.

        A server that is Free needs none.
        """
        p = server.placement
        if p.phase is Phase.FREE:
            return Evidence(None, None, await self._fence.listing())
        if p.phase is not Phase.REVOKED or p.node is None:
            raise Outdated(f"the server is {p.phase}")
        # safety: R1. These reads begin after the server was read, or written, as Revoked.
        node, listing = await asyncio.gather(self._node(p.node), self._fence.listing())
        disputed = node is not None and await self._vitals.disputed(node, p.boot_id)
        found = proof.by_host(server, node, self._clock.now().wall, disputed=disputed)
        if found is not None and found.kind is ProofKind.FENCED:
            # safety: the fence is what Ceph says now, not what was written once.
            found = found if node and proof.fence_stands(node.fence, listing) else None
        if found is None and node is not None:
            found = await self._by_heart(server, node, world)
        if found is None:
            raise Outdated("there is no proof yet that its instance has ended")
        return Evidence(found, node, listing)

    async def _node(self, name: str) -> Node | None:
        try:
            return await self._cluster.get_node(name)
        except NotFound:
            return None

    async def _by_heart(self, server: Server, node: Node, world: World) -> Proof | None:
        """Two readings, the second a beat later: only an advance proves that another boot lives."""
        state = liveness.verdict(world, node, self._clock.now()).state
        if state is not liveness.State.REBOOTED:
            return None
        first = [b for b in await self._heart.read(node.name) if b is not None]
        await self._clock.sleep(2 * liveness.timings_for(world, node).heartbeat)
        second = [b for b in await self._heart.read(node.name) if b is not None]
        if not first or not second:
            return None
        newest, later = (max(beats, key=lambda b: b.counter) for beats in (first, second))
        return proof.by_heart(server, newest, later, self._clock.now().wall)

    async def settle(
        self, server: Server, evidence: Evidence, pools: Mapping[str, Pool]
    ) -> Settled:
        """R7: ban and unlock every client of every image.

        Raises Refused (ForeignClient, BannedBriefly), Outdated, Unavailable.
        """
        host = clients.host_addresses(evidence.node)
        found = await self.list_clients(server, pools, host, evidence.listing)
        total = clients.joined(part for _, part in found)
        if total.foreign:
            raise Refused(Reason.FOREIGN_CLIENT, _held_by(found, total, pools))
        if total.ban:
            _refuse_brief(total.ban, evidence.listing)
            await self.still_revoked(server)
            await self.ban(total.ban)
        await self._unlock(found, pools)
        return Settled(total.unlock, tuple(disk for disk, part in found if part.gone))

    async def list_clients(
        self, server: Server, pools: Mapping[str, Pool], host: Collection[str],
        listing: Collection[Entry],
    ) -> tuple[tuple[DiskStatus, Settling], ...]:  # fmt: skip
        """Who has its images open, sorted by what may be done about them.

        Raises Refused (EpochBehindImage: or `server` is not the newest), Unavailable.
        """
        return await self._sorted(server, pools, host, listing, self._images.clients)

    async def list_lockers(
        self, server: Server, pools: Mapping[str, Pool], host: Collection[str]
    ) -> Settling:
        """Only who holds the locks of its images, which opens none of them. Raises as above."""
        found = await self._sorted(server, pools, host, frozenset(), self._lockers)
        return clients.joined(part for _, part in found)

    async def _sorted(
        self, server: Server, pools: Mapping[str, Pool], host: Collection[str],
        listing: Collection[Entry], look: Callable[[Pool, str], Awaitable[ImageClients]],
    ) -> tuple[tuple[DiskStatus, Settling], ...]:  # fmt: skip
        # safety: S5. A restored control plane knows neither the epoch nor the boot that run now:
        # what looks like the rest of an old placement may be the server itself.
        disks = server.status.disks
        lists, own, _ = await asyncio.gather(
            asyncio.gather(*(self._look(d, pools, look) for d in disks)),
            self._fence.own_addresses(),
            self._check_epoch(server, pools),
        )
        parts = (clients.settle(c, host=host, own=own, listing=listing) for c in lists)
        return tuple(zip(disks, parts, strict=True))

    async def _check_epoch(self, server: Server, pools: Mapping[str, Pool]) -> None:
        disk = server.root
        if disk is None:
            return
        with suppress(NotFound):
            mark = await self._images.read_epoch(pool_of(disk, pools), disk.image)
            check_mark(server, disk.image, mark)

    async def _look(
        self, disk: DiskStatus, pools: Mapping[str, Pool],
        look: Callable[[Pool, str], Awaitable[ImageClients]],
    ) -> ImageClients:  # fmt: skip
        try:
            return await look(pool_of(disk, pools), disk.image)
        except NotFound:
            return ImageClients(gone=True)

    async def _lockers(self, pool: Pool, image: str) -> ImageClients:
        return ImageClients(await self._images.lockers(pool, image))

    async def still_revoked(self, server: Server) -> None:
        """Raises Outdated unless the server is Revoked at that epoch, read just now."""
        # safety: R7, after the listing and before the ban: else a paused operator would blocklist
        # the clients of a newer placement.
        fresh = await self._cluster.get_server(server.namespace, server.name)
        same = (fresh.uid, fresh.placement.epoch) == (server.uid, server.placement.epoch)
        if not same or fresh.placement.phase is not Phase.REVOKED:
            raise Outdated("the server is no longer Revoked at that epoch")

    async def ban(self, entries: frozenset[Entry], *, for_good: bool = True) -> None:
        """Blocklist those clients, and read it back. Entries that end soon are none for good."""
        await self._fence.add(entries)
        listing = await self._fence.listing()
        if not all(e in listing or (not for_good and brief(listing, e)) for e in entries):
            raise Unavailable("the blocklist does not show what was just added")
        self._point("nonces")

    async def _unlock(
        self, found: tuple[tuple[DiskStatus, Settling], ...], pools: Mapping[str, Pool]
    ) -> None:
        # safety: exactly these (client and cookie), each banned before; never whoever holds it now.
        locks = [(disk, locker) for disk, part in found for locker in part.unlock]
        if locks:
            await asyncio.gather(
                *(self._images.break_lock(pool_of(d, pools), d.image, x) for d, x in locks)
            )
            self._point("broken")


def _held_by(
    found: Iterable[tuple[DiskStatus, Settling]], total: Settling, pools: Mapping[str, Pool]
) -> str:
    """Who holds up the next start, and what a person can do about it."""
    whose = "is at no address of the host it was on"
    if open_still := [c for c in total.foreign if c not in total.left_behind]:
        return f"{clients.tell(open_still)} has its disks open and {whose}; waits until it is gone"
    disk, lock = next((d, lock) for d, part in found for lock in part.left_behind)
    # safety: never `rbd lock rm`: one that is only cut off would write on. Of who is banned for
    # good we break the lock ourselves.
    ban = f"ceph osd blocklist add {lock.address} {A_YEAR}"
    return (
        f"{lock.address} holds the lock of {pool_of(disk, pools).pool}/{disk.image}, has it open "
        f"no more and {whose}; it goes on if it comes back and lets go. If it is not to: {ban}"
    )


def pool_of(disk: DiskStatus, pools: Mapping[str, Pool]) -> Pool:
    """The pool of an existing disk. Raises Refused."""
    pool = pools.get(disk.pool)
    if pool is None:
        raise Refused(Reason.UNKNOWN_POOL, f"there is no StoragePool {disk.pool}; create it again")
    return pool


def gone(disk: DiskStatus, pool: Pool) -> Refused:
    """DiskFailed: of a disk that was made, the image is not there."""
    message = (
        f"image {pool.pool}/{disk.image} of its disk {disk.name} is gone; it goes on once that is "
        f"back: rbd trash ls {pool.pool}, and rbd trash restore, if somebody removed it"
    )
    return Refused(Reason.DISK_FAILED, message)


def check_mark(server: Server, image: str, mark: EpochMark | None) -> None:
    """Raises Refused (EpochBehindImage): the image knows of a later time than the API."""
    version = int(server.resource_version)
    if mark is not None and mark.resource_version > version:
        message = (
            f"{image} was written under resourceVersion {mark.resource_version}, the API is at "
            f"{version}: the control plane seems restored from a backup; see docs/restore.md"
        )
        raise Refused(Reason.EPOCH_BEHIND_IMAGE, message)


def _refuse_brief(ban: frozenset[Entry], listing: frozenset[Entry]) -> None:
    """Raises Refused (BannedBriefly): of a client to be banned for good stands an entry that ends.

    Adding it again does not prolong it.
    """
    # safety: S4. It is not removed for that: nobody could tell when an `rm` without a reply, or a
    # deposed operator's, is no more, and a nonce has no other form. A late one would take away
    # the entry that is for good.
    short = sorted(entry.address for entry in ban if brief(listing, entry))
    if short:
        told = ", ".join(short)
        message = (
            f"{told} had its disks open and is blocklisted, but only for a time; waits until that "
            f"ends, or somebody removes it: ceph osd blocklist rm {short[0]}"
        )
        raise Refused(Reason.BANNED_BRIEFLY, message)


def with_lockers(found: Proof | None, lockers: tuple[Locker, ...]) -> Proof | None:
    """The proof as it is recorded."""
    return None if found is None else replace(found, lockers=lockers)
