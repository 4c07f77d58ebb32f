"""A read that several share is begun after each of them asked."""

import asyncio

import pytest
from tests.simulation.loop import run

from respawn.ports.together import Together


class Source:
    """Counts its reads; each answers with its number, when told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = asyncio.Event()
        self.fails = False

    async def read(self, asked: str) -> int:
        self.begun.append(asked)
        number, fails = len(self.begun), self.fails
        await self.go_on.wait()
        if fails:
            raise OSError(asked)
        return number


async def settled() -> None:
    await asyncio.sleep(0.001)


def test_who_asks_before_it_begins_shares_it_and_who_asks_later_gets_a_later_one() -> None:
    async def scenario() -> None:
        source = Source()
        read = Together(source.read)
        first = [asyncio.create_task(read("host-1")) for _ in range(20)]
        await settled()
        later = [asyncio.create_task(read("host-1")) for _ in range(20)]
        await settled()
        assert source.begun == ["host-1"]  # the later read waits for the first
        source.go_on.set()
        assert {await task for task in first} == {1}
        assert {await task for task in later} == {2}
        assert await read("host-1") == 3

    run(scenario())


def test_who_asks_for_something_else_waits_for_nobody() -> None:
    async def scenario() -> None:
        source = Source()
        read = Together(source.read)
        tasks = [asyncio.create_task(read(name)) for name in ("host-1", "host-2")]
        await settled()
        assert source.begun == ["host-1", "host-2"]
        source.go_on.set()
        assert [await task for task in tasks] == [1, 2]

    run(scenario())


def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    async def scenario() -> None:
        source = Source()
        read = Together(source.read)
        impatient, patient = (asyncio.create_task(read("host-1")) for _ in range(2))
        await settled()
        impatient.cancel()
        await settled()
        source.go_on.set()
        assert await patient == 1
        assert source.begun == ["host-1"]

    run(scenario())


def test_all_are_told_of_a_failure_and_the_next_is_read_anew() -> None:
    async def scenario() -> None:
        source = Source()
        source.fails = True
        read = Together(source.read)
        tasks = [asyncio.create_task(read("host-1")) for _ in range(2)]
        await settled()
        following = asyncio.create_task(read("host-1"))
        await settled()
        source.fails = False
        source.go_on.set()
        for task in tasks:
            with pytest.raises(OSError, match="host-1"):
                await task
        assert await following == 2

    run(scenario())
