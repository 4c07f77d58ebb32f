"""A keyed queue: each key at most once in it, at most once at work, and failover first.

The semantics are client-go's: a key that is added while it is at work runs again afterwards; one
that is added twice runs once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from random import Random
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SLICE = 0.005
"""Seconds for which all workers together hold the loop before everything else has its turn."""

RACES = 15
"""Failures in a row of a failover's key that may be races: some ten seconds of them."""
PATIENT_URGENT = 10.0
"""Longest delay (seconds) of a failover's key after more than that, before the jitter."""

LOST_URGENT = (0.2, 2.0)
"""First and longest delay (seconds) of a failover's key after a lost reply, before the jitter."""


class KeyedQueue(Generic[K]):
    """Two lanes; `get(urgent=True)` serves the failover lane alone."""

    def __init__(
        self,
        *,
        time: Callable[[], float],
        rng: Random | None = None,
        first_delay: float = 0.5,
        longest_delay: float = 30.0,
    ) -> None:
        self._slice_ends: float | None = None
        self._time = time
        self._rng = rng or Random()
        self._first, self._longest = first_delay, longest_delay
        self._lanes: dict[bool, deque[K]] = {True: deque(), False: deque()}
        self._dirty: dict[K, bool] = {}
        self._busy: set[K] = set()
        self._going_on: set[K] = set()
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[K, int] = {}
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Run it as soon as a worker is free; urgent overtakes, never the other way round."""
        before = self._dirty.get(key)
        if before is not None and (before or not urgent):
            return
        self._dirty[key] = urgent
        if key not in self._busy:
            self._enqueue(key, urgent)

    def go_on(self, key: K, *, urgent: bool = False) -> None:
        """`add` for a key at work that got a step further: those not begun yet do not overtake."""
        self._going_on.add(key)
        self.add(key, urgent=urgent)

    def add_at(self, key: K, when: float, *, urgent: bool = False) -> None:
        """Run it at that monotonic moment, or earlier if an earlier one was asked for."""
        planned = self._timers.get(key)
        if planned is not None and planned[0] <= when:
            return
        if planned is not None:
            planned[1].cancel()
        delay = max(0.0, when - self._time())
        timer = asyncio.get_running_loop().call_later(delay, self._ring, key, urgent)
        self._timers[key] = when, timer

    def retry(self, key: K, *, urgent: bool = False) -> None:
        """Run it again after a back-off that grows with each failure in a row, with jitter."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        # A failover does not wait half a second because somebody else wrote first. What still finds
        # no ground after so many times has not met a race: what it waits for is told when it comes.
        first, longest = (0.05, 1.0) if urgent else (self._first, self._longest)
        if urgent and count >= RACES:
            count, first, longest = count - RACES, 2.0, PATIENT_URGENT
        delay = min(first * 2 ** min(count, 20), longest) * self._rng.uniform(0.8, 1.2)
        self.add_at(key, self._time() + delay, urgent=urgent)

    def back_off(self, key: K, *, urgent: bool = False) -> float:
        """Run it again when whoever did not answer may have got its breath back; returns when.

        Many keys lose their replies together, so they are spread over half of the delay.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        first, longest = LOST_URGENT if urgent else (self._first, self._longest)
        delay = min(first * 2 ** min(count, 20), longest) * self._rng.uniform(0.5, 1.0)
        when = self._time() + delay
        self.add_at(key, when, urgent=urgent)
        return when

    def succeeded(self, key: K) -> None:
        """Forget its failures."""
        self._failures.pop(key, None)

    async def get(self, *, urgent: bool = False) -> tuple[K, bool]:
        """The next key and whether it is urgent; it counts as at work until `done`.

        Workers that never wait for anything else still let the loop have its turn; whoever goes on
        afterwards takes what is most urgent by then.
        """
        while True:
            await self._turn()
            for lane in (True,) if urgent else (True, False):
                while self._lanes[lane]:
                    key = self._lanes[lane].popleft()
                    if self._dirty.get(key) is lane and key not in self._busy:
                        return self._take(key, lane)
            await self._wait(urgent)

    def done(self, key: K) -> None:
        """It is no longer at work; if it was added meanwhile, it runs again."""
        self._busy.discard(key)
        goes_on = key in self._going_on
        self._going_on.discard(key)
        if key in self._dirty:
            self._enqueue(key, self._dirty[key], first=goes_on)

    def forget(self, key: K) -> None:
        """It is gone: no timer, no failures."""
        self._cancel_timer(key)
        self._failures.pop(key, None)

    def close(self) -> None:
        """Cancel every timer."""
        for key in list(self._timers):
            self.forget(key)

    async def _turn(self) -> None:
        while True:
            now = self._time()
            if self._slice_ends is None:
                self._slice_ends = now + SLICE
                asyncio.get_running_loop().call_soon(self._end_slice)
            if now < self._slice_ends:
                return
            await asyncio.sleep(0)

    def _end_slice(self) -> None:
        """Called when the loop has come round."""
        self._slice_ends = None

    def _take(self, key: K, urgent: bool) -> tuple[K, bool]:
        del self._dirty[key]
        self._busy.add(key)
        self._cancel_timer(key)
        return key, urgent

    def _cancel_timer(self, key: K) -> None:
        planned = self._timers.pop(key, None)
        if planned is not None:
            planned[1].cancel()

    def _enqueue(self, key: K, urgent: bool, *, first: bool = False) -> None:
        keys = self._lanes[urgent]
        (keys.appendleft if first else keys.append)(key)
        # Whoever may serve this lane: a failover worker first, for an urgent key.
        for lane in (True, False) if urgent else (False,):
            while self._waiting[lane]:
                future = self._waiting[lane].popleft()
                if not future.done():
                    future.set_result(None)
                    return

    async def _wait(self, urgent: bool) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[urgent].append(future)
        try:
            await future
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _ring(self, key: K, urgent: bool) -> None:
        self._timers.pop(key, None)
        self.add(key, urgent=urgent)
