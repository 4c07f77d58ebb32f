"""Virtual time as the product's processes see it."""

import asyncio
from datetime import UTC, datetime, timedelta

from respawn.model.base import Now

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class SimClock:
    """`Clock`: monotonic and wall time, each with an offset of its own."""

    def __init__(self, offset: float = 0.0, skew: float = 0.0) -> None:
        self._offset, self.skew = offset, skew

    def now(self) -> Now:
        elapsed = asyncio.get_running_loop().time()
        return Now(elapsed + self._offset, EPOCH + timedelta(seconds=elapsed + self.skew))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
