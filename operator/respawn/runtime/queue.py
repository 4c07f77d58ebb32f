"""A keyed queue: each key at most once in it, at most once at work, and failover first.

The semantics are client-go's: a key that is added while it is at work runs again afterwards; one
that is added twice runs once. Beyond that each key has a turn, which it keeps until it rests: who
began first goes on first, and of a crowd in the failover lane only a few are at work at a time. So
of twenty servers that lose their host together the first is started while the last still waits,
instead of all of them in the end.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable
from itertools import count
from random import Random
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SLICE = 0.005
"""Seconds for which all workers together hold the loop before everything else has its turn."""

CROWD = 1
"""Keys at work at a time in the failover lane, beside those that go ahead, when a crowd begins.
With more they wait for each other, for the processor, the API server and Ceph's monitor, and the
first comes later: of twenty on two cores its QEMU was started after 0.7 s with 1, and after 1.4 s
with 3. With so few the last would come late: once the first has started, each that is through
makes room for more."""
WIDER = 2
"""More of them at a time for each that is through."""
WIDEST = 16
"""Of them at the most."""
SLOW = 0.25
"""Seconds after which one at work no longer counts: it waits for something that others may not."""

STARTING = 0.15
"""Seconds for which one that is through still counts: so long its host is busy with its start,
which the placement of the others would delay. The first of a crowd goes alone until then."""

RACES = 15
"""Failures in a row of a failover's key that may be races: some ten seconds of them."""
PATIENT_URGENT = 10.0
"""Longest delay (seconds) of a failover's key after more than that, before the jitter."""

LOST_URGENT = (0.2, 2.0)
"""First and longest delay (seconds) of a failover's key after a lost reply, before the jitter."""


class KeyedQueue(Generic[K]):
    """Two lanes; `get(urgent=True)` serves the failover lane alone.

    Keys that go `ahead` have no turn to wait for, and are not counted in a crowd.
    """

    def __init__(
        self,
        *,
        time: Callable[[], float],
        rng: Random | None = None,
        ahead: Callable[[K], bool] = lambda key: False,
        first_delay: float = 0.5,
        longest_delay: float = 30.0,
    ) -> None:
        self._slice_ends: float | None = None
        self._time = time
        self._rng = rng or Random()
        self._first, self._longest = first_delay, longest_delay
        self._ahead = ahead
        self._arrivals, self._next_turn = count(), count(1)
        self._turns: dict[K, int] = {}
        self._lanes: dict[bool, list[tuple[int, int, K]]] = {True: [], False: []}
        self._dirty: dict[K, bool] = {}
        self._busy: set[K] = set()
        self._crowd: dict[K, asyncio.TimerHandle] = {}
        self._starting: dict[K, asyncio.TimerHandle] = {}
        self._width = CROWD
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

    def turn(self, key: K) -> int:
        """When it was begun, as a number that grows; 0 for those that go ahead."""
        if self._ahead(key):
            return 0
        known = self._turns.get(key)
        if known is None:
            known = self._turns[key] = next(self._next_turn)
        return known

    def rest(self, key: K) -> None:
        """It has nothing to do: what comes next is a new beginning, behind those under way."""
        self._turns.pop(key, None)

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
        failed = self._failures.get(key, 0)
        self._failures[key] = failed + 1
        # A failover does not wait half a second because somebody else wrote first. What still finds
        # no ground after so many times has not met a race: what it waits for is told when it comes.
        first, longest = (0.05, 1.0) if urgent else (self._first, self._longest)
        if urgent and failed >= RACES:
            failed, first, longest = failed - RACES, 2.0, PATIENT_URGENT
        delay = min(first * 2 ** min(failed, 20), longest) * self._rng.uniform(0.8, 1.2)
        self.add_at(key, self._time() + delay, urgent=urgent)

    def back_off(self, key: K, *, urgent: bool = False) -> float:
        """Run it again when whoever did not answer may have got its breath back; returns when.

        Many keys lose their replies together, so they are spread over half of the delay.
        """
        failed = self._failures.get(key, 0)
        self._failures[key] = failed + 1
        first, longest = LOST_URGENT if urgent else (self._first, self._longest)
        delay = min(first * 2 ** min(failed, 20), longest) * self._rng.uniform(0.5, 1.0)
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
            await self._breathe()
            for lane in (True,) if urgent else (True, False):
                key = self._next_in(lane)
                if key is not None:
                    if lane and not urgent and self._lanes[False]:
                        self._wake(False)  # it may have been woken for that one
                    return self._take(key, lane)
            await self._wait(urgent)

    def step_aside(self, key: K) -> None:
        """It counts in no crowd (any more): it is done, or waits for others more than it works."""
        timer = self._crowd.pop(key, None)
        if timer is not None:
            timer.cancel()
            self._make_room()

    def through(self, key: K) -> None:
        """It is placed, and its host starts it now. While the crowd lasts, more may be at work at a
        time from now on, or, if it is the first, once it has started; until then it counts as one.
        """
        if not (self._crowd or self._lanes[True]):
            return
        if key in self._starting:
            self._starting[key].cancel()
        loop = asyncio.get_running_loop()
        self._starting[key] = loop.call_later(STARTING, self._started, key)
        if self._width > CROWD:
            self._widen()

    @property
    def hurries(self) -> bool:
        """Whether a failover is under way that does not wait for others."""
        return bool(self._crowd or self._starting or self._lanes[True])

    def _started(self, key: K) -> None:
        del self._starting[key]
        if self._width == CROWD:
            self._widen()
        self._make_room()

    def _widen(self) -> None:
        self._width = min(self._width + WIDER, WIDEST)

    def _make_room(self) -> None:
        if self._lanes[True]:
            for _ in range(self._width - self._at_work()):
                self._wake(True)
        elif not self._at_work():
            self._width = CROWD

    def _at_work(self) -> int:
        return len(self._crowd.keys() | self._starting.keys())

    def _is_crowded(self, key: K) -> bool:
        return key not in self._starting and self._at_work() >= self._width

    def done(self, key: K) -> None:
        """It is no longer at work; if it was added meanwhile, it runs again."""
        self._busy.discard(key)
        if key in self._dirty:
            self._enqueue(key, self._dirty[key])
        self.step_aside(key)

    def forget(self, key: K) -> None:
        """It is gone: no timer, no failures, no turn."""
        self._cancel_timer(key)
        self._failures.pop(key, None)
        self.rest(key)

    def close(self) -> None:
        """Cancel every timer."""
        for key in list(self._timers):
            self.forget(key)
        for timer in (*self._crowd.values(), *self._starting.values()):
            timer.cancel()

    async def _breathe(self) -> None:
        """Let the loop come round, when the workers have held it for long enough."""
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

    def _next_in(self, lane: bool) -> K | None:
        """Whose turn it is in that lane; None: nobody's, or it is crowded."""
        waiting = self._lanes[lane]
        while waiting:
            turn, _, key = waiting[0]
            if self._dirty.get(key) is not lane or key in self._busy:
                heapq.heappop(waiting)  # it moved to the other lane, or is there twice
            elif lane and turn and self._is_crowded(key):
                return None
            else:
                heapq.heappop(waiting)
                return key
        return None

    def _take(self, key: K, urgent: bool) -> tuple[K, bool]:
        del self._dirty[key]
        self._busy.add(key)
        self._cancel_timer(key)
        if urgent and not self._ahead(key):
            loop = asyncio.get_running_loop()
            self._crowd[key] = loop.call_later(SLOW, self.step_aside, key)
        return key, urgent

    def _cancel_timer(self, key: K) -> None:
        planned = self._timers.pop(key, None)
        if planned is not None:
            planned[1].cancel()

    def _enqueue(self, key: K, urgent: bool) -> None:
        heapq.heappush(self._lanes[urgent], (self.turn(key), next(self._arrivals), key))
        self._wake(urgent)

    def _wake(self, urgent: bool) -> None:
        """Whoever may serve this lane: a failover worker first, for an urgent key."""
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
