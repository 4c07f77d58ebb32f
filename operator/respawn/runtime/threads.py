"""Threads with an event loop of their own: what hangs or hurries in one delays no other."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

Work = Callable[[asyncio.Event], Awaitable[None]]
"""Works until the event is set; its end, or any error, means: begin again."""

PAUSES = (0.5, 5.0)
"""First and longest pause (seconds) before it is begun again."""


class LoopThread:
    """Keeps `work` going in a thread of its own, for as long as the process lives."""

    def __init__(self, name: str, work: Work) -> None:
        self._name = name
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._enough = asyncio.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def restart(self) -> None:
        """End this round of work and begin a new one. From any thread."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._enough.set)

    def stop(self, patience: float) -> None:
        """End for good; waits at most `patience` seconds. Blocks."""
        self._stopping.set()
        self.restart()
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _run(self) -> None:
        pause = PAUSES[0]
        while not self._stopping.is_set():
            try:
                asyncio.run(self._round())
                pause = PAUSES[0]
            except Exception:
                log.exception("%s ended; it begins again", self._name)
                self._stopping.wait(pause)
                pause = min(2 * pause, PAUSES[1])

    async def _round(self) -> None:
        enough = asyncio.Event()
        with self._lock:
            self._loop, self._enough = asyncio.get_running_loop(), enough
        try:
            if not self._stopping.is_set():
                await self._work(enough)
        finally:
            with self._lock:
                self._loop = None


async def until(enough: asyncio.Event, work: Awaitable[None]) -> None:
    """Await `work`, and cancel it when `enough` is set. Raises what `work` does."""
    task, end = asyncio.ensure_future(work), asyncio.ensure_future(enough.wait())
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        end.cancel()
        if not task.done():
            task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        if not enough.is_set():
            raise
