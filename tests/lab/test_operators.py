"""Two operators: one leads, the other stands by, whatever becomes of either."""

import json
import time

import pytest
from fleet import STANDING, Fleet, holds, now, one_writer, seconds
from labtool import eventually

pytestmark = pytest.mark.lab

LEADER_LEASE, FENCE_AFTER = 3.0, 3.0
"""Seconds, of the fast profile."""
MENDED = {"stop": "start", "freeze": "thaw"}
"""What brings an operator back; a killed one comes back by itself."""


def test_the_standby_leads_when_the_leader_is_gone(fleet: Fleet) -> None:
    """And the first one, when it is back, stands by. No server notices. The one that leads in the
    end does what a leader is there for.
    """
    pids, fences = fleet.pids(), fleet.fences()
    lease = fleet.lab.kubectl("-n", "respawn", "get", "lease", "operator-leader", "-o", "json")
    assert json.loads(lease)["spec"]["leaseDurationSeconds"] == LEADER_LEASE
    for order in ("stop", "kill", "freeze"):
        leader = fleet.leader()
        fleet.lab("operator", order, leader)
        ordered = time.monotonic()
        other = fleet.await_other_leader(leader)
        print(f"{order} to the next leader: {time.monotonic() - ordered:.1f} s")
        assert time.monotonic() - ordered < LEADER_LEASE + 4
        if order in MENDED:
            fleet.lab("operator", MENDED[order], leader)
        fleet.await_standby(leader)
        holds("the other one leads", 2, lambda other=other: fleet.leader() == other)  # type: ignore[misc]
    assert fleet.pids() == pids
    assert fleet.fences() == fences
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
        pids, fences = fleet.pids(), fleet.fences()
        fleet.lab("operator", "thaw", leader)
        holds("the deposed one changes nothing", 4, lambda: fleet.fences() == fences)
        fleet.await_writing("gold", boots=boots + 1)
    assert fleet.pids() == pids
    fleet.check_disks("gold", boots=boots + 1)


@pytest.mark.extended
def test_operators_in_a_storm_and_a_frozen_api_server(fleet: Fleet) -> None:
    """Nothing dies of either; a host that is lost in the storm is recovered in it."""
    pids, fences = fleet.pids(), fleet.fences()
    fleet.lab("api", "freeze")
    time.sleep(2 * FENCE_AFTER)  # longer than any lease, and than it takes to condemn a host
    fleet.lab("api", "thaw")
    fleet.await_peace()
    storm(fleet, 3)
    assert fleet.pids() == pids
    assert fleet.fences() == fences
    fleet.await_progress(*STANDING)

    host, boots = fleet.node_of("gold"), fleet.boots("gold")
    with one_writer(fleet.lab):
        fleet.lab("host", "power-off", host)
        storm(fleet, 3)
        fleet.await_elsewhere("gold", host)
        fleet.await_writing("gold", boots=boots + 1)
    fleet.check_disks("gold", boots=boots + 1)


def storm(fleet: Fleet, times: int) -> None:
    """Both operators are killed, so often; a process that is not up yet is killed when it is."""
    for _ in range(times):
        for index in ("1", "2"):
            eventually("it runs again", lambda index=index: kill(fleet, index))  # type: ignore[misc]
        time.sleep(1)


def kill(fleet: Fleet, index: str) -> bool:
    return fleet.lab.run("operator", "kill", index).returncode == 0
