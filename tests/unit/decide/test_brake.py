from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.decide.builders import ME, T0, WALL, fenced, node, now, pulse, sight, world

from respawn.decide import brake, node_conditions, timings
from respawn.model.base import Now
from respawn.model.conditions import Condition, Reason, Type, find
from respawn.model.node import FencePhase, Node
from respawn.model.policy import Policy
from respawn.model.sight import Answer, Pulse, Sight, Testimony
from respawn.model.world import Me, World

DEAD = sight(9, 9, testimony=Testimony(T0 - 1, Answer.SILENCE))


def dead_since(seconds: float) -> Sight:
    """Silent for that long, and the witnesses are too."""
    return sight(seconds, seconds, testimony=Testimony(T0 - 1, Answer.SILENCE))


def w_with(w: World, host: str, seen: Sight) -> World:
    return replace(w, sights={**w.sights, host: seen})


def hosts(count: int):
    return tuple(node(f"host-{n}") for n in range(1, count + 1))


def doubt(w: World, at: Now | None = None) -> Reason | None:
    return brake.doubt(w, w.nodes["host-1"], at or now())


def test_one_dead_host_raises_no_doubt() -> None:
    assert doubt(world(sights={"host-1": DEAD})) is None


@pytest.mark.parametrize(
    ("me", "reason"),
    [
        (Me(ME, False, T0 + 5, T0, T0), Reason.NOT_LEADER),
        (Me(ME, True, T0 + 0.4, T0, T0), Reason.NOT_LEADER),
        (Me(ME, True, T0 + 5, None, T0), Reason.API_UNPROVEN),
        (Me(ME, True, T0 + 5, T0 - 4.1, T0), Reason.API_UNPROVEN),
        (Me(ME, True, T0 + 5, T0, None), Reason.CEPH_UNPROVEN),
        (Me(ME, True, T0 + 5, T0, T0 - 4.1), Reason.CEPH_UNPROVEN),
    ],
)
def test_the_operator_proves_its_own_health(me: Me, reason: Reason) -> None:
    assert doubt(world(sights={"host-1": DEAD}, me=me)) is reason


def test_another_hosts_heart_must_advance() -> None:
    silent = Sight(lease=pulse(0), heart=pulse(5))
    seen = {"host-1": DEAD, "host-2": silent, "host-3": silent}
    assert doubt(world(sights=seen)) is Reason.NO_OTHER_HEART
    assert doubt(world(nodes=hosts(1), sights={"host-1": DEAD})) is Reason.NO_OTHER_HEART


@pytest.mark.parametrize(("count", "limit"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (30, 10)])
def test_limit(count: int, limit: int) -> None:
    assert brake.limit(world(nodes=hosts(count))) == limit


@pytest.mark.parametrize(("dead", "holds"), [(1, False), (2, False), (3, True), (4, True)])
def test_the_brake_holds_above_the_limit(dead: int, holds: bool) -> None:
    seen = {f"host-{n}": DEAD for n in range(1, dead + 1)}
    found = doubt(world(nodes=hosts(5), sights=seen))
    assert found is (Reason.TOO_MANY_HOSTS if holds else None)


def test_suspects_count_so_that_the_first_of_many_is_held_too() -> None:
    seen = {"host-1": DEAD, "host-2": sight(6, 6)}
    assert doubt(world(sights=seen)) is Reason.TOO_MANY_HOSTS


def test_hosts_that_failed_long_ago_do_not_count() -> None:
    seen = {"host-1": DEAD, "host-2": dead_since(600)}
    assert doubt(world(nodes=hosts(4), sights=seen)) is None
    assert doubt(world(sights=seen)) is None


def test_hosts_that_failed_together_stay_held_together() -> None:
    seen = {"host-1": dead_since(600), "host-2": dead_since(590)}
    assert doubt(world(sights=seen)) is Reason.TOO_MANY_HOSTS


@pytest.mark.parametrize(("ago", "holds"), [(30, True), (90, False)])
def test_a_host_fenced_within_the_window_counts(ago: float, holds: bool) -> None:
    fence = fenced(FencePhase.FENCED, fenced=WALL - timedelta(seconds=ago))
    nodes = (node("host-1"), node("host-2", fence=fence), node("host-3"))
    seen = {"host-1": DEAD, "host-2": dead_since(ago + 8)}
    found = doubt(world(nodes=nodes, sights=seen))
    assert found is (Reason.TOO_MANY_HOSTS if holds else None)


SAW_IT_FAIL, CAME_LATER = dead_since(30 + 8), Sight(lease=pulse(3), heart=pulse(3))


@pytest.mark.parametrize("seen", [SAW_IT_FAIL, CAME_LATER], ids=["saw it fail", "came later"])
@pytest.mark.parametrize("later", [0, 61, 3600])
def test_the_brake_does_not_let_go_by_itself(seen: Sight, later: float) -> None:
    """What counts is how far apart the two failed, not how long ago."""
    fence = fenced(FencePhase.FENCED, fenced=WALL - timedelta(seconds=30))
    w = world(nodes=(node("host-1"), node("host-2", fence=fence), node("host-3")))
    assert brake._fenced_near(w_with(w, "host-2", seen), w.nodes["host-2"], T0 - 1, now(later))
    assert not brake._fenced_near(w_with(w, "host-2", seen), w.nodes["host-2"], T0 + 40, now(later))


def test_a_clock_that_is_set_does_not_release_the_brake() -> None:
    fence = fenced(FencePhase.FENCED, fenced=WALL - timedelta(seconds=30))
    nodes = (node("host-1"), node("host-2", fence=fence), node("host-3"))
    w = world(nodes=nodes, sights={"host-1": DEAD, "host-2": SAW_IT_FAIL})
    assert doubt(w, Now(T0, WALL + timedelta(hours=1))) is Reason.TOO_MANY_HOSTS


def test_a_host_with_a_hard_proof_does_not_count() -> None:
    """Rebooted, and back: its Lease is fresh."""
    fence = fenced(FencePhase.FENCED, fenced=WALL)
    nodes = (node("host-1"), node("host-2", fence=fence), node("host-3"))
    back = replace(sight(0, 600))
    assert doubt(world(nodes=nodes, sights={"host-1": DEAD, "host-2": back})) is None


def test_a_person_can_release_it() -> None:
    seen = {"host-1": DEAD, "host-2": DEAD}
    assert doubt(world(sights=seen, policy=Policy(brake_released=True))) is None


def test_unread_hosts_do_not_count_as_failing() -> None:
    unread = Sight(lease=Pulse(), heart=Pulse())
    assert doubt(world(sights={"host-1": DEAD, "host-2": unread})) is None


@pytest.mark.parametrize(("minutes", "told"), [(None, False), (5, False), (-5, True)])
def test_a_release_in_the_past_is_told_to_be_over(minutes: int | None, told: bool) -> None:
    until = None if minutes is None else WALL + timedelta(minutes=minutes)
    policy = Policy(released_until=until)
    w = world(sights={"host-1": DEAD, "host-2": DEAD}, policy=policy)
    found = timings.enforced(w, policy, 5.0, now())
    assert found is not None
    held = find(found.conditions, Type.FAILOVER_HELD)
    assert held is not None and held.status == "True"
    assert ("it is 2029-12-31T23:55:00Z now, which lies in the past" in held.message) is told


HELD = Condition(Type.FAILOVER_HELD, "True", Reason.TOO_MANY_HOSTS, "two look dead", 1)


def told_held(phase: FencePhase = FencePhase.OK) -> Node:
    ready = Condition(Type.READY, "False", Reason.TOO_MANY_HOSTS, "it looks dead", 1)
    return node("host-1", conditions=(ready,), fence=fenced(phase))


@pytest.mark.parametrize(
    ("host", "seen", "held"),
    [
        (told_held(), Sight(), "True"),  # an operator that has just begun has read nothing
        (node("host-1"), sight(), "False"),  # it is well, and its Node says so
        (told_held(FencePhase.FENCED), DEAD, "False"),  # nothing of it is held any more
    ],
)
def test_what_is_held_is_told_until_something_else_is_certain(
    host: Node, seen: Sight, held: str
) -> None:
    policy = Policy(conditions=(HELD,))
    w = world(nodes=(host, node("host-2"), node("host-3")), sights={"host-1": seen}, policy=policy)
    found = timings.enforced(w, policy, 5.0, now())
    assert found is not None
    told = find(found.conditions, Type.FAILOVER_HELD)
    assert told is not None and told.status == held


def test_a_fenced_host_is_not_said_to_be_held() -> None:
    """However little the operator can be sure of itself."""
    fence = fenced(FencePhase.FENCED, fenced=WALL)
    unproven = Me(ME, leader=True, lease_until=T0 + 5, api_ok_at=T0, ceph_ok_at=None)
    nodes = (node("host-1", fence=fence), node("host-2"), node("host-3"))
    w = world(nodes=nodes, sights={"host-1": DEAD}, me=unproven)
    found = timings.enforced(w, Policy(), 5.0, now())
    assert found is not None
    told = find(found.conditions, Type.FAILOVER_HELD)
    assert told is not None and told.status == "False"


def test_who_has_just_begun_has_no_better_reason_to_hold() -> None:
    """Neither on the policy nor on the Node does its own want of proofs replace what was told."""
    beginning = Me(ME, leader=True, lease_until=T0 + 5, api_ok_at=T0, ceph_ok_at=None)
    nodes = (told_held(), node("host-2"), node("host-3"))
    policy = Policy(conditions=(HELD,))
    for me, reason in (
        (beginning, Reason.TOO_MANY_HOSTS),
        (replace(beginning, ceph_ok_at=T0 - 60), Reason.CEPH_UNPROVEN),
    ):
        w = world(nodes=nodes, sights={"host-1": DEAD}, me=me, policy=policy)
        found = timings.enforced(w, policy, 5.0, now())
        assert found is not None
        held = find(found.conditions, Type.FAILOVER_HELD)
        ready = find(node_conditions.outlook(w, nodes[0], now()).conditions, Type.READY)
        assert held is not None and ready is not None
        assert held.reason == ready.reason == reason
