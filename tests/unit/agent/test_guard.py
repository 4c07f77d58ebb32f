"""The hook's question, in virtual time, against an API that counts and stalls."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.simulation.hosts import SimJournal
from tests.simulation.loop import run
from tests.unit.decide.agent.builders import ME, UID
from tests.unit.decide.builders import node, placed, server

from respawn.agent.guard import DEADLINE, Guard
from respawn.agent.locks import ServerLocks
from respawn.model.host import Ask, GuardAnswer
from respawn.ports.errors import NotFound, Unavailable

ASK = Ask(UID, 1, "boot-1", "customer-a", "web-1")


class Api:
    """Two objects, read in an order that is noted; `stall` seconds each."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.node: Any = node()
        self.server: Any = server(placement=placed())
        self.stall = 0.0

    async def get_node(self, name: str) -> Any:
        return await self._read("node", self.node)

    async def get_server(self, namespace: str, name: str) -> Any:
        return await self._read("server", self.server)

    async def _read(self, what: str, value: Any) -> Any:
        self.reads.append(what)
        await asyncio.sleep(self.stall)
        if isinstance(value, Exception):
            raise value
        return value


class Machine:
    """`Host`, as far as the guard asks it."""

    async def identity(self) -> Any:
        return ME


def guarded(test: Callable[[Guard, Api, ServerLocks], Any]) -> Callable[[], None]:
    """Run an async test of a guard in virtual time."""

    def wrapped() -> None:
        api, locks = Api(), ServerLocks()
        guard = Guard(cluster=api, host=Machine(), journal=SimJournal(), locks=locks)  # type: ignore[arg-type]
        run(test(guard, api, locks))

    wrapped.__name__ = test.__name__
    return wrapped


@guarded
async def test_the_node_is_read_first_and_the_server_last(guard, api, locks) -> None:
    assert (await guard.answer(ASK)).allowed
    assert api.reads == ["node", "server"]


@guarded
async def test_an_epoch_is_admitted_once(guard, api, locks) -> None:
    assert (await guard.answer(ASK)).allowed
    again = await guard.answer(ASK)
    assert not again.allowed and "before" in again.reason


@guarded
async def test_a_refusal_leaves_the_epoch_unused(guard, api, locks) -> None:
    api.server = Unavailable("API is down")
    assert not (await guard.answer(ASK)).allowed
    api.server = server(placement=placed())
    assert (await guard.answer(ASK)).allowed


@guarded
async def test_the_hook_never_waits_for_a_kill(guard, api, locks) -> None:
    begun = asyncio.get_running_loop().time()
    async with locks.of(UID):
        answer = await guard.answer(ASK)
    assert not answer.allowed and asyncio.get_running_loop().time() == begun and not api.reads


@guarded
async def test_a_kill_waits_for_the_answer(guard, api, locks) -> None:
    api.stall = 0.5
    asking = asyncio.ensure_future(guard.answer(ASK))
    await asyncio.sleep(0.1)
    async with locks.of(UID):
        assert asking.done() or asyncio.get_running_loop().time() >= 1.0


@guarded
async def test_a_slow_api_is_a_no_in_time(guard, api, locks) -> None:
    api.stall = 60.0
    begun = asyncio.get_running_loop().time()
    answer = await guard.answer(ASK)
    assert not answer.allowed
    assert asyncio.get_running_loop().time() - begun <= DEADLINE + 0.01
    assert not locks.of(UID).locked()


@guarded
async def test_what_is_not_there_admits_nothing(guard, api, locks) -> None:
    for gone in ("node", "server"):
        fresh = Api()
        setattr(fresh, gone, NotFound(gone))
        guard._cluster = fresh
        answer: GuardAnswer = await guard.answer(ASK)
        assert not answer.allowed and "there is no" in answer.reason


@guarded
async def test_whoever_waits_for_the_answers_finds_what_was_admitted(guard, api, locks) -> None:
    api.stall = 0.5
    asking = asyncio.ensure_future(guard.answer(ASK))
    await asyncio.sleep(0.1)
    assert not guard._journal.admitted()
    await guard.answered()
    assert guard._journal.admitted() == {(UID, 1)} and (await asking).allowed


@guarded
async def test_answers_are_waited_for_no_longer_than_they_take(guard, api, locks) -> None:
    loop = asyncio.get_running_loop()
    await guard.answered()
    assert loop.time() == 0.0
    api.stall = 60.0
    asking = asyncio.ensure_future(guard.answer(ASK))
    await asyncio.sleep(0)
    await guard.answered()
    assert loop.time() <= DEADLINE + 0.01 and not (await asking).allowed
    asking = asyncio.ensure_future(guard.answer(ASK))
    await asyncio.sleep(0)
    asking.cancel()
    begun = loop.time()
    await guard.answered()
    assert loop.time() == begun
