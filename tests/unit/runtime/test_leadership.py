"""The elector: in virtual time, and in a thread of its own beside a loop that stands still."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.simulation.clock import SimClock
from tests.simulation.loop import run

from respawn.adapters.clock import SystemClock
from respawn.decide.brake import LEASE_MARGIN
from respawn.decide.election import Standing, Terms
from respawn.model.base import Owner
from respawn.ports.cluster import Lease
from respawn.ports.errors import Conflict, NotFound, Unavailable
from respawn.runtime.leadership import LEASE, Leadership
from respawn.runtime.store import Store
from respawn.runtime.threads import LoopThread, until
from respawn.runtime.warrant import Deposed, Warrant


class Leases:
    """One Lease, compare-and-set; `lost`: no answer comes; `hangs`: done, but never answered."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.lost = self.hangs = False
        self.takes = 0.0
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def get_lease(self, name: str) -> Lease:
        self.loops.add(asyncio.get_running_loop())
        if self.lost:
            raise Unavailable("planted")
        if self.lease is None:
            raise NotFound(name)
        return self.lease

    async def hold_lease(self, read: Lease, holder: str, duration: float) -> Lease:
        if self.lost:
            raise Unavailable("planted")
        there = self.lease.resource_version if self.lease else ""
        if read.resource_version != there:
            raise Conflict(LEASE)
        await asyncio.sleep(self.takes)
        version = str(int(there or 0) + 1)
        self.lease = replace(read, holder=holder, token=version, resource_version=version)
        if self.hangs:
            await asyncio.Event().wait()
        return self.lease


def holder(leases: Leases) -> str:
    return leases.lease.holder if leases.lease else ""


TERMS = Terms(duration=5.0, deadline=3.5, retry=1.0)


def virtual(scenario: Callable[[Leadership, Leases, list[float]], object]) -> None:
    async def main() -> None:
        clock, terms = SimClock(1000.0), list[float]()
        leadership = Leadership(
            name="me/1", clock=clock, terms=TERMS, elected=lambda: terms.append(clock.now().mono)
        )
        leases = Leases()
        task = asyncio.ensure_future(leadership.run(leases))
        await scenario(leadership, leases, terms)  # type: ignore[misc]
        assert not task.done()

    run(main())


def test_renewals_without_a_gap_are_one_term() -> None:
    async def scenario(leadership: Leadership, leases: Leases, terms: list[float]) -> None:
        await asyncio.sleep(30)
        assert len(terms) == 1
        assert leadership.standing.leader
        assert 1029.0 <= (leadership.standing.renewed_at or 0) <= 1030.0
        assert leadership.standing.until == (leadership.standing.renewed_at or 0) + TERMS.deadline

    virtual(scenario)


def test_a_lapse_is_a_new_term_although_nobody_else_led() -> None:
    async def scenario(leadership: Leadership, leases: Leases, terms: list[float]) -> None:
        await asyncio.sleep(2.5)
        leases.lost = True
        await asyncio.sleep(5.0)
        assert not leadership.standing.leader
        leases.lost = False
        await asyncio.sleep(2.0)
        assert leadership.standing.leader
        assert len(terms) == 2

    virtual(scenario)


def test_a_renewal_that_comes_back_after_the_end_is_a_new_term() -> None:
    async def scenario(leadership: Leadership, leases: Leases, terms: list[float]) -> None:
        await asyncio.sleep(0.5)
        leases.lost = True
        await asyncio.sleep(2.0)
        leases.lost, leases.takes = False, 0.8  # begun at 3.0, back at 3.8: the end was at 3.5
        await asyncio.sleep(1.0)
        assert leadership.standing.leader, "nobody has noticed that it is over"
        await asyncio.sleep(0.5)
        assert leadership.standing.until == 1003.0 + TERMS.deadline
        assert terms == [1000.0, 1003.8]

    virtual(scenario)


def test_a_short_loss_is_no_new_term() -> None:
    async def scenario(leadership: Leadership, leases: Leases, terms: list[float]) -> None:
        await asyncio.sleep(2.5)
        leases.lost = True
        await asyncio.sleep(2.0)
        leases.lost = False
        await asyncio.sleep(2.0)
        assert leadership.standing.leader
        assert len(terms) == 1

    virtual(scenario)


def test_a_renewal_that_was_broken_off_is_given_up_all_the_same() -> None:
    async def main() -> None:
        leases, clock = Leases(), SimClock()
        leadership = Leadership(name="me/1", clock=clock, terms=TERMS, elected=lambda: None)
        enough = asyncio.Event()
        task = asyncio.ensure_future(until(enough, leadership.run(leases)))
        await asyncio.sleep(2.5)
        leases.hangs = True
        await asyncio.sleep(1.0)
        enough.set()
        await task
        leases.hangs = False
        assert holder(leases) == "me/1"
        await leadership.release(leases)
        assert holder(leases) == ""
        assert not leadership.standing.leader

    run(main())


def test_what_others_hold_is_not_given_up() -> None:
    async def main() -> None:
        leases = Leases()
        leases.lease = Lease(LEASE, holder="other/7", token="9", resource_version="9")
        leadership = Leadership(name="me/1", clock=SimClock(), terms=TERMS, elected=lambda: None)
        await leadership.release(leases)
        assert holder(leases) == "other/7"

    run(main())


@pytest.mark.parametrize(
    ("standing", "good"),
    [
        (Standing(), False),
        (Standing(True, 1000.0 + LEASE_MARGIN, 999.0), True),
        (Standing(True, 1000.0 + LEASE_MARGIN - 0.001, 999.0), False),
        (Standing(False, 2000.0, 999.0), False),
    ],
)
def test_the_warrant_wants_leadership_with_lease_to_spare(standing: Standing, good: bool) -> None:
    async def main() -> None:
        warrant = Warrant(lambda: standing, SimClock(1000.0))
        if good:
            warrant.check()
        else:
            with pytest.raises(Deposed):
                warrant.check()

    run(main())


def test_the_store_shows_the_standing_of_the_moment() -> None:
    store = Store(Owner("me", "1"))
    assert not store.world().me.leader
    standing = Standing(True, 5.0, 1.5)
    store.standing = lambda: standing
    store.api_answered(1.0)
    me = store.world().me
    assert (me.leader, me.lease_until, me.api_ok_at) == (True, 5.0, 1.5)
    store.api_answered(2.0)
    assert store.me.api_ok_at == 2.0
    standing = replace(standing, leader=False)
    assert not store.me.leader


def test_in_its_thread_it_leads_while_the_operators_loop_stands_still() -> None:
    leases, elected = Leases(), list[int]()
    terms = Terms(duration=1.0, deadline=0.5, retry=0.05)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()

        def begin() -> None:
            elected.append(threading.get_ident())
            begun.set()

        leadership = Leadership(
            name="me/1", clock=SystemClock(), terms=terms,
            elected=lambda: loop.call_soon_threadsafe(begin),
        )  # fmt: skip

        async def elect(enough: asyncio.Event) -> None:
            await until(enough, leadership.run(leases))
            await leadership.release(leases)

        thread = LoopThread("elector", elect)
        thread.start()
        async with asyncio.timeout(10):
            await begun.wait()
        before = leadership.standing
        time.sleep(3 * terms.deadline)  # noqa: ASYNC251 the loop stands still: that is the test
        after = leadership.standing
        assert after.leader
        assert after.until > before.until + 2 * terms.deadline
        await asyncio.to_thread(thread.stop, 5)
        assert not leadership.standing.leader
        assert holder(leases) == ""
        assert elected == [threading.get_ident()], "one term, told in the operator's loop"
        assert loop not in leases.loops

    asyncio.run(main())
