"""Blocking Ceph calls for asyncio: threads of a pool of their own, a deadline on each."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from respawn.adapters.ceph import errors
from respawn.adapters.ceph.access import Access, Where
from respawn.adapters.ceph.errors import Shut, TimedOut
from respawn.adapters.ceph.handle import Handle, connect
from respawn.ports.errors import PortError

T = TypeVar("T")
DEADLINE = 10.0
"""Seconds for one call of several operations, each of which librados bounds by itself."""

TRY_AGAIN = 15.0
"""Seconds until a new way that did not work is tried again, while an older one does."""


class Connection:
    """One handle for one purpose, made at the first call and again whenever it was given up.

    Belongs to one event loop. A call that did not end by its deadline keeps its thread until
    librados lets it go, so a purpose that must not wait for others has a Connection of its own.
    """

    def __init__(self, where: Where, *, purpose: str, threads: int) -> None:
        self._where = where
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"ceph-{purpose}")
        self._connector = ThreadPoolExecutor(1, thread_name_prefix=f"ceph-{purpose}-connect")
        self._handle: Handle | None = None
        self._made: list[Handle] = []
        self._connecting: asyncio.Task[Handle] | None = None
        self._again = 0.0
        self.trouble: PortError | None = None
        """Why the newest way does not work, while an older one is still in use."""

    @property
    def addresses(self) -> frozenset[str]:
        """The entity addresses it has: also of handles given up that a hanging call still uses."""
        return frozenset(handle.address for handle in self._made if not handle.ended)

    async def run(self, what: str, work: Callable[[Handle], T], *, deadline: float = DEADLINE) -> T:
        """Do `work` in a thread; `what` names it in errors.

        Raises what `work` does and, for librados and librbd, the ports' errors: Unavailable at the
        deadline.
        """
        try:
            async with asyncio.timeout(deadline):
                return await self._begin_work(await self.handle(), what, work)
        except TimeoutError:
            raise TimedOut(f"{what}: no answer within {deadline:g} s") from None

    def _begin_work(
        self, handle: Handle, what: str, work: Callable[[Handle], T]
    ) -> asyncio.Future[T]:
        """A use of the handle from now on: a new way found meanwhile does not end this call's."""
        handle.acquire()
        try:
            job = self._threads.submit(self._do, handle, what, work)
        except RuntimeError:
            handle.release()
            raise
        # Also when it is cancelled before a thread was free for it.
        job.add_done_callback(lambda _: handle.release())
        return asyncio.wrap_future(job)

    def _do(self, handle: Handle, what: str, work: Callable[[Handle], T]) -> T:
        try:
            with errors.translated(what):
                return work(handle)
        except (Shut, TimedOut):
            handle.retire()
            raise

    async def handle(self) -> Handle:
        """The handle, connected; all that wait for it share one attempt.

        Raises Unavailable, Refused.
        """
        access, held = self._where(), self._handle
        if held and held.access.fsid != access.fsid:
            # safety: fence, hearts and images must be of one cluster at any moment.
            held.retire()
        if held is None or held.retired:
            return await asyncio.shield(self._connecting or self._connect_anew(access))
        if held.access == access:
            self.trouble = None
        elif self._connecting is None and time.monotonic() >= self._again:
            # What works stays in use until the new way is seen to work: a wrong key must not take
            # the fence away.
            self._connect_anew(access)
        return held

    def _connect_anew(self, access: Access) -> asyncio.Task[Handle]:
        task = self._connecting = asyncio.create_task(self._connect(access))
        # whoever waited may be gone by then: nobody else is told that it failed
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return task

    async def _connect(self, access: Access) -> Handle:
        loop = asyncio.get_running_loop()
        try:
            handle = await loop.run_in_executor(self._connector, connect, access)
        except PortError as error:
            self.trouble, self._again = error, time.monotonic() + TRY_AGAIN
            raise
        finally:
            self._connecting = None
        if self._handle:
            self._handle.retire()
        self._made = [*(made for made in self._made if not made.ended), handle]
        self._handle, self.trouble = handle, None
        return handle

    async def close(self) -> None:
        """Give the handle up; calls under way end by themselves."""
        if self._connecting:
            await asyncio.wait([self._connecting])
        if self._handle:
            self._handle.retire()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connector.shutdown(wait=False)
