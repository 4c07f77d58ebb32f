"""Our own LISTs: the start barrier, and the sweep that finds what watches have lost.

kopf tells neither when its first listing is complete, nor of what was deleted while it was not
watching. Both run in a thread of their own: a list of ten thousand servers takes its time to parse.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.errors import ApiError
from respawn.runtime.feed import Feed, Reading, read

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two sweeps."""
DEADLINE = 15.0
AT_ONCE = 500
"""Readings handed over at a time, so that the store's loop comes to other things in between."""
AGAIN = 2.0
"""Seconds after which one that is due and was not answered is tried again."""
PATIENCE = 10.0
"""Seconds that a watch may take to bring what a LIST has shown."""


class Sweep:
    """Lists all kinds, again and again. `deaf` is called when the watches do not hear, or may not:
    then, too, they begin anew once everything can be listed.
    """

    def __init__(
        self, feed: Feed, loop: asyncio.AbstractEventLoop, connect: Callable[[], Client], *,
        deaf: Callable[[], None] = lambda: None, every: float = EVERY, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._feed, self._loop, self._connect = feed, loop, connect
        self._deaf, self._every, self._patience = deaf, every, patience
        self._is_due = False

    def due(self) -> None:
        """The next round of `run` begins with a sweep, and after it the watches do. From any
        thread.
        """
        self._is_due = True

    async def run(self, enough: asyncio.Event) -> None:
        """Sweep until `enough`; what the API server does not answer is tried again next time."""
        async with self._connect() as client:
            while not enough.is_set():
                await _wait(enough, 0.0 if self._is_due else self._every)
                if not enough.is_set() and not await self._sweep(client, enough):
                    await _wait(enough, AGAIN)

    async def _sweep(self, client: Client, enough: asyncio.Event) -> bool:
        """Whether it was answered."""
        try:
            seen = await self.once(client)
        except ApiError as error:
            log.warning("sweep: %s", error)
            return False
        if self._is_due:
            self._is_due = False
            self._deaf()
            return True
        await _wait(enough, self._patience)
        heard = self._feed.heard
        missed = [uid for uid, version in seen.items() if heard.get(uid, version) < version]
        missed += [uid for uid in seen if uid not in heard and not self._feed.is_gone(uid)]
        if missed and not enough.is_set():
            log.warning("the watches have not brought %d changes: they begin anew", len(missed))
            self._deaf()
        return True

    async def once(self, client: Client) -> dict[str, int]:
        """List everything into the store; returns UID -> resourceVersion. Raises ApiError."""
        seen: dict[str, int] = {}
        for intake in self._feed.intakes:
            objects, version = await client.list_all(intake.resource, deadline=DEADLINE)
            readings = [read(intake, body) for body in objects]
            for begin in range(0, len(readings), AT_ONCE):
                await self._hand_over(self._take, readings[begin : begin + AT_ONCE])
            uids = [reading.uid for reading in readings]
            await self._hand_over(self._feed.listed, intake, uids, int(version))
            seen.update({reading.uid: reading.version for reading in readings})
        return seen

    def _take(self, readings: list[Reading]) -> None:
        for reading in readings:
            self._feed.take(reading)

    async def _hand_over(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Do it in the store's loop, and wait until it is done."""

        async def work() -> None:
            call(*arguments)

        done = asyncio.run_coroutine_threadsafe(work(), self._loop)
        await asyncio.wrap_future(done)


async def _wait(enough: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await enough.wait()
    except TimeoutError:
        return
