"""Threads that keep their work going, and the watchdog that keeps the process honest."""

import asyncio
import threading

import pytest

from respawn.runtime import threads
from respawn.runtime.threads import LoopThread, until
from respawn.runtime.watchdog import Watchdog


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PAUSES", (0.01, 0.01))


def test_work_begins_again_after_an_error_and_when_told() -> None:
    rounds: list[int] = []
    begun = threading.Semaphore(0)

    async def work(enough: asyncio.Event) -> None:
        rounds.append(threading.get_ident())
        begun.release()
        if len(rounds) == 1:
            raise RuntimeError("planted")
        await enough.wait()

    thread = LoopThread("worker", work)
    thread.start()
    assert begun.acquire(timeout=5)
    assert begun.acquire(timeout=5)
    thread.restart()
    assert begun.acquire(timeout=5)
    thread.stop(5)
    assert not begun.acquire(timeout=0.1)
    assert len(set(rounds)) == 1
    assert rounds[0] != threading.get_ident()


def test_a_thread_that_never_began_can_be_stopped() -> None:
    async def work(enough: asyncio.Event) -> None:
        raise AssertionError

    LoopThread("idle", work).stop(1)


def test_until_ends_with_the_work_or_before_it() -> None:
    async def scenario() -> None:
        enough, ended = asyncio.Event(), []

        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        asyncio.get_running_loop().call_later(0.01, enough.set)
        await until(enough, forever())
        await asyncio.sleep(0)
        assert ended == [True]

        async def fails() -> None:
            raise OSError("planted")

        with pytest.raises(OSError, match="planted"):
            await until(asyncio.Event(), fails())

    asyncio.run(scenario())


class Time:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_watchdog_bites_a_loop_that_stands_still() -> None:
    time, bitten = Time(), list[float]()
    dog = Watchdog(5.0, bite=bitten.append, clock=time)
    for _ in range(20):
        time.now += 0.25
        dog.look()
    assert not bitten
    time.now += 0.25
    dog.look()
    assert bitten == [5.25]


def test_the_watchdog_spares_a_process_that_was_frozen_as_a_whole() -> None:
    time, bitten = Time(), list[float]()
    dog = Watchdog(5.0, bite=bitten.append, clock=time)
    time.now += 60.0
    dog.look()
    assert not bitten
    for _ in range(21):  # but it has to move now
        time.now += 0.25
        dog.look()
    assert bitten


def test_a_loop_that_moves_is_left_alone() -> None:
    bitten = list[float]()

    async def scenario() -> None:
        dog = Watchdog(0.6, bite=bitten.append)
        dog.start()
        beating = asyncio.create_task(dog.beat())
        await asyncio.sleep(1.2)
        assert not bitten
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        beating.cancel()
        await asyncio.sleep(1.2)
        assert bitten
        dog.stop()

    asyncio.run(scenario())
