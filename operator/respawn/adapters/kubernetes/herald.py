"""Events, told one after the other behind the work: no write and no failover waits for them."""

import asyncio
import logging
from collections import deque

from respawn.adapters.kubernetes.events import Teller
from respawn.adapters.kubernetes.telling import Told

log = logging.getLogger(__name__)

MOST = 1000
"""Events that may wait; when the API server is away for long, the oldest are forgotten."""


class Herald:
    """Takes events at any time, and tells them as long as `run` runs."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._waiting: deque[Told] = deque(maxlen=MOST)
        self._something = asyncio.Event()

    def tell(self, *events: Told) -> None:
        """Tell them soon. Never blocks."""
        self._waiting.extend(events)
        self._something.set()

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                told = self._waiting.popleft()
                await self._teller.tell(
                    told.about,
                    reason=told.reason,
                    message=told.message,
                    warning=told.warning,
                    key=told.key,
                    order=told.order,
                )
