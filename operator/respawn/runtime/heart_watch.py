"""The hosts' hearts, read apart from everything else, and our own access to where they beat.

It may run in another thread than the store: there it only takes frozen values, each in one step of
the interpreter. `saw` and `proved` carry what was seen, with the moment of the look, to its loop.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

from respawn.model.node import Node
from respawn.model.sight import Beat
from respawn.ports.clock import Clock
from respawn.ports.errors import PortError
from respawn.ports.heart import HeartReads
from respawn.runtime.rounds import Rounds
from respawn.runtime.store import Store

Saw = Callable[[str, str, Beat | None, float, datetime], object]
"""Host, token of both its objects, the newest beat, and when the read of them began."""


class HeartWatch:
    """Reads every heart twice a beat, and one in doubt twice as often."""

    def __init__(
        self, *, store: Store, clock: Clock, saw: Saw, proved: Callable[[float], object]
    ) -> None:
        self._store, self._clock = store, clock
        self.saw, self.proved = saw, proved

    async def run(self, hearts: HeartReads) -> None:
        """Both loops, until cancelled; `hearts` belong to the event loop that runs this."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rounds(hearts).run())
            group.create_task(self._prove_ourselves(hearts))

    def _rounds(self, hearts: HeartReads) -> Rounds:
        def often(node: Node) -> float:
            host = node.host
            return self._store.policy.binding(host.policy_generation, host.timings).heartbeat / 2

        async def read(name: str) -> None:
            begun = self._clock.now()
            beats = await hearts.read(name)
            self.saw(name, *told(beats), begun.mono, begun.wall)

        return Rounds(
            store=self._store, clock=self._clock, read=read, pulse=lambda s: s.heart, often=often
        )

    async def _prove_ourselves(self, hearts: HeartReads) -> None:
        while True:
            begun = self._clock.now().mono
            with suppress(PortError):  # unproven, and self-doubt holds
                await hearts.prove_write()
                self.proved(begun)
            await self._clock.sleep(self._store.policy.timings.heartbeat)


def told(beats: Iterable[Beat | None]) -> tuple[str, Beat | None]:
    """What a read of both objects says: their token, and the newest beat."""
    both = tuple(beats)
    newest = max((b for b in both if b), key=lambda b: b.counter, default=None)
    return "|".join(_mark(beat) for beat in both), newest


def _mark(beat: Beat | None) -> str:
    return "" if beat is None else f"{beat.machine_id}/{beat.boot_id}/{beat.counter}"
