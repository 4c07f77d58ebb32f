"""The fence: Ceph's blocklist, written by one connection and read back by another."""

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

from respawn.adapters.ceph import blocklist, daemons, monitor
from respawn.adapters.ceph.access import Where
from respawn.adapters.ceph.connection import Connection
from respawn.adapters.ceph.handle import Handle
from respawn.model.conditions import Reason
from respawn.model.storage import Entry, bans
from respawn.ports.errors import Refused

THREADS = 64
"""A monitor command blocks its thread until it is committed: up to a second each by default, but
all that are under way together are committed together."""

DEADLINE = 5.0


class CephFence:
    """FencePort. `own` tells the entity addresses of all Ceph clients of this process."""

    def __init__(self, where: Where, own: Callable[[], frozenset[str]] = frozenset) -> None:
        self._writer = Connection(where, purpose="fence", threads=THREADS)
        self._reader = Connection(where, purpose="fence-read", threads=4)
        self._own = own

    async def add(self, entries: Collection[Entry]) -> None:
        """Blocklist every entry, for a year, all at once."""
        await self._writer.handle()
        own = await self.own_addresses()
        # safety: a blocklisted operator could neither fence nor lift anything any more.
        hit = [address for address in own if bans(frozenset(entries), address)]
        if hit:
            raise Refused(Reason.ADDRESS_IN_USE, f"{', '.join(hit)} is this operator itself")
        await self._all(entries, "add")

    async def remove(self, entries: Collection[Entry]) -> None:
        """Remove exactly those entries; returns when each command was acknowledged."""
        # safety: nothing but what is named goes: the other form of an address, and the nonces of
        # clients that were fenced for good, stay.
        await self._all(entries, "rm")

    async def _all(self, entries: Collection[Entry], operation: str) -> None:
        """Every command is waited for, also when another has failed: then the first error."""
        commands = [_command(entry, operation) for entry in entries]
        results = await asyncio.gather(
            *(self._one(fields) for fields in commands), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _one(self, fields: dict[str, Any]) -> None:
        def send(handle: Handle) -> None:
            monitor.command(handle.cluster, **fields)

        what = f"osd blocklist {fields['blocklistop']} {fields['addr']}"
        await self._writer.run(what, send, deadline=DEADLINE)

    async def listing(self) -> frozenset[Entry]:
        """Every entry there is, by the second connection, begun after the call."""
        return await self._reader.run("osd blocklist ls", listing, deadline=DEADLINE)

    async def own_addresses(self) -> frozenset[str]:
        """Entity addresses of this process's Ceph clients."""
        return self._own() | self._writer.addresses | self._reader.addresses

    async def infrastructure(self) -> frozenset[str]:
        """IPs of mons, OSDs and mgrs, as the cluster's maps have them."""
        return await self._reader.run("read the cluster's maps", infrastructure)

    async def close(self) -> None:
        """Give the connections up."""
        await asyncio.gather(self._writer.close(), self._reader.close())


def _command(entry: Entry, operation: str) -> dict[str, Any]:
    try:
        return blocklist.command(entry, operation)
    except ValueError as error:
        message = f"{entry.address} is no single IP address, so it cannot be fenced"
        raise Refused(Reason.NO_ADDRESSES, message) from error


def listing(handle: Handle) -> frozenset[Entry]:
    """Every blocklist entry there is. Blocks; any client may read it."""
    text = monitor.command(handle.cluster, prefix="osd blocklist ls")
    return blocklist.parse(text, datetime.now(UTC))


def infrastructure(handle: Handle) -> frozenset[str]:
    """IPs in the monitor, OSD and manager maps. Blocks."""
    maps = (monitor.answer(handle.cluster, f"{kind} dump") for kind in ("mon", "osd", "mgr"))
    return daemons.addresses(maps)
