"""The queue, in virtual time."""

import asyncio
import itertools
from random import Random

from tests.simulation.loop import run

from respawn.runtime.queue import CROWD, RACES, SLICE, SLOW, STARTING, WIDER, KeyedQueue


def queue() -> KeyedQueue[str]:
    return KeyedQueue(time=asyncio.get_running_loop().time, rng=Random(0))


def virtual(test):
    """Run an async test in virtual time."""

    def wrapped() -> None:
        run(test())

    wrapped.__name__ = test.__name__
    return wrapped


async def none_left(q: KeyedQueue[str], *, urgent: bool = False) -> bool:
    task = asyncio.ensure_future(q.get(urgent=urgent))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return not (task.done() and not task.cancelled())


@virtual
async def test_a_key_added_twice_runs_once() -> None:
    q = queue()
    q.add("a")
    q.add("a")
    assert await q.get() == ("a", False)
    q.done("a")
    assert await none_left(q)


@virtual
async def test_a_key_at_work_runs_again_only_afterwards() -> None:
    q = queue()
    q.add("a")
    await q.get()
    q.add("a")
    assert await none_left(q), "never twice at a time"
    q.done("a")
    assert await q.get() == ("a", False)


@virtual
async def test_urgent_overtakes() -> None:
    q = queue()
    for key in ("a", "b", "c"):
        q.add(key)
    q.add("c", urgent=True)
    assert await q.get() == ("c", True)
    assert await q.get() == ("a", False)


@virtual
async def test_a_failover_worker_serves_its_lane_alone() -> None:
    q = queue()
    q.add("a")
    assert await none_left(q, urgent=True)
    q.add("b", urgent=True)
    assert await q.get(urgent=True) == ("b", True)


@virtual
async def test_a_key_at_work_made_urgent_is_urgent_afterwards() -> None:
    q = queue()
    q.add("a")
    await q.get()
    q.add("a", urgent=True)
    q.done("a")
    assert await q.get(urgent=True) == ("a", True)


@virtual
async def test_delays_keep_the_earliest() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    q.add_at("a", 10.0)
    q.add_at("a", 4.0)
    q.add_at("a", 20.0)
    assert await q.get() == ("a", False) and abs(loop.time() - 4.0) < 1e-3
    q.done("a")
    assert await none_left(q)


@virtual
async def test_running_cancels_what_was_planned() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    q.add_at("a", 10.0)
    q.add("a")
    await q.get()
    q.done("a")
    late = asyncio.ensure_future(q.get())
    await asyncio.sleep(60)
    assert not late.done() and loop.time() >= 60
    late.cancel()


@virtual
async def test_back_off_grows_with_jitter_and_ends_with_success() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    waits = []
    for _ in range(6):
        begun = loop.time()
        q.retry("a")
        await q.get()
        q.done("a")
        waits.append(loop.time() - begun)
    for n, wait in enumerate(waits):
        assert 0.8 * 0.5 * 2**n <= wait <= 1.2 * 0.5 * 2**n + 1e-3, waits
    q.succeeded("a")
    begun = loop.time()
    q.retry("a")
    await q.get()
    assert loop.time() - begun < 0.7


@virtual
async def test_a_later_plan_does_not_undo_an_earlier_one_whatever_the_clock_shows() -> None:
    """The process's clock and the loop's have different beginnings."""
    loop = asyncio.get_running_loop()
    q = KeyedQueue[str](time=lambda: loop.time() + 5000.0, rng=Random(0))
    q.add_at("a", 5300.0)
    q.add_at("a", 5001.0)
    assert await q.get() == ("a", False) and loop.time() < 1.1


@virtual
async def test_no_back_off_is_longer_than_half_a_minute() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    for _ in range(30):
        begun = loop.time()
        q.retry("a")
        await q.get()
        q.done("a")
    assert loop.time() - begun <= 36.0


@virtual
async def test_a_failover_retries_at_once() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    q.retry("a", urgent=True)
    assert await q.get(urgent=True) == ("a", True) and loop.time() < 0.1


@virtual
async def test_a_failover_that_finds_no_ground_for_long_asks_less_often() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    waits = []
    for _ in range(40):
        begun = loop.time()
        q.retry("a", urgent=True)
        await q.get(urgent=True)
        q.done("a")
        waits.append(loop.time() - begun)
    assert max(waits[:RACES]) <= 1.2 + 1e-3, "races end soon"
    assert min(waits[-10:]) >= 8.0 and max(waits) <= 12.0 + 1e-3, waits


@virtual
async def test_a_cancelled_worker_loses_no_key() -> None:
    q = queue()
    waiting = asyncio.ensure_future(q.get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    q.add("a")
    assert await q.get() == ("a", False)


@virtual
async def test_after_a_lost_reply_a_failover_waits_between_a_tenth_and_two_seconds() -> None:
    q, loop = queue(), asyncio.get_running_loop()
    waits = []
    for _ in range(12):
        begun = loop.time()
        q.back_off("a", urgent=True)
        assert await q.get(urgent=True) == ("a", True)
        q.done("a")
        waits.append(loop.time() - begun)
    assert 0.1 <= waits[0] <= 0.2 + 1e-3
    assert all(1.0 <= wait <= 2.0 + 1e-3 for wait in waits[4:]), waits
    assert len({round(wait, 3) for wait in waits[4:]}) > 4, "with jitter"


@virtual
async def test_workers_that_never_wait_let_the_loop_come_round() -> None:
    loop, spent = asyncio.get_running_loop(), [0.0]
    q = KeyedQueue[int](time=lambda: loop.time() + spent[0], rng=Random(0))
    rounds: list[float] = []

    def come_round() -> None:
        rounds.append(spent[0])
        if spent[0] < 1.0:
            loop.call_soon(come_round)

    async def work() -> None:
        while True:
            key, _ = await q.get()
            spent[0] += 0.001
            q.done(key)

    workers = [asyncio.ensure_future(work()) for _ in range(64)]
    await asyncio.sleep(0)
    for key in range(1000):
        q.add(key)
    come_round()
    await asyncio.sleep(1)
    gaps = [b - a for a, b in itertools.pairwise(rounds)]
    assert SLICE <= 0.01
    assert max(gaps) <= SLICE + 0.001 + 1e-6
    for worker in workers:
        worker.cancel()


@virtual
async def test_a_key_keeps_its_turn_until_it_rests() -> None:
    q = queue()
    for key in ("a", "b", "c"):
        q.add(key, urgent=True)
    await q.get()
    q.add("a", urgent=True)
    q.done("a")
    assert await q.get() == ("a", True), "it was begun before the others"
    q.rest("a")
    q.add("a", urgent=True)
    q.done("a")
    assert [await q.get() for _ in range(3)] == [("b", True), ("c", True), ("a", True)]


def crowded(size: int) -> KeyedQueue[str]:
    q = KeyedQueue[str](
        time=asyncio.get_running_loop().time, rng=Random(0), ahead=lambda k: k == "node"
    )
    for number in range(size):
        q.add(f"s{number}", urgent=True)
    return q


@virtual
async def test_a_few_of_a_crowd_are_at_work_at_a_time() -> None:
    q = crowded(CROWD + 2)
    for number in range(CROWD):
        assert await q.get(urgent=True) == (f"s{number}", True)
    waiting = asyncio.ensure_future(q.get(urgent=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    q.add("s0", urgent=True)
    q.done("s0")
    assert await waiting == ("s0", True), "one that goes on is not overtaken"
    assert await none_left(q)
    q.done("s0")
    assert await q.get() == (f"s{CROWD}", True)


@virtual
async def test_neither_what_goes_ahead_nor_routine_waits_for_a_crowd() -> None:
    q = crowded(CROWD + 1)
    for _ in range(CROWD):
        await q.get(urgent=True)
    q.add("routine")
    assert await q.get() == ("routine", False)
    q.add("node", urgent=True)
    assert await q.get(urgent=True) == ("node", True)
    assert await none_left(q), "and it takes nobody's place"


@virtual
async def test_a_routine_key_whose_worker_took_an_urgent_one_wakes_another() -> None:
    q = queue()
    one, failover, other = (
        asyncio.ensure_future(q.get(urgent=urgent)) for urgent in (False, True, False)
    )
    await asyncio.sleep(0)
    q.add("routine")
    q.add("urgent", urgent=True)
    async with asyncio.timeout(1):
        assert [await one, await other] == [("urgent", True), ("routine", False)]
    assert not failover.done()
    failover.cancel()


@virtual
async def test_one_that_waits_for_something_holds_up_no_crowd() -> None:
    q, loop = crowded(CROWD + 1), asyncio.get_running_loop()
    for _ in range(CROWD):
        await q.get(urgent=True)
    assert await q.get(urgent=True) == (f"s{CROWD}", True)
    assert SLOW <= loop.time() < SLOW + 0.1


@virtual
async def test_one_that_steps_aside_makes_room_at_once() -> None:
    q, loop = crowded(CROWD + 1), asyncio.get_running_loop()
    for _ in range(CROWD):
        await q.get(urgent=True)
    q.step_aside("s0")
    assert await q.get(urgent=True) == (f"s{CROWD}", True) and loop.time() < SLOW / 2
    q.done("s0")
    q.add("s9", urgent=True)
    assert await none_left(q), "it makes room once"


@virtual
async def test_the_first_goes_alone_until_it_has_started_and_then_each_makes_room_for_more() -> (
    None
):
    wide = CROWD + WIDER
    q, loop = crowded(CROWD + wide + WIDER + 1), asyncio.get_running_loop()
    for _ in range(CROWD):
        await q.get(urgent=True)
    q.through("s0")
    q.done("s0")
    assert await none_left(q), "its host is busy with its start"
    q.add("s0", urgent=True)
    assert await q.get(urgent=True) == ("s0", True), "it counts, whatever it does itself"
    q.done("s0")
    names = [(await q.get(urgent=True))[0] for _ in range(wide)]
    assert names == [f"s{CROWD + n}" for n in range(wide)]
    assert STARTING <= loop.time() < SLOW
    assert await none_left(q)
    q.through(names[0])
    q.done(names[0])
    more = [(await q.get(urgent=True))[0] for _ in range(WIDER)]
    assert await none_left(q) and loop.time() < SLOW, "after the first, at once"
    last, _ = await q.get(urgent=True)
    for name in (*names, *more, last):
        q.done(name)
    await asyncio.sleep(STARTING)
    for number in range(CROWD + 1):
        q.add(f"t{number}", urgent=True)
    for _ in range(CROWD):
        await q.get(urgent=True)
    assert await none_left(q), "the next crowd begins as narrow"


@virtual
async def test_what_is_through_without_a_crowd_does_not_widen_the_next() -> None:
    q = crowded(0)
    q.through("s0")
    for number in range(CROWD + 1):
        q.add(f"s{number}", urgent=True)
    for _ in range(CROWD):
        await q.get(urgent=True)
    assert await none_left(q)


@virtual
async def test_it_hurries_as_long_as_a_failover_waits_for_its_turn_or_is_at_work() -> None:
    q = queue()
    q.add("routine")
    assert not q.hurries
    q.add("s0", urgent=True)
    assert q.hurries, "it waits"
    await q.get(urgent=True)
    assert q.hurries, "it is at work"
    q.step_aside("s0")
    assert not q.hurries, "it waits for others"
    q.add("s1", urgent=True)
    await q.get(urgent=True)
    q.done("s0")
    q.done("s1")
    assert not q.hurries
