"""What a host's agent asks of Ceph, besides beating."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from respawn.adapters.ceph import errors, fence
from respawn.adapters.ceph.access import Where
from respawn.adapters.ceph.handle import Handle, connect
from respawn.model.placement import entity_ip
from respawn.model.storage import Entry

T = TypeVar("T")


class HostCeph:
    """Ceph as one host sees it. Each call connects anew: an old handle could tell old things."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="ceph-host")

    async def blocklist(self) -> frozenset[Entry]:
        """The blocklist, by a connection made after the call. A blocklisted host reads it too.

        Raises Unavailable.
        """
        return await self._ask("osd blocklist ls", fence.listing)

    async def address(self) -> str:
        """The IP address by which Ceph knows this host now. Raises Unavailable."""
        return await self._ask("connect to Ceph", lambda handle: entity_ip(handle.address))

    async def _ask(self, what: str, question: Callable[[Handle], T]) -> T:
        def work() -> T:
            handle = connect(self._where())
            try:
                with handle.used(), errors.translated(what):
                    return question(handle)
            finally:
                handle.retire()

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False)
