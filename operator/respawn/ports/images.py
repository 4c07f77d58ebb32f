"""RBD images: the disks, who has them open, and the epoch in their metadata.

Images are named by UID; one that carries another owner's mark is never touched (S9).
"""

from typing import Protocol

from respawn.model.placement import Locker
from respawn.model.server import Disk, Server
from respawn.model.storage import EpochMark, Image, ImageClients, Pool


class Epochs(Protocol):
    """What a host's agent reads of RBD. Every call may raise Unavailable."""

    async def read_epoch(self, pool: Pool, image: str) -> EpochMark | None:
        """The epoch in its metadata. Raises NotFound (no image)."""
        ...


class Images(Epochs, Protocol):
    """The operator's hand on RBD. Every call may raise Unavailable."""

    async def ensure_disk(
        self, server: Server, disk: Disk, pool: Pool, source: Image | None
    ) -> int:
        """Create (clone of `source`'s snapshot `golden`, or blank), or grow, the disk's image.

        Returns the size it has, in bytes. Idempotent; never shrinks. Raises Refused, with a
        reason, when it cannot be had so.
        """
        ...

    async def clients(self, pool: Pool, image: str) -> ImageClients:
        """Its lockers and watchers, by a read-only open that adds no watcher of ours.

        Raises NotFound.
        """
        ...

    async def lockers(self, pool: Pool, image: str) -> tuple[Locker, ...]:
        """Who holds its lock, by a look that costs a tenth of `clients`. Raises NotFound."""
        ...

    async def break_lock(self, pool: Pool, image: str, locker: Locker) -> None:
        """Break exactly that lock (client and cookie); gone already is done."""
        ...

    async def write_epoch(self, pool: Pool, image: str, mark: EpochMark) -> None:
        """Write the epoch without opening the image for writing. Raises NotFound."""
        ...

    async def trash(self, pool: Pool, image: str, owner_uid: str) -> None:
        """Move it to the RBD trash; gone already is done.

        Raises Refused when it is still in use or carries another owner's mark.
        """
        ...
