"""Pools as a whole, and the golden images in them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from respawn.model.storage import Image, Kept, Pool

Progress = Callable[[int, int | None], None]
"""Bytes read so far, and of how many, if that is known."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a pool is, in bytes."""

    total: int
    used: int


class Library(Protocol):
    """Every call may raise Unavailable."""

    async def usage(self, pool: Pool) -> Usage:
        """How full it is; an answer at all means that it can be used. Raises Refused."""
        ...

    async def kept(self, pool: Pool, uids: Collection[str]) -> tuple[Kept, ...]:
        """Images of servers' disks in it whose server's UID is none of `uids`."""
        ...

    async def remove_image(self, image: Image, pool: Pool) -> None:
        """Move a golden image to the RBD trash; what was cloned from it stays whole. Gone already
        is done. Raises Conflict while it is being imported.
        """
        ...

    async def import_image(self, image: Image, pool: Pool, progress: Progress) -> int:
        """Import it unless it is there, verified; returns its size in bytes.

        It takes minutes; cancelled, it ends early. Raises Refused (a reason that only the user, or
        time, can change), Conflict (another operator is at it).
        """
        ...
