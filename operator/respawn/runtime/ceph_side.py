"""Ceph behind the ports, reached as StoragePools and their Secrets say, which may change any time.

All pools are in one Ceph cluster; the oldest one that is known gives the way to it, for every
operator alike, whichever Secret it read first: hearts beat there, and there it fences. What is
known stays in use when its Secret goes away: a fence must not fail for that.
"""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from respawn.adapters.ceph.access import Access, fixed
from respawn.adapters.ceph.fence import CephFence
from respawn.adapters.ceph.hearts import CephHearts
from respawn.adapters.ceph.images import CephImages
from respawn.adapters.ceph.sources import FileSource, HTTPSource, RBDSource, Source
from respawn.model.conditions import Reason
from respawn.model.sight import Beat
from respawn.model.storage import Image, Kept, Origin, Pool
from respawn.ports.errors import Refused, Unavailable
from respawn.ports.library import Progress, Usage

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class CephSide:
    """Images, FencePort, HeartReads and Library of one operator; `me` names it."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._known: dict[str, tuple[Pool, str]] = {}
        """Replaced whole: it is read in other threads too."""
        self._opened: tuple[_Hearts, ...] = ()
        self._proven: set[Access] = set()
        self.images = CephImages(self._where)
        self.hearts = self.open_hearts()
        self.fence = CephFence(self._where, self._own)

    # What is known.

    def learn(self, pool: Pool, key: str) -> None:
        """A pool, and its client's key."""
        self._known = {**self._known, pool.name: (pool, key)}

    def forget(self, name: str) -> None:
        """That pool is no more. The last one stays known: its disks are still there."""
        others = {n: known for n, known in self._known.items() if n != name}
        self._known = others or self._known

    def first(self) -> tuple[Pool, str]:
        """The pool that gives the way, and its key. Raises Unavailable."""
        known = self._known.values()
        if not known:
            raise Unavailable("there is no StoragePool whose credentials are known")
        return min(known, key=lambda found: (found[0].created or _LONG_AGO, found[0].name))

    def _where(self) -> Access:
        return _access(*self.first())

    def _own(self) -> frozenset[str]:
        return self.images.addresses.union(*(hearts.addresses for hearts in self._opened))

    def open_hearts(self) -> "_Hearts":
        """Hearts with connections of their own, for the event loop that asks; it closes them."""
        hearts = _Hearts(self)
        self._opened = (*(h for h in self._opened if h.addresses or not h.closed), hearts)
        return hearts

    def hearts_of(self, pool: str) -> CephHearts:
        """The hearts in the pool with that name in Ceph."""
        return CephHearts(self._where, pool=pool, me=self._me)

    # Library.

    async def usage(self, pool: Pool) -> Usage:
        """How full it is, once the way that it names itself has led there."""
        await self._prove_way_to(pool)
        found = await self.images.usage(pool)
        return Usage(found.total, found.used)

    async def _prove_way_to(self, pool: Pool) -> None:
        """Connect to it as it says: the hosts will. Raises Refused, Unavailable.

        The way that is used all the time needs no such proof, nor does one that has led there once.
        """
        known = self._known.get(pool.name)
        if known is None or _access(*known) in (self._where(), *self._proven):
            return
        access = _access(*known)
        trial = CephImages(fixed(access))
        try:
            await trial.usage(pool)
        finally:
            await trial.close()
        self._proven.add(access)

    async def import_image(self, image: Image, pool: Pool, progress: Progress) -> int:
        """Import it unless it is there, verified."""
        source = source_of(image.origin)
        return await self.images.import_image(image, pool, source, image.checksum, progress)

    async def remove_image(self, image: Image, pool: Pool) -> None:
        """Move a golden image to the trash."""
        await self.images.remove_image(image, pool)

    async def kept(self, pool: Pool, uids: Collection[str]) -> tuple[Kept, ...]:
        """Images of disks whose server is none of `uids`."""
        return await self.images.kept(pool, uids)

    async def close(self) -> None:
        """Give the connections up."""
        await asyncio.gather(self.images.close(), self.fence.close(), self.hearts.close())


class _Hearts:
    """HeartReads of the pool that is known now."""

    def __init__(self, side: CephSide) -> None:
        self._side = side
        self._pool = ""
        self._hearts: CephHearts | None = None
        self._closing: set[asyncio.Task[Any]] = set()
        self.closed = False

    @property
    def addresses(self) -> frozenset[str]:
        """Entity addresses of its clients."""
        return self._hearts.addresses if self._hearts else frozenset()

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        """Both objects of that host."""
        return await self._now().read(host)

    async def prove_write(self) -> None:
        """Write an object of our own."""
        await self._now().prove_write()

    def _now(self) -> CephHearts:
        pool, _ = self._side.first()
        if self._hearts is None or pool.pool != self._pool:
            self._retire()
            self._hearts, self._pool = self._side.hearts_of(pool.pool), pool.pool
        return self._hearts

    def _retire(self) -> None:
        if self._hearts is not None:
            task = asyncio.get_running_loop().create_task(self._hearts.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Give the connections up."""
        self.closed = True
        if self._hearts is not None:
            await self._hearts.close()


def _access(pool: Pool, key: str) -> Access:
    return Access(pool.client, fsid=pool.fsid, monitors=pool.monitors, key=key)


def source_of(origin: Origin | None) -> Source:
    """Where the image is read from. Raises Refused."""
    if origin is None:
        raise Refused(Reason.SOURCE_UNREADABLE, "the image names no source")
    if origin.url is not None:
        return HTTPSource(origin.url)
    if origin.path is not None:
        return FileSource(origin.path)
    return RBDSource(origin.image or "", origin.pool, origin.snapshot)
