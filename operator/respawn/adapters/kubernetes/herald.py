"""Events, told one after the other behind the work: no write and no failover waits for them."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from respawn.adapters.kubernetes.events import Teller
from respawn.adapters.kubernetes.telling import Told

log = logging.getLogger(__name__)

MOST = 1000
"""Events that may wait; when the API server is away for long, the oldest are forgotten."""

PAUSE = 3.0
"""How long to pause after each event, in times of what it took: a server with much to do, as when
it writes placements of a whole host, is given a quarter of the events that it could take."""

PATIENCE = 2.0
"""Seconds for which an event waits while a failover is under way: it tells when it happened, and
for twenty servers that leave a host the telling is an eighth of this process's work."""
LOOK_AGAIN = 0.05
"""Seconds between two looks at whether it is."""


class Herald:
    """Takes events at any time, and tells them as long as `run` runs.

    `busy` tells whether there is something that matters more.
    """

    def __init__(self, teller: Teller, *, busy: Callable[[], bool] = lambda: False) -> None:
        self._teller, self._busy = teller, busy
        self._waiting: deque[tuple[Told, datetime, float]] = deque(maxlen=MOST)
        self._something = asyncio.Event()

    def tell(self, *events: Told) -> None:
        """Tell them soon, as of now. Never blocks."""
        happened, since = datetime.now(UTC), asyncio.get_running_loop().time()
        self._waiting.extend((event, happened, since) for event in events)
        self._something.set()

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        time = asyncio.get_running_loop().time
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                await self._calm(self._waiting[0][2])
                told, happened, _ = self._waiting.popleft()
                begun = time()
                await self._teller.tell(
                    told.about,
                    reason=told.reason,
                    message=told.message,
                    warning=told.warning,
                    key=told.key,
                    order=told.order,
                    at=happened,
                )
                await asyncio.sleep(PAUSE * (time() - begun))

    async def _calm(self, since: float) -> None:
        time = asyncio.get_running_loop().time
        while time() - since < PATIENCE:
            if not self._busy():
                return
            await asyncio.sleep(LOOK_AGAIN)
