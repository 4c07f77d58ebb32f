"""Connections to a libvirtd, and the native threads that use them.

libvirt's calls block, without a deadline of their own, and a connection shared by threads has been
seen to hang and crash. So each thread has a connection of its own with one call in flight; what
hangs costs that thread, never the process: it is abandoned, and another takes its place. libvirt's
event loop runs in one native thread of its own (never asyncio's), registered before the first
connection is opened; without it there is no keepalive, and a dead daemon is never noticed.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

import libvirt

from respawn.adapters.libvirt.errors import of_libvirt
from respawn.ports.errors import Unavailable

T = TypeVar("T")
Work = Callable[["libvirt.virConnect"], T]

log = logging.getLogger(__name__)
LOCAL = "qemu:///system"
KEEPALIVE = (5, 3)
"""Seconds between questions, and how many may stay unanswered: a frozen daemon is left at 20 s."""
ABANDONED_AT_MOST = 16

_event_loop = threading.Lock()
_event_loop_runs = False


def start_event_loop() -> None:
    """Run libvirt's event loop, once for the process. Must precede the first open."""
    global _event_loop_runs
    with _event_loop:
        if _event_loop_runs:
            return
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # they are raised, too
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_event_loop, name="libvirt-loop", daemon=True).start()
        _event_loop_runs = True


def _run_event_loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            log.error("libvirt's event loop: %s", error)
            time.sleep(0.1)  # it has no other way to wait, and must not spin


def opened(uri: str) -> "libvirt.virConnect":
    """A new connection with keepalive; blocks for as long as the daemon lets it."""
    start_event_loop()
    connection = libvirt.open(uri)
    connection.setKeepAlive(*KEEPALIVE)
    return connection


class Workers:
    """Threads that carry out calls, each with its own connection; what waits is taken in order."""

    def __init__(self, uri: str, name: str, *, threads: int = 1) -> None:
        self._uri, self._name = uri, name
        self._queue: SimpleQueue[tuple[Work[Any], Future[Any]] | None] = SimpleQueue()
        self._abandoned: set[Future[Any]] = set()
        self._giving_up = threading.Lock()
        """So that caller and thread agree on whether a call was given up or has ended."""
        self._threads = threads
        for _ in range(threads):
            self._spawn()

    async def call(self, work: Work[T], deadline: float) -> T:
        """What `work` returns. Raises the port errors; Unavailable after `deadline` seconds."""
        if len(self._abandoned) >= ABANDONED_AT_MOST:
            raise Unavailable(f"libvirt hangs in {len(self._abandoned)} calls ({self._name})")
        future: Future[T] = Future()
        self._queue.put((work, future))
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._abandon(future)
            raise Unavailable(f"libvirt did not answer within {deadline:g} s") from None
        except libvirt.libvirtError as error:
            raise of_libvirt(error) from error

    def close(self) -> None:
        """End the threads when they are idle; those in a call end after it."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _abandon(self, future: Future[Any]) -> None:
        """Its thread is stuck in the call: let it be, and have another for the rest."""
        with self._giving_up:
            if not future.running():
                return
            self._abandoned.add(future)
        self._spawn()

    def _spawn(self) -> None:
        threading.Thread(target=self._run, name=f"libvirt-{self._name}", daemon=True).start()

    def _run(self) -> None:
        connection: libvirt.virConnect | None = None
        while (item := self._queue.get()) is not None:
            work, future = item
            if not future.set_running_or_notify_cancel():
                continue
            connection = self._carry_out(connection, work, future)
            if self._was_abandoned(future):
                break
        _close(connection)

    def _was_abandoned(self, future: Future[Any]) -> bool:
        """Whether another thread has taken this one's place during that call."""
        with self._giving_up:
            abandoned = future in self._abandoned
            self._abandoned.discard(future)
        return abandoned

    def _carry_out(
        self, connection: "libvirt.virConnect | None", work: Work[T], future: Future[T]
    ) -> "libvirt.virConnect | None":
        """Do it, and return the connection if it is still good."""
        try:
            if connection is None or not connection.isAlive():
                _close(connection)
                connection = None
                connection = opened(self._uri)
            result = work(connection)
        except Exception as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
            future.set_exception(error)
        else:
            future.set_result(result)
        return connection


def _close(connection: "libvirt.virConnect | None") -> None:
    if connection is not None:
        with suppress(libvirt.libvirtError):
            connection.close()


def detached(uri: str, work: Work[T]) -> "asyncio.Future[T]":
    """Do `work` in a thread and on a connection that exist for it alone.

    For calls that may hang as long as the storage is away (suspend, resume): each server has its
    own, so that one stuck guest keeps no other from being paused.
    """
    future: Future[T] = Future()

    def run() -> None:
        connection = None
        try:
            connection = opened(uri)
            result = work(connection)
        except Exception as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
            future.set_exception(error)
        else:
            future.set_result(result)
        _close(connection)

    threading.Thread(target=run, name="libvirt-detached", daemon=True).start()
    return asyncio.wrap_future(future)


class LongCalls:
    """Detached calls by name: one that still hangs from before is not repeated."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._under_way: dict[str, asyncio.Future[Any]] = {}

    def begin(self, name: str, work: Work[Any]) -> "asyncio.Future[Any]":
        """Do `work`, or wait for the call of that name that is under way."""
        known = self._under_way.get(name)
        if known is not None:
            return known
        call = self._under_way[name] = detached(self._uri, work)
        call.add_done_callback(lambda done: self._over(name, done))
        return call

    def _over(self, name: str, call: "asyncio.Future[Any]") -> None:
        """It may end long after its caller has seen what it waited for, or given up."""
        del self._under_way[name]
        if not call.cancelled() and (error := call.exception()) is not None:
            log.info("%s ended late: %s", name, error)
