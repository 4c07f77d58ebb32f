"""Two operators: one leads, the other stands by, whatever becomes of either."""

import time

import pytest
from fleet import STANDING, Fleet, holds, now, one_writer, seconds
from labtool import eventually

pytestmark = [pytest.mark.lab, pytest.mark.unsettled]

LEADER_LEASE, FENCE_AFTER = 3.0, 3.0
"""Seconds, of the fast profile."""


@pytest.mark.parametrize("order", ["stop", "kill", "freeze"])
def test_the_standby_leads_when_the_leader_is_gone(fleet: Fleet, order: str) -> None:
    """And the first one, when it is back, stands by. No server notices."""
    pids, fences, leader = fleet.pids(), fleet.fences(), fleet.leader()
    fleet.lab("operator", order, leader)
    ordered = time.monotonic()
    other = fleet.await_other_leader(leader)
    print(f"{order} to the next leader: {time.monotonic() - ordered:.1f} s")
    assert time.monotonic() - ordered < LEADER_LEASE + 4
    if order != "kill":
        fleet.lab("operator", {"stop": "start", "freeze": "thaw"}[order], leader)
    holds("the other one leads", 3, lambda: fleet.leader() == other)
    assert fleet.pids() == pids
    assert fleet.fences() == fences
    if order == "freeze":
        fleet.recovers("gold")


def test_host_and_leader_die_together(fleet: Fleet) -> None:
    """The standby has seen all that the leader has: it owes nobody a fresh grace."""
    leader, host, boots = fleet.leader(), fleet.node_of("gold"), fleet.boots("gold")
    with one_writer(fleet.lab):
        fleet.lab("operator", "freeze", leader)
        fleet.lab("host", "power-off", host)
        off = now()
        fleet.await_elsewhere("gold", host)
        started = seconds(off, fleet.domains()["gold"]["startedAt"])
        print(f"host and leader gone to the first QEMU elsewhere: {started:.2f} s")
        assert started <= LEADER_LEASE + FENCE_AFTER + 2
        domains, fences = fleet.domains(), fleet.fences()
        fleet.lab("operator", "thaw", leader)
        holds("the deposed one changes nothing", 4, lambda: fleet.fences() == fences)
        fleet.await_writing("gold", boots=boots + 1)
    assert {n: d["pid"] for n, d in domains.items()} == fleet.pids()
    fleet.check_disks("gold", boots=boots + 1)


def test_operators_in_a_storm_and_a_frozen_api_server(fleet: Fleet) -> None:
    """Nothing dies of either; a host that is lost in the storm is recovered in it."""
    pids, fences = fleet.pids(), fleet.fences()
    fleet.lab("api", "freeze")
    time.sleep(10)
    fleet.lab("api", "thaw")
    fleet.await_peace()
    for _ in range(4):
        fleet.lab("operator", "kill", "1")
        fleet.lab("operator", "kill", "2")
        time.sleep(1.5)
    assert fleet.pids() == pids
    assert fleet.fences() == fences
    fleet.await_progress(*STANDING)

    host, boots = fleet.node_of("gold"), fleet.boots("gold")
    with one_writer(fleet.lab):
        fleet.lab("host", "power-off", host)
        for _ in range(3):
            for index in ("1", "2"):
                eventually("it runs again", lambda index=index: kill(fleet, index))  # type: ignore[misc]
            time.sleep(1)
        fleet.await_elsewhere("gold", host)
        fleet.await_writing("gold", boots=boots + 1)
    fleet.check_disks("gold", boots=boots + 1)


def kill(fleet: Fleet, index: str) -> bool:
    return fleet.lab.run("operator", "kill", index).returncode == 0
