from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.decide.builders import WALL, fenced, node, now, placed, revoked, server, world

from respawn.decide import recovery
from respawn.model.conditions import Condition, Reason, Type
from respawn.model.node import FencePhase, Node, Registration
from respawn.model.server import Recovery, RecoveryMode, RunPolicy, Server, Setback

LOST = Setback(1, "host-1", Reason.HOST_LOST, WALL)


def lost(name: str, priority: int, **more):
    record = Recovery(Reason.HOST_LOST, "host-1", decided=WALL)
    status = {"recovery": record, "setback": LOST, **more.pop("status", {})}
    spec = {"priority": priority, **more.pop("spec", {})}
    return server(name, placement=revoked(), spec=spec, status=status, **more)


def first(mine, *others, after: float = 1.0):
    found = recovery.waits_for(world(mine, *others), mine, now(after))
    return found.name if found else None


def test_higher_priority_goes_first() -> None:
    low, high = lost("low", 100), lost("high", 200)
    assert first(low, high) == "high"
    assert first(high, low) is None
    assert first(low, lost("equal", 100)) is None


def still_there(name: str = "high", **more):
    """Placed on host-1, and not revoked yet."""
    return server(name, placement=placed(), spec={"priority": 200, **more.pop("spec", {})}, **more)


def test_who_is_lost_with_the_same_host_goes_first_before_it_is_revoked() -> None:
    low, high = lost("low", 100), still_there()
    fenced_host = node(fence=fenced(FencePhase.FENCED))
    back = node(host=replace(node().host, registration=Registration("machine-host-1", "boot-2")))

    def waits_for(host: Node, other: Server = high, after: float = 1.0) -> str | None:
        found = recovery.waits_for(world(low, other, nodes=(host,)), low, now(after))
        return found.name if found else None

    assert waits_for(fenced_host) == "high"
    assert waits_for(back) == "high", "its host has another boot"
    assert waits_for(node()) is None, "it runs there"
    assert waits_for(fenced_host, still_there(spec={"priority": 100})) is None
    assert waits_for(fenced_host, still_there(deleting=True)) is None
    assert waits_for(fenced_host, after=31) is None
    failed_last_week = {"setback": Setback(0, "host-2", Reason.QEMU_DIED, WALL)}
    assert waits_for(fenced_host, still_there(status=failed_last_week)) == "high"


NO_ROOM = Condition(Type.PLACED, "False", Reason.NO_HOST_FITS)
STALLED = Condition(Type.STALLED, "True", Reason.DISK_FROM_OTHER_SOURCE)


@pytest.mark.parametrize(
    "high",
    [
        lost("high", 200, status={"recovery": Recovery(Reason.HOST_LOST, "host-1", started=WALL)}),
        lost("high", 200, status={"setback": Setback(2, "host-2", Reason.QEMU_DIED, WALL)}),
        lost("high", 200, status={"conditions": (NO_ROOM,)}),
        lost("high", 200, status={"conditions": (STALLED,)}),
        lost("high", 200, deleting=True),
        lost("high", 200, spec={"run_policy": RunPolicy.HALTED}),
        lost("high", 200, spec={"recovery": RecoveryMode.NONE}),
        lost("high", 200, status={"recovery": Recovery(Reason.QEMU_DIED, "host-1")}),
    ],
    ids=[
        "started",
        "failed once",
        "no room",
        "stalled",
        "deleted",
        "halted",
        "no recovery",
        "not lost",
    ],
)
def test_a_wave_ends(high) -> None:
    assert first(lost("low", 100), high) is None


def test_a_wave_is_30_seconds_old_at_most() -> None:
    low, high = lost("low", 100), lost("high", 200)
    assert first(low, high, after=29) == "high"
    assert first(low, high, after=31) is None


@pytest.mark.parametrize("ahead", [60, 3600])
def test_no_wave_waits_for_a_clock_that_was_ahead(ahead: float) -> None:
    assert first(lost("low", 100), lost("high", 200), after=-ahead) is None


@pytest.mark.parametrize(
    ("at", "left"), [(-3600, None), (-291, None), (-1, 11), (0, 10), (9, 1), (10, None), (99, None)]
)
def test_a_clock_that_is_set_back_holds_no_start(at: float, left: float | None) -> None:
    last = Setback(1, "host-1", Reason.QEMU_DIED, WALL, 3)
    found = recovery.still_due(server(status={"setback": last}), now(at).wall)
    assert found == (None if left is None else timedelta(seconds=left))


def test_who_is_not_recovering_waits_for_nobody() -> None:
    assert first(server("new"), lost("high", 200)) is None


@pytest.mark.parametrize(
    ("count", "delay"), [(1, None), (2, None), (3, 10), (4, 20), (5, 40), (8, 300), (50, 300)]
)
def test_back_off(count: int, delay: float | None) -> None:
    due = recovery.retry_at(Setback(1, "host-1", Reason.QEMU_DIED, WALL, count))
    assert due == (None if delay is None else WALL + timedelta(seconds=delay))


@pytest.mark.parametrize(
    ("ago", "left"),
    [(0, 10.0), (9, 1.0), (10, 0.0), (-60, 70.0), (-289, 299.0), (-291, 0.0), (-(10**8), 0.0)],
)
def test_a_clock_that_was_set_back_holds_no_start_for_longer_than_the_longest_delay(
    ago: int, left: float
) -> None:
    last = Setback(1, "host-1", Reason.QEMU_DIED, WALL - timedelta(seconds=ago), 3)
    found = recovery.still_due(server(status={"setback": last}), WALL)
    assert found == (timedelta(seconds=left) if left else None)


def test_a_clock_that_was_set_back_holds_no_wave() -> None:
    low, high = lost("low", 100), lost("high", 200)
    assert first(low, high, after=-29) == "high"
    assert first(low, high, after=-31) is None


def test_a_lost_host_is_nobodys_own_fault() -> None:
    assert recovery.retry_at(Setback(1, "host-1", Reason.HOST_LOST, WALL, 9)) is None
    it = server(status={"setback": LOST})
    assert recovery.home(it) is None and recovery.avoid(it) == "host-1"
