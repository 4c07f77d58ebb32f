"""RBD images: the disks, who has them open, the epoch in their metadata, the golden images."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import rados
import rbd

from respawn.adapters.ceph import clients, disks, importing, locks, marks, monitor
from respawn.adapters.ceph.access import Where
from respawn.adapters.ceph.connection import Connection
from respawn.adapters.ceph.handle import Handle
from respawn.adapters.ceph.sources import Source
from respawn.model.conditions import Reason
from respawn.model.placement import Locker
from respawn.model.server import Disk, Server, disk_image
from respawn.model.storage import EpochMark, Image, ImageClients, Kept, Pool
from respawn.ports.errors import NotFound, Refused, Unavailable

T = TypeVar("T")

UID = slice(3, 39)
"""Where the name of a disk's image, `vs-UID-DISK`, has the UID."""
MAKING = 30.0
"""Seconds for making or trashing an image: a dozen operations."""
LOOKING = 5.0
"""Seconds for a look at one, and for its epoch: these are on the way of a failover."""


@dataclass(frozen=True, slots=True)
class Trashed:
    """An image in the RBD trash."""

    id: str
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a pool is, in bytes of content."""

    total: int
    used: int


class CephImages:
    """Images. Making and importing hold up no look: each has threads and a handle of its own."""

    def __init__(self, where: Where) -> None:
        self._look = Connection(where, purpose="look", threads=16)
        self._make = Connection(where, purpose="make", threads=8)
        self._import = Connection(where, purpose="import", threads=2)

    @property
    def addresses(self) -> frozenset[str]:
        """Entity addresses of its clients."""
        return self._look.addresses | self._make.addresses | self._import.addresses

    async def ensure_disk(
        self, server: Server, disk: Disk, pool: Pool, source: Image | None
    ) -> int:
        """Create the disk's image, or make it larger. Returns the size it has, never less than
        before. Grows only while nobody has it open (Refused, ForeignClient).
        """
        golden = _golden(disk, pool, source)
        whose = f"{server.namespace}/{server.name}"
        name = disk_image(server.uid, disk.name)
        wanted = disks.Wanted(name, disk.size, server.uid, golden, whose)

        def work(handle: Handle) -> int:
            return disks.ensure(handle, _checked(handle, pool).pool, wanted)

        return await self._make.run(f"make image {wanted.name}", work, deadline=MAKING)

    async def clients(self, pool: Pool, image: str) -> ImageClients:
        """Its lockers and watchers, by a read-only open."""
        return await self._at(pool, f"list clients of {image}", lambda io: clients.of(io, image))

    async def lockers(self, pool: Pool, image: str) -> tuple[Locker, ...]:
        """Who holds its lock, without opening it."""
        return await self._at(pool, f"read the lock of {image}", lambda io: locks.of(io, image))

    async def break_lock(self, pool: Pool, image: str, locker: Locker) -> None:
        """Break exactly that lock (client and cookie); gone already is done."""
        what = f"break the lock of {image}"
        await self._at(pool, what, lambda io: locks.break_one(io, image, locker))

    async def read_epoch(self, pool: Pool, image: str) -> EpochMark | None:
        """The epoch in its metadata."""
        found = await self._at(pool, f"read epoch of {image}", lambda io: marks.read(io, image))
        if marks.EPOCH not in found:
            return None
        try:
            return EpochMark(int(found[marks.EPOCH]), int(found[marks.RESOURCE_VERSION]))
        except (KeyError, ValueError) as error:
            raise Unavailable(f"image {image} has an epoch that makes no sense: {found}") from error

    async def write_epoch(self, pool: Pool, image: str, mark: EpochMark) -> None:
        """Write the epoch without opening the image: no lock of anybody's delays it."""
        values = {
            marks.EPOCH: str(mark.epoch),
            marks.RESOURCE_VERSION: str(mark.resource_version),
        }
        what = f"write epoch {mark.epoch} to {image}"
        await self._at(pool, what, lambda io: marks.write(io, image, values))

    async def trash(self, pool: Pool, image: str, owner_uid: str) -> None:
        """Move it to the RBD trash; gone already is done."""

        def work(handle: Handle) -> None:
            ioctx = handle.ioctx(_checked(handle, pool).pool)
            disks.trash(ioctx, image, owner_uid)

        await self._make.run(f"trash image {image}", work, deadline=MAKING)

    async def import_image(
        self,
        image: Image,
        pool: Pool,
        source: Source,
        checksum: str | None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> int:
        """Import a golden image, unless it is there; returns its size in bytes.

        `checksum` is `sha256:HEX` of the source. `progress(done, total)` is called in the event
        loop with bytes read so far, and of how many if that is known. Ends early when cancelled.
        Raises Refused (SourceUnreadable, ChecksumMismatch, …), Conflict (another operator is at
        it), Unavailable. An import that broke off starts again: what it wrote was never verified.
        """
        loop, order = asyncio.get_running_loop(), importing.Order(image, source, checksum)
        order.progress = lambda done, total: _tell(loop, progress, done, total)

        def work(handle: Handle) -> int:
            return importing.run(handle, _checked(handle, pool).pool, order)

        try:
            return await self._import.run(f"import {image.name}", work, deadline=importing.LONGEST)
        finally:
            order.cancelled.set()

    async def remove_image(self, image: Image, pool: Pool) -> None:
        """Move a golden image to the trash; gone already is done. Raises Conflict: it is being
        imported.
        """

        def work(handle: Handle) -> None:
            importing.remove(handle, _checked(handle, pool).pool, image)

        await self._make.run(f"trash image {image.rbd_name}", work, deadline=MAKING)

    async def kept(self, pool: Pool, uids: Collection[str]) -> tuple[Kept, ...]:
        """Images of servers' disks (`vs-UID-DISK`) whose server's UID is none of `uids`: those
        were retained.
        """

        def work(ioctx: rados.Ioctx) -> tuple[Kept, ...]:
            found = (name for name in rbd.RBD().list(ioctx) if name.startswith("vs-"))
            orphans = (name for name in sorted(found) if name[UID] not in uids)
            return tuple(kept for name in orphans if (kept := _kept(ioctx, name)) is not None)

        return await self._at(pool, f"list images of {pool.pool}", work)

    async def trashed(self, pool: Pool) -> tuple[Trashed, ...]:
        """What is in the RBD trash."""

        def work(ioctx: rados.Ioctx) -> tuple[Trashed, ...]:
            found = rbd.RBD().trash_list(ioctx)
            return tuple(Trashed(x["id"], x["name"], x["deletion_time"]) for x in found)

        return await self._at(pool, f"list trash of {pool.pool}", work)

    async def usage(self, pool: Pool) -> Usage:
        """How full it is; an answer at all means that the pool can be used.

        Raises Refused: another cluster, unknown client, no such pool; also when a former key, or
        the former monitors, still serve, and the new ones do not.
        """
        await self._look.handle()
        if self._look.trouble is not None:
            raise self._look.trouble.with_traceback(None)

        def work(handle: Handle) -> Usage:
            handle.ioctx(_checked(handle, pool).pool)
            told = monitor.answer(handle.cluster, "df")["pools"]
            mine = [found["stats"] for found in told if found["name"] == pool.pool]
            if not mine:  # Ceph counts a new pool only after a moment
                return Usage(0, 0)
            return Usage(mine[0]["stored"] + mine[0]["max_avail"], mine[0]["stored"])

        return await self._look.run(f"read usage of {pool.pool}", work, deadline=LOOKING)

    async def close(self) -> None:
        """Give the connections up."""
        await asyncio.gather(self._look.close(), self._make.close(), self._import.close())

    async def _at(self, pool: Pool, what: str, work: Callable[[rados.Ioctx], T]) -> T:
        return await self._look.run(
            what, lambda handle: work(handle.ioctx(_checked(handle, pool).pool)), deadline=LOOKING
        )


def _golden(disk: Disk, pool: Pool, source: Image | None) -> Image | None:
    """What the disk is cloned from. Raises Refused."""
    if disk.image is None:
        return None
    if source is None:
        raise Refused(Reason.UNKNOWN_IMAGE, f"there is no ServerImage {disk.image}")
    if not source.ready:
        raise Refused(Reason.IMAGE_NOT_READY, f"ServerImage {disk.image} is not imported yet")
    if source.pool != pool.name:
        message = (
            f"ServerImage {disk.image} is in StoragePool {source.pool}, disk {disk.name} in "
            f"{pool.name}: import the image into {pool.name} too"
        )
        raise Refused(Reason.UNKNOWN_IMAGE, message)
    return source


def _kept(ioctx: rados.Ioctx, name: str) -> Kept | None:
    """The orphan; None: it has gone meanwhile."""
    try:
        return Kept(name, marks.read(ioctx, name).get(marks.SERVER, ""))
    except NotFound:
        return None


def _checked(handle: Handle, pool: Pool) -> Pool:
    # safety: fence, hearts and images must be of one cluster, or a fence would prove nothing.
    if pool.fsid and pool.fsid != handle.fsid:
        message = f"StoragePool {pool.name} is in cluster {pool.fsid}, Respawn's is {handle.fsid}"
        raise Refused(Reason.POOL_NOT_READY, message)
    return pool


def _tell(
    loop: asyncio.AbstractEventLoop,
    progress: Callable[[int, int | None], None],
    done: int,
    total: int | None,
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(progress, done, total)
