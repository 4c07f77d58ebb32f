"""Ends the process when its loop stands still: a leader that cannot move must not be one.

A thread of its own, since a loop that is blocked cannot save itself. Safety does not rest on it; a
standby that can work does come to lead sooner.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

EXIT_CODE = 71
PERIOD = 0.25
"""Seconds between two looks, and between two beats of the loop."""


def end(stalled: float) -> None:
    """Say why, and go at once: nothing in this process can be trusted to end in time."""
    log.critical("the event loop has not moved for %.1f s: the process ends", stalled)
    os._exit(EXIT_CODE)


class Watchdog:
    """Watches the loop that `beat` runs in; `limit` is in seconds."""

    def __init__(
        self, limit: float, *, bite: Callable[[float], None] = end,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._limit, self._bite, self._clock = limit, bite, clock
        self._beaten = self._looked = clock()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        self._beaten = self._looked = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    async def beat(self) -> None:
        """Show that the loop moves, until cancelled."""
        while True:
            self._beaten = self._clock()
            await asyncio.sleep(PERIOD)

    def _watch(self) -> None:
        while not self._over.wait(PERIOD):
            self.look()

    def look(self) -> None:
        """One look. If we ourselves were not run for long, the whole process was stopped: then the
        loop gets its time anew.
        """
        now = self._clock()
        if now - self._looked > 4 * PERIOD + 1.0:
            self._beaten = now
        self._looked = now
        if now - self._beaten > self._limit:
            self._bite(now - self._beaten)
