"""Ceph's blocklist: the fence."""

from collections.abc import Collection
from typing import Protocol

from respawn.model.storage import Entry


class FencePort(Protocol):
    """Monitor commands block their thread: an adapter runs each in a pool of its own.

    Every call may raise Unavailable; an `add` or `remove` that did may still take effect later.
    """

    async def add(self, entries: Collection[Entry]) -> None:
        """Blocklist every entry, with the longest expiry, all at once.

        Returns when each command was acknowledged. One that is there already keeps its expiry.
        """
        ...

    async def remove(self, entries: Collection[Entry]) -> None:
        """Remove exactly those entries; gone already is done.

        Returns only when every command was acknowledged: a late one would undo a later fence.
        """
        ...

    async def listing(self) -> frozenset[Entry]:
        """Every entry there is, by a second connection, begun after the call.

        Those that end soon are marked as brief.
        """
        ...

    async def own_addresses(self) -> frozenset[str]:
        """Entity addresses of this operator's own Ceph clients: never blocklisted."""
        ...

    async def infrastructure(self) -> frozenset[str]:
        """IPs of mons, OSDs and mgrs: never blocklisted."""
        ...
