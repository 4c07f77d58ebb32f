"""Requests to a slow API: a bounded number at a time, and failover apart from routine."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Any

from tests.simulation.loop import run
from tests.unit.decide.builders import server

from respawn.model.server import Server
from respawn.runtime import lanes
from respawn.runtime.lanes import BESIDE_FENCE, FAILOVER, ROUTINE, BesideFence, LanedCluster


class SlowApi:
    """Answers when told to; counts what is under way."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun: list[str] = []
        self.under_way = self.most = 0

    async def get_server(self, namespace: str, name: str) -> Server:
        self.begun.append(name)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go_on.wait()
            await asyncio.sleep(0.01)
        finally:
            self.under_way -= 1
        return server(name)

    async def event(self, *about: Any) -> None:
        raise AssertionError


async def in_lane(urgent: bool, work: Awaitable[Any]) -> None:
    lanes.urgent.set(urgent)
    await work


def start(cluster: LanedCluster, urgent: bool, count: int) -> list[asyncio.Task[None]]:
    reads = (cluster.get_server("a", f"{'f' if urgent else 'r'}-{n}") for n in range(count))
    return [asyncio.create_task(in_lane(urgent, read)) for read in reads]


def test_each_lane_is_bounded_and_waits_for_itself_alone() -> None:
    async def main() -> None:
        api = SlowApi()
        cluster = LanedCluster(api)  # type: ignore[arg-type]
        tasks = start(cluster, False, 100)
        await asyncio.sleep(1)
        assert api.under_way == ROUTINE
        tasks += start(cluster, True, 100)
        await asyncio.sleep(1)
        assert api.under_way == ROUTINE + FAILOVER, "failover waits for no routine"
        api.go_on.set()
        await asyncio.gather(*tasks)
        assert api.most == ROUTINE + FAILOVER
        failover = [name for name in api.begun if name.startswith("f")]
        assert failover == [f"f-{n}" for n in range(100)], "in the order in which they came"

    run(main())


def test_a_request_that_is_given_up_frees_its_slot() -> None:
    async def main() -> None:
        api = SlowApi()
        cluster = LanedCluster(api)  # type: ignore[arg-type]
        first = start(cluster, True, FAILOVER)
        await asyncio.sleep(1)
        last = start(cluster, True, 1)
        await asyncio.sleep(1)
        assert len(api.begun) == FAILOVER
        first[0].cancel()
        await asyncio.sleep(1)
        assert len(api.begun) == FAILOVER + 1
        api.go_on.set()
        await asyncio.gather(*first[1:], *last)

    run(main())


def test_whoever_began_first_is_served_first() -> None:
    async def at(number: int, work: Awaitable[Any]) -> None:
        lanes.turn.set(number)
        await in_lane(True, work)

    async def main() -> None:
        api = SlowApi()
        cluster = LanedCluster(api)  # type: ignore[arg-type]
        tasks = start(cluster, True, FAILOVER)
        await asyncio.sleep(1)
        for number in (7, 3, 9, 3):
            tasks.append(asyncio.create_task(at(number, cluster.get_server("a", f"turn-{number}"))))
        await asyncio.sleep(1)
        api.go_on.set()
        await asyncio.gather(*tasks)
        assert api.begun[FAILOVER:] == ["turn-3", "turn-3", "turn-7", "turn-9"]

    run(main())


def test_a_slot_given_to_one_who_is_cancelled_at_that_moment_goes_on() -> None:
    async def main() -> None:
        slots = lanes.Slots(1)
        passed: list[str] = []

        async def enter(name: str) -> None:
            async with slots:
                passed.append(name)

        await slots.__aenter__()
        first, second = (asyncio.create_task(enter(name)) for name in ("first", "second"))
        await asyncio.sleep(1)
        await slots.__aexit__()
        first.cancel()
        await asyncio.sleep(1)
        assert first.cancelled() and second.done()
        assert passed == ["second"]
        async with asyncio.timeout(1):
            await enter("another")

    run(main())


def test_beside_a_fence_few_are_revoked_or_looked_at_and_a_slow_commit_holds_up_nobody() -> None:
    async def main() -> None:
        beside, under_way = BesideFence(), Counter[str]()

        async def within(name: str, bound: AbstractAsyncContextManager[None]) -> None:
            async with bound:
                under_way[name] += 1
                await asyncio.sleep(1)
                under_way[name] -= 1
            await asyncio.sleep(10)  # as a ban waits for its commit

        async def revoke(is_urgent: bool) -> None:
            lanes.urgent.set(is_urgent)
            await within(f"revoke-{is_urgent}", beside.revoking())

        assert not beside.busy
        tasks = [asyncio.create_task(revoke(n % 2 == 0)) for n in range(20)]
        tasks += [asyncio.create_task(within("look", beside.looking())) for _ in range(10)]
        await asyncio.sleep(0.5)
        assert beside.busy
        assert under_way == {
            "revoke-True": BESIDE_FENCE, "revoke-False": 10, "look": BESIDE_FENCE,
        }  # fmt: skip
        await asyncio.sleep(10 / BESIDE_FENCE + 0.5)
        assert not beside.busy and not under_way.total()
        for task in tasks:
            task.cancel()

    run(main())
