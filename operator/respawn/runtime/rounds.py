"""Reading one sign of life of every host, over and over: which is due, one at a time for each."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from respawn.model.node import FencePhase, Node
from respawn.model.sight import Pulse, Sight
from respawn.ports.clock import Clock
from respawn.ports.errors import PortError
from respawn.runtime.store import Store

AT_ONCE = 64
"""Reads under way at a time."""


class Rounds:
    """The reads of one kind, in the event loop that runs `run`.

    `pulse` says which sign of a Sight is meant, `often` after how many seconds it is due again.
    What could not be read is unknown, and the pulse's age says so by itself.
    """

    def __init__(
        self, *, store: Store, clock: Clock, read: Callable[[str], Coroutine[Any, Any, None]],
        pulse: Callable[[Sight], Pulse], often: Callable[[Node], float],
    ) -> None:  # fmt: skip
        self._store, self._clock, self._read = store, clock, read
        self._pulse, self._often = pulse, often
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled; no read outlives it."""
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
        task = asyncio.get_running_loop().create_task(self._one(name))
        self._reading[name] = task
        task.add_done_callback(lambda _: self._reading.pop(name, None))

    async def _one(self, name: str) -> None:
        with suppress(PortError):
            async with self._slots:
                await self._read(name)

    def _due(self, node: Node) -> bool:
        """When it is time; of a host in doubt at each pace."""
        read_at = self._pulse(self._store.sights.get(node.name, Sight())).read_at
        # A host whose fence stands is in no hurry: what it says next comes with its Node.
        in_doubt = node.name in self._store.uneasy and node.fence.phase is FencePhase.OK
        if read_at is None or in_doubt:
            return True
        return self._clock.now().mono - read_at >= self._often(node) - 1e-6
