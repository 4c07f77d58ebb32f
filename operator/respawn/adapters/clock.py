"""The machine's clocks."""

import asyncio
import time
from datetime import UTC, datetime

from respawn.model.base import Now


class SystemClock:
    """Clock. CLOCK_MONOTONIC goes on while the process is stopped, as does everybody's lease."""

    def now(self) -> Now:
        """The present moment."""
        return Now(time.monotonic(), datetime.now(UTC))

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)
