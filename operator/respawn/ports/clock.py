"""Time, so that nothing else asks the machine for it."""

from typing import Protocol

from respawn.model.base import Now


class Clock(Protocol):
    """A monotonic clock for judging and a wall clock for telling."""

    def now(self) -> Now:
        """The present moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...
