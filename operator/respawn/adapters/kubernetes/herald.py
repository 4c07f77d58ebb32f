"""Events, told one after the other behind the work: no write and no failover waits for them."""

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime

from respawn.adapters.kubernetes.events import Teller
from respawn.adapters.kubernetes.telling import Told

log = logging.getLogger(__name__)

MOST = 1000
"""Events that may wait; when the API server is away for long, the oldest are forgotten."""

PAUSE = 3.0
"""How long to pause after each event, in times of what it took: a server with much to do, as when
it writes placements of a whole host, is given a quarter of the events that it could take."""


class Herald:
    """Takes events at any time, and tells them as long as `run` runs."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._waiting: deque[tuple[Told, datetime]] = deque(maxlen=MOST)
        self._something = asyncio.Event()

    def tell(self, *events: Told) -> None:
        """Tell them soon, as of now. Never blocks."""
        happened = datetime.now(UTC)
        self._waiting.extend((event, happened) for event in events)
        self._something.set()

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        time = asyncio.get_running_loop().time
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                (told, happened), begun = self._waiting.popleft(), time()
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
