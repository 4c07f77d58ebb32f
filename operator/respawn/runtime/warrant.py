"""The right to touch Ceph: checked right before each command, not once before many.

A stalled process may still send one command after its leadership ended; the protocol is safe with
that. The check makes it rare, so that a healthy host hardly ever meets a stale fence.
"""

from collections.abc import Callable, Collection

from respawn.decide.brake import LEASE_MARGIN
from respawn.decide.election import Standing
from respawn.model.placement import Locker
from respawn.model.server import Disk, Server
from respawn.model.storage import Entry, EpochMark, Image, ImageClients, Pool
from respawn.ports.clock import Clock
from respawn.ports.errors import Unavailable
from respawn.ports.fence import FencePort
from respawn.ports.images import Images
from respawn.ports.together import Together


class Deposed(Unavailable):
    """This process may not act as the leader (any more)."""


class Warrant:
    """Says whether this process leads, with lease to spare."""

    def __init__(self, standing: Callable[[], Standing], clock: Clock) -> None:
        self._standing, self._clock = standing, clock

    def check(self) -> None:
        """Raises Deposed. From any thread: a standing is one value, read once."""
        standing = self._standing()
        if not standing.leader or standing.until - self._clock.now().mono < LEASE_MARGIN:
            raise Deposed("this process is not the leader, or its lease is about to end")


class WarrantedFence:
    """The fence, with the warrant checked before every write."""

    def __init__(self, fence: FencePort, warrant: Warrant) -> None:
        self._fence, self._warrant = fence, warrant
        self._listings: Together[None, frozenset[Entry]] = Together(lambda _: fence.listing())
        self.own_addresses = fence.own_addresses
        self.infrastructure = fence.infrastructure

    async def listing(self) -> frozenset[Entry]:
        """See FencePort.listing; only a look."""
        return await self._listings(None)

    async def add(self, entries: Collection[Entry]) -> None:
        """See FencePort.add; raises Deposed as well."""
        self._warrant.check()
        await self._fence.add(entries)

    async def remove(self, entries: Collection[Entry]) -> None:
        """See FencePort.remove; raises Deposed as well."""
        self._warrant.check()
        await self._fence.remove(entries)


class WarrantedImages:
    """The images, with the warrant checked before every write."""

    def __init__(self, images: Images, warrant: Warrant) -> None:
        self._images, self._warrant = images, warrant

    async def ensure_disk(
        self, server: Server, disk: Disk, pool: Pool, source: Image | None
    ) -> int:
        """See Images.ensure_disk."""
        self._warrant.check()
        return await self._images.ensure_disk(server, disk, pool, source)

    async def clients(self, pool: Pool, image: str) -> ImageClients:
        """See Images.clients; only a look."""
        return await self._images.clients(pool, image)

    async def lockers(self, pool: Pool, image: str) -> tuple[Locker, ...]:
        """See Images.lockers; only a look."""
        return await self._images.lockers(pool, image)

    async def break_lock(self, pool: Pool, image: str, locker: Locker) -> None:
        """See Images.break_lock."""
        self._warrant.check()
        await self._images.break_lock(pool, image, locker)

    async def read_epoch(self, pool: Pool, image: str) -> EpochMark | None:
        """See Images.read_epoch; only a look."""
        return await self._images.read_epoch(pool, image)

    async def write_epoch(self, pool: Pool, image: str, mark: EpochMark) -> None:
        """See Images.write_epoch."""
        self._warrant.check()
        await self._images.write_epoch(pool, image, mark)

    async def trash(self, pool: Pool, image: str, owner_uid: str) -> None:
        """See Images.trash."""
        self._warrant.check()
        await self._images.trash(pool, image, owner_uid)
