"""Processes that can be killed and frozen, planes that can be cut, and calls across them.

A call is three things: the request on its way, the effect at the other end, the reply on its way
back. Each may be late or lost by itself: a client that gave up does not undo the effect, and a cut
link delivers what it held when it heals (as TCP does).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from respawn.ports.errors import Unavailable

T = TypeVar("T")

MANAGEMENT, STORAGE = "management", "storage"
PLANES = (MANAGEMENT, STORAGE)


class Gate:
    """Open or shut; who waits at it goes on when it opens."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._event.set()

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def shut(self) -> None:
        self._event.clear()

    def open(self) -> None:
        self._event.set()

    async def passed(self) -> None:
        while not self._event.is_set():
            await self._event.wait()


class Process:
    """One life of one process: its tasks end with it."""

    def __init__(self, name: str, kernel: "Kernel") -> None:
        self.name, self.kernel = name, kernel
        self.alive = True
        self.gate = Gate()
        self.bugs = kernel.bugs
        """What ended a task of it that should not have ended."""
        self._tasks: dict[asyncio.Task[Any], None] = {}  # ordered, unlike a set

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.bugs.append(error)

    async def thawed(self) -> None:
        """Where a frozen process stands still: at each of its calls, and at each return."""
        await self.gate.passed()
        await self.kernel.gate.passed()

    def kill(self) -> None:
        self.alive = False
        for task in list(self._tasks):
            task.cancel()


class Kernel:
    """A machine between power-on and power-off: what is in its sockets goes with it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.up = True
        self.gate = Gate()
        self.bugs: list[BaseException] = []


class Switch:
    """Which address is reachable on which plane; "*" is the switch itself, for every host."""

    def __init__(self) -> None:
        self._cut: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()

    def cut(self, address: str, plane: str) -> None:
        self._cut.add((address, plane))

    def heal(self, address: str, plane: str) -> None:
        self._cut.discard((address, plane))
        self._changed.set()
        self._changed = asyncio.Event()

    def up(self, plane: str, *ends: str) -> bool:
        return not any((end, plane) in self._cut for end in ends)

    async def wait_up(self, plane: str, *ends: str) -> None:
        while not self.up(plane, *ends):
            await self._changed.wait()


class Net:
    """Calls between processes and servers, with latency and faults drawn from one seed."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.switch = Switch()
        self.holds: dict[tuple[str, str], Gate] = {}
        """(process, call) -> a gate at which such a request waits on its way."""
        self.late: dict[tuple[str, str], Gate] = {}
        """(process, call) -> a gate at which the reply waits on its way back."""
        self.spy: Callable[[Process, str], None] = lambda who, call: None
        """Told of every request as it takes effect."""
        self.lost_replies = 0.0
        """Probability that a reply never comes."""
        self.slowest = 0.004
        self.proxied: set[str] = set()
        """Addresses whose packets wait in a proxy: they outlive the machine that sent them."""
        self._under_way: set[asyncio.Task[None]] = set()

    async def call(
        self,
        who: Process,
        plane: str,
        end: str,
        effect: Callable[[], T | Awaitable[T]],
        *,
        label: str,
        deadline: float,
        server_gate: Gate | None = None,
        base: float = 0.001,
    ) -> T:
        """Let `effect` happen at `end`; raises Unavailable when no reply came by the deadline."""
        await who.thawed()
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        work = self._carry(who, label, plane, end, effect, reply, server_gate, base)
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait({reply}, timeout=deadline)
        await who.thawed()
        if not done:
            reply.cancel()
            raise Unavailable(f"{end} did not answer within {deadline:g} s")
        return reply.result()

    async def _carry(
        self, who: Process, label: str, plane: str, end: str, effect: Callable[[], Any],
        reply: "asyncio.Future[Any]", gate: Gate | None, base: float,
    ) -> None:  # fmt: skip
        kernel = who.kernel
        await self._travel(kernel, plane, end, base)
        held = self.holds.get((who.name, label))
        if held is not None:
            await held.passed()
        if gate is not None:
            await gate.passed()
        if not kernel.up and kernel.address not in self.proxied:
            return  # its packets are gone with it
        outcome: Any = None
        error: Exception | None = None
        try:
            outcome = effect()
            self.spy(who, label)
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
        except Exception as raised:  # noqa: BLE001 whatever the server says travels back
            error = raised
        if self.rng.random() < self.lost_replies:
            return
        late = self.late.get((who.name, label))
        if late is not None:
            await late.passed()
        await self._travel(kernel, plane, end, base)
        if reply.done():
            return
        if error is not None:
            reply.set_exception(error)
            reply.exception()  # the caller may be gone
        else:
            reply.set_result(outcome)

    async def _travel(self, kernel: Kernel, plane: str, end: str, base: float) -> None:
        await asyncio.sleep(base + self.rng.random() * self.slowest)
        await self.switch.wait_up(plane, kernel.address, end)
