"""The hosts' hearts, read apart from everything else, and our own access to where they beat.

It may run in another thread than the store: there it only takes frozen values, each in one step of
the interpreter. `saw` and `proved` carry what was seen, with the moment of the look, to its loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from respawn.model.node import FencePhase, Node
from respawn.model.sight import Beat, Sight
from respawn.ports.clock import Clock
from respawn.ports.errors import PortError
from respawn.ports.heart import HeartReads
from respawn.runtime.store import Store

AT_ONCE = 64
"""Reads under way at a time."""

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
            group.create_task(_Round(self, self._store, self._clock, hearts).run())
            group.create_task(self._prove_ourselves(hearts))

    async def _prove_ourselves(self, hearts: HeartReads) -> None:
        while True:
            begun = self._clock.now().mono
            with suppress(PortError):  # unproven, and self-doubt holds
                await hearts.prove_write()
                self.proved(begun)
            await self._clock.sleep(self._store.policy.timings.heartbeat)


class _Round:
    """The reads under way in one event loop."""

    def __init__(self, watch: HeartWatch, store: Store, clock: Clock, hearts: HeartReads) -> None:
        self._watch, self._store, self._clock, self._hearts = watch, store, clock, hearts
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            while True:
                for node in list(self._store.nodes.values()):
                    if node.name not in self._reading and self._due(node):
                        self._begin(node.name)
                await self._clock.sleep(self._store.policy.timings.heartbeat / 4)
        finally:
            for task in self._reading.values():
                task.cancel()

    def _begin(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._read(name))
        self._reading[name] = task
        task.add_done_callback(lambda _: self._reading.pop(name, None))

    def _due(self, node: Node) -> bool:
        pulse = self._store.sights.get(node.name, Sight()).heart
        # A host whose fence stands is in no hurry: what it says next comes with its Node.
        in_doubt = node.name in self._store.uneasy and node.fence.phase is FencePhase.OK
        if pulse.read_at is None or in_doubt:
            return True
        host = node.host
        often = self._store.policy.binding(host.policy_generation, host.timings).heartbeat / 2
        return self._clock.now().mono - pulse.read_at >= often - 1e-6

    async def _read(self, name: str) -> None:
        """One read; what could not be read is unknown, and the pulse's age says so by itself."""
        with suppress(PortError):
            async with self._slots:
                begun = self._clock.now()
                beats = await self._hearts.read(name)
            token = "|".join(_mark(beat) for beat in beats)
            newest = max((b for b in beats if b), key=lambda b: b.counter, default=None)
            self._watch.saw(name, token, newest, begun.mono, begun.wall)


def _mark(beat: Beat | None) -> str:
    return "" if beat is None else f"{beat.machine_id}/{beat.boot_id}/{beat.counter}"
