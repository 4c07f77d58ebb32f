"""The loop over keys: bulk work that lets failover pass, and replies that are lost."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from tests.simulation.loop import run
from tests.unit.decide.builders import WALL, node, placed, server

from respawn.decide.election import Standing
from respawn.model.actions import (
    BanClients,
    Decision,
    Place,
    Report,
    ReportNode,
    Revoke,
    TrashDisks,
)
from respawn.model.base import Key, Kind, Now, Owner
from respawn.model.node import Node
from respawn.model.server import Hardware, Recovery, Server
from respawn.ports.errors import Conflict, Forbidden, PortError, Refused, Unavailable
from respawn.runtime import controller as module
from respawn.runtime.controller import Controller, run_workers
from respawn.runtime.queue import CROWD, LOST_URGENT, SLICE, SLOW, KeyedQueue
from respawn.runtime.store import Store

COST = 0.0002
"""Seconds that each decision takes of the loop."""
REVOKE = Revoke("uid-web-1", 1, "its host is lost", 0.0)
VICTIM = Key(Kind.NODE, "host-1")
SERVER = Key(Kind.SERVER, "uid-web-1")


class Clock:
    """Virtual time, and what deciding takes on top of it."""

    spent = 0.0

    def now(self) -> Now:
        return Now(asyncio.get_running_loop().time() + self.spent, WALL)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Api:
    """Live reads; the versions grow with each write of others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads: list[float] = []
        self.error: PortError | None = None

    async def get_server(self, namespace: str, name: str) -> Server:
        await self._answer()
        return self._store.servers[f"uid-{name}"]

    async def get_node(self, name: str) -> Node:
        await self._answer()
        return self._store.nodes[name]

    async def _answer(self) -> None:
        self.reads.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error


class Hands:
    """Carries out steps, or fails to."""

    def __init__(self) -> None:
        self.error: PortError | None = None
        self.tried: list[float] = []

    async def run(self, step: Any, outlook: Any, world: Any) -> None:
        self.tried.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error


class Ground:
    """A controller on fakes, whose decider is the test's."""

    def __init__(self, decide: Callable[[Key], Decision]) -> None:
        self.clock, self.store, self.hands = Clock(), Store(Owner("me", "1")), Hands()
        self.api = Api(self.store)
        self.queue: KeyedQueue[Key] = KeyedQueue(
            time=lambda: self.clock.now().mono,
            rng=Random(7),
            ahead=lambda key: key.kind is Kind.NODE,
        )
        self.bugs: list[Key] = []
        self.controller = Controller(
            store=self.store, queue=self.queue, cluster=self.api, clock=self.clock,  # type: ignore[arg-type]
            servers=self.hands, nodes=self.hands, bug=self.bugs.append,  # type: ignore[arg-type]
        )  # fmt: skip
        self.decide = decide


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def play(decide: Callable[[Key], Decision], scenario: Callable[[Ground], Any]) -> None:
        async def main() -> None:
            ground = Ground(decide)
            monkeypatch.setattr(module, "decide", lambda world, key, now: ground.decide(key))
            workers = asyncio.ensure_future(run_workers(ground.controller))
            await scenario(ground)
            assert not workers.done()
            assert not ground.bugs
            workers.cancel()

        work: Coroutine[Any, Any, None] = main()
        run(work)

    return play


def test_a_failover_key_does_not_wait_for_a_pass_over_everything(play) -> None:
    order: list[Key] = []

    async def scenario(ground: Ground) -> None:
        store, loop = ground.store, asyncio.get_running_loop()
        for number in range(10_000):
            store.servers[f"uid-{number}"] = server(str(number))
        store.nodes["host-1"] = node("host-1")

        def decide(key: Key) -> Decision:
            order.append(key)
            ground.clock.spent += COST
            if len(order) == 3000:
                # as a watch in another thread hands it over
                loop.call_soon_threadsafe(store.changed, VICTIM)
            return Decision()

        ground.decide = decide
        ground.controller.begin()
        await asyncio.sleep(1)

    play(lambda key: Decision(), scenario)
    assert len(order) == 10_002
    assert order[0] == VICTIM, "nodes go first"
    again = order.index(VICTIM, 1)
    assert 3000 <= again <= 3000 + SLICE / COST + 1


def test_a_lost_reply_is_followed_by_a_pause_and_a_read_before_the_step(play) -> None:
    step = Report("uid-web-1", 1, "to be told")

    async def scenario(ground: Ground) -> None:
        known = server(placement=placed())
        ground.store.put_node(node())
        ground.hands.error = Unavailable("planted")
        ground.store.put_server(known)
        await asyncio.sleep(60)
        tried, reads = ground.hands.tried, ground.api.reads
        assert 2 < len(tried) < 12
        for before, after in itertools.pairwise(tried):
            assert any(before < at <= after for at in reads), "read before it is repeated"
            assert after - before >= 0.2

    decided = Counter[Key]()

    def decide(key: Key) -> Decision:
        decided[key] += 1
        return Decision(step=step) if key.kind is Kind.SERVER else Decision()

    play(decide, scenario)


def lost(ground: Ground) -> None:
    ground.hands.error = ground.api.error = Unavailable("planted")


def test_while_the_api_is_silent_each_failover_key_asks_ever_more_rarely(play) -> None:
    def decide(key: Key) -> Decision:
        if key.kind is Kind.SERVER:
            return Decision(step=Report(key.id, 1, "to be told"), urgent=True)
        return Decision()

    async def scenario(ground: Ground) -> None:
        lost(ground)
        for number in range(20):
            ground.store.put_server(server(f"web-{number}", placement=placed()))
        await asyncio.sleep(60)
        assert len(ground.hands.tried) == 20, "a step is not repeated before a read has succeeded"
        late = [at for at in ground.api.reads if at > 10]
        first, longest = LOST_URGENT
        assert min(ground.api.reads) >= first / 2
        # Each key once in one to two seconds, and not all of them together.
        assert 20 * 50 / longest <= len(late) <= 20 * 50 / (longest / 2)
        assert max(Counter(round(at, 1) for at in late).values()) < 10
        ground.hands.error = ground.api.error = None
        back = asyncio.get_running_loop().time()
        tried = len(ground.hands.tried)
        ground.decide = lambda key: Decision()
        for uid in list(ground.store.servers):
            ground.controller.changed(Key(Kind.SERVER, uid))
        await asyncio.sleep(longest)
        assert len([at for at in ground.api.reads if at >= back]) == 20
        assert len(ground.hands.tried) == tried

    play(decide, scenario)


def test_signs_of_life_do_not_hurry_a_node_whose_step_was_not_answered(play) -> None:
    def decide(key: Key) -> Decision:
        return Decision(step=ReportNode("host-1", 0, "to be told"), urgent=True)

    async def scenario(ground: Ground) -> None:
        lost(ground)
        ground.store.put_node(node())
        for _ in range(600):
            await asyncio.sleep(0.1)
            ground.controller.changed(VICTIM)
        assert len(ground.hands.tried) == 1
        assert 60 / 2 <= len(ground.api.reads) <= 60 + 5

    play(decide, scenario)


def test_news_of_the_object_itself_end_the_pause(play) -> None:
    """The reply was lost, not the write: the watch shows it."""

    def decide(key: Key) -> Decision:
        return Decision(step=Report(key.id, 1, "to be told"), urgent=True)

    async def scenario(ground: Ground) -> None:
        lost(ground)
        known = server(placement=placed())
        ground.store.put_server(known)
        await asyncio.sleep(30)
        assert len(ground.hands.tried) == 1
        ground.store.put_server(replace(known, resource_version="21"))
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert len(ground.hands.tried) == 2

    play(decide, scenario)


def test_room_stays_reserved_while_nobody_knows_whether_it_was_placed(play) -> None:
    """The write may have been done: others must not be put into its room, or beside it."""
    there = Hardware("pc-q35-7.2", "qemu64")
    step = Place("uid-web-1", 0, "there is room", "host-1", there)
    waiting: set[str] = set()

    def decide(key: Key) -> Decision:
        return Decision(step=step) if key.id not in waiting else Decision()

    async def scenario(ground: Ground) -> None:
        lost(ground)
        known = server()
        ground.store.put_server(known)
        await asyncio.sleep(30)
        assert ground.hands.tried and ground.store.reserved == {known.uid: "host-1"}
        waiting.add(known.uid)
        placed_after_all = replace(known, resource_version="21")
        ground.store.put_server(placed_after_all)
        await asyncio.sleep(1)
        assert not ground.store.reserved, "what is known now counts"
        waiting.clear()
        ground.api.error = None
        ground.hands.error = Conflict("somebody wrote")
        ground.store.put_server(replace(known, resource_version="22"))
        await asyncio.sleep(0.001)
        assert not ground.store.reserved, "nothing was written"

    play(decide, scenario)


def test_a_conflict_is_no_lost_reply(play) -> None:
    def decide(key: Key) -> Decision:
        return Decision(step=Report(key.id, 1, "to be told"), urgent=True)

    async def scenario(ground: Ground) -> None:
        ground.hands.error = Conflict("planted")
        ground.store.put_server(server())
        await asyncio.sleep(0.1)
        assert len(ground.hands.tried) >= 2
        assert len(ground.api.reads) >= 1

    play(decide, scenario)


def test_a_node_whose_step_is_refused_keeps_no_worker_busy(play) -> None:
    def decide(key: Key) -> Decision:
        return Decision(step=ReportNode("host-1", 0, "to be told"), urgent=True)

    async def scenario(ground: Ground) -> None:
        ground.hands.error = Refused("AddressBelongsToOthers", "planted")
        ground.store.put_node(node())
        await asyncio.sleep(60)
        assert 10 <= len(ground.hands.tried) <= 30

    play(decide, scenario)


@pytest.mark.parametrize("step", [Report(SERVER.id, 1, "to be told"), REVOKE])
@pytest.mark.parametrize(
    "error", [Refused("Invalid", "planted"), Forbidden("Forbidden", "planted")]
)
def test_what_the_api_server_refuses_is_tried_ever_more_rarely(play, step, error) -> None:
    async def scenario(ground: Ground) -> None:
        ground.hands.error = error
        ground.store.put_server(server())
        await asyncio.sleep(60)
        assert 5 <= len(ground.hands.tried) <= 60
        assert not ground.store.trouble, "the wait of other steps does not begin anew with each"

    play(lambda key: Decision(step=step, urgent=True), scenario)


def test_a_failover_goes_on_soon_after_an_api_server_that_had_no_roles_yet(play) -> None:
    there = Hardware("pc-q35-7.2", "qemu64")
    step = Place(SERVER.id, 0, "there is room", "host-1", there)

    async def scenario(ground: Ground) -> None:
        hands = ground.hands

        def until_done(key: Key) -> Decision:
            return Decision(step=step if hands.error or not done() else None, urgent=True)

        def done() -> bool:
            return len(hands.tried) > before

        before, ground.decide = 0, until_done
        hands.error = Forbidden("Forbidden", "planted")
        ground.store.put_server(server())
        await asyncio.sleep(1)
        hands.error, before = None, len(hands.tried)
        await asyncio.sleep(2.1)
        assert before and done()

    play(lambda key: Decision(), scenario)


def test_who_waits_for_room_is_in_nobodys_way(play) -> None:
    """Servers of an earlier loss, for which there is no room, while a node is looked at all the
    time and another host's servers are to be restarted."""
    runs = Counter[Key]()
    lost_before = [Key(Kind.SERVER, f"uid-old-{n}") for n in range(20)]

    def decide(key: Key) -> Decision:
        runs[key] += 1
        if key in lost_before:
            return Decision(next_check=1e9, awaits=(VICTIM,), urgent=True)
        return Decision()

    async def scenario(ground: Ground) -> None:
        store, open_ = ground.store, Recovery("HostLost", "host-1")
        store.put_node(node())
        for key in lost_before:
            found = server(key.id.removeprefix("uid-"), status={"recovery": open_})
            store.put_server(found)
        await asyncio.sleep(0.1)
        store.uneasy.add("host-1")
        runs.clear()
        for turn in range(100):  # ten seconds of signs, and a node that changes every second one
            store.uneasy.add("host-1")
            store.saw_lease("host-1", "same", asyncio.get_running_loop().time(), WALL)
            if turn % 20 == 5:
                store.put_node(replace(node(), resource_version=str(100 + turn)))
            await asyncio.sleep(0.1)
        assert runs[VICTIM] >= 100
        assert all(4 <= runs[key] <= 6 for key in lost_before), runs
        newer = ground.queue.turn(SERVER)
        assert ground.queue.turn(lost_before[0]) > newer, "it has rested"

    play(decide, scenario)


def test_who_waits_is_looked_at_soon_and_reported_on_twice_a_minute(play) -> None:
    """A pool whose free space changes for three minutes; then it is what is awaited."""
    pool, place = Key(Kind.POOL, "ceph"), Place("uid-web-1", 0, "", "host-2", Hardware("pc", "vm"))
    report = Report("uid-web-1", 0, "its message is another one")
    looks: list[float] = []
    steps: list[Any] = [report]

    def decide(key: Key) -> Decision:
        if key != SERVER:
            return Decision()
        looks.append(asyncio.get_running_loop().time())
        # What a fake has reported or placed still looks the same afterwards: once for each change.
        step = steps.pop() if steps else None
        # A new spec is answered at once, and that counts.
        patient, again = len(looks) > 1, looks[-1] + 30
        return Decision(step, next_check=again, awaits=(pool,), patient=patient)

    async def scenario(ground: Ground) -> None:
        ground.store.put_server(server())
        for _ in range(1800):
            await asyncio.sleep(0.1)
            steps[:] = [report]
            ground.controller.changed(pool)
        told = list(ground.hands.tried)
        assert len(looks) >= 30 and 5 <= len(told) <= 6
        assert all(later - first >= 60 for first, later in zip(told, told[2:], strict=False))
        steps[:] = [place]
        ground.controller.changed(pool)
        await asyncio.sleep(module.LOOK_AGAIN + 0.1)
        assert len(ground.hands.tried) > len(told), "what is no report waits for nothing"

    play(decide, scenario)


def test_of_what_is_gone_nothing_is_kept(play) -> None:
    async def scenario(ground: Ground) -> None:
        ground.store.put_server(server())
        await asyncio.sleep(1)
        assert SERVER in ground.controller._last_run
        ground.store.drop_server(SERVER.id)
        await asyncio.sleep(1)
        assert SERVER not in ground.controller._last_run and ground.queue.turn(SERVER) > 0

    play(lambda key: Decision(next_check=1e9), scenario)


@pytest.mark.parametrize(
    ("step", "urgent", "at_once"),
    [
        (REVOKE, True, 6),
        (BanClients("uid-web-1", 1, ""), True, 6),
        (Place("uid-web-1", 1, "", "host-2", Hardware("pc", "vm")), True, CROWD),
        (REVOKE, False, 6),
    ],
)
def test_a_crowd_is_revoked_beside_its_fence_and_placed_in_turn(
    play, step, urgent: bool, at_once: int
) -> None:
    """What goes beside the fence holds up nobody's placement, and routine waits for nobody."""

    async def scenario(ground: Ground) -> None:
        async def begin(step: Any, outlook: Any, world: Any) -> None:
            ground.hands.tried.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1e9)

        ground.hands.run = begin  # type: ignore[method-assign]
        for number in range(6):
            ground.queue.add(Key(Kind.SERVER, f"uid-{number}"), urgent=urgent)
        await asyncio.sleep(SLOW / 2)
        assert len(ground.hands.tried) == at_once
        beside = urgent and not isinstance(step, Place)
        assert not beside or not ground.queue.hurries, "none of those is in a crowd's way"

    play(lambda key: Decision(step, urgent=urgent), scenario)


def test_refusals_are_counted_and_telling_of_them_does_not_end_them(play) -> None:
    key = Key(Kind.SERVER, "uid-web-1")
    steps: list[Report | TrashDisks] = []

    def decide(key: Key) -> Decision:
        return Decision(step=steps.pop(0) if steps else None)

    async def scenario(ground: Ground) -> None:
        async def once(step: Report | TrashDisks, error: PortError | None, after: float) -> None:
            await asyncio.sleep(after)
            steps.append(step)
            ground.hands.error = error
            ground.controller.changed(key)
            await asyncio.sleep(0.1)
            assert not steps

        refused = Refused("ForeignClient", "planted")
        trash, report = TrashDisks(key.id, 0, "planted"), Report(key.id, 0, "to be told")
        ground.store.put_server(server())
        await once(trash, refused, 1)
        await once(report, None, 1)
        await once(trash, refused, 30)
        assert ground.store.trouble[str(key)].times == 2
        await once(trash, refused, 90)
        assert ground.store.trouble[str(key)].times == 1, "another time, another trouble"
        await once(trash, None, 1)
        assert not ground.store.trouble

    play(decide, scenario)


def test_servers_are_told_anew_with_the_second_sign_of_an_agent_that_is_back(play) -> None:
    """With the first one its host is healthy, and what it said before is not believed yet."""
    seen: list[Key] = []

    async def scenario(ground: Ground) -> None:
        store, loop = ground.store, asyncio.get_running_loop()
        store.standing = lambda: Standing(leader=True, until=1e9)
        store.put_node(node())
        store.put_server(server(placement=placed()))

        def sign(token: str) -> None:
            store.saw_lease("host-1", token, loop.time(), WALL)
            store.saw_heart("host-1", f"{loop.time()}", None, loop.time(), WALL)

        for _ in range(60):  # it is read all the time
            sign("a")
            await asyncio.sleep(1)
        sign("b")
        store.changed(VICTIM)
        await asyncio.sleep(0.5)
        assert store.uneasy == {"host-1"}
        seen.clear()
        store.saw_lease("host-1", "c", loop.time(), WALL)
        await asyncio.sleep(0.5)
        assert seen == [VICTIM, SERVER] and not store.uneasy

    def decide(key: Key) -> Decision:
        seen.append(key)
        return Decision()

    play(decide, scenario)
