"""One read answers all who asked for the same before it began."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Asked = TypeVar("Asked", bound=Hashable)
Answer = TypeVar("Answer")


class Together(Generic[Asked, Answer]):
    """Reads of one kind, at most one of each at a time: when twenty servers leave a host at once,
    each of them asks for that host and for the blocklist.

    What is read for somebody begins after they asked, as if they were alone: who comes while a read
    is under way waits for the next.
    """

    def __init__(self, read: Callable[[Asked], Awaitable[Answer]]) -> None:
        self._read = read
        self._next: dict[Asked, asyncio.Task[Answer]] = {}
        self._under_way: dict[Asked, asyncio.Task[Answer]] = {}

    async def __call__(self, asked: Asked) -> Answer:
        """What `read` answers, or raises; begun after this call."""
        following = self._next.get(asked)
        if following is None:
            following = asyncio.create_task(self._after(self._under_way.get(asked), asked))
            self._next[asked] = following
        # Who gives up takes the answer from nobody else.
        return await asyncio.shield(following)

    async def _after(self, before: asyncio.Task[Answer] | None, asked: Asked) -> Answer:
        if before is not None:
            await asyncio.wait([before])
        # safety: R1, R7. From here on whoever asks needs a read that begins later than this one.
        mine = self._under_way[asked] = self._next.pop(asked)
        try:
            return await self._read(asked)
        finally:
            if self._under_way.get(asked) is mine:
                del self._under_way[asked]
