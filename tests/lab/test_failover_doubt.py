"""Hosts that are neither well nor gone: frozen ones, and ones whose daemons are dead."""

import pytest
from fleet import STANDING, Fleet, condition, holds, manifest, one_writer, seconds
from labtool import eventually

pytestmark = [pytest.mark.lab, pytest.mark.unsettled]

SERVICES = ("agent", "heart", "libvirtd")
UNRESPONSIVE_AFTER = 45.0
"""Seconds, of the fast profile: a dead client's watch lives on for half a minute."""


def test_only_the_kernel_answers(fleet: Fleet) -> None:
    """Two hosts, of which nothing but the kernel answers. The QEMUs of the one stand still like all
    else: when their watches are gone it is fenced. Those of the other run on: it never is.
    """
    frozen, headless = "host-1", "host-2"
    fleet.apply(manifest("frosty", prefer=[frozen]), manifest("headless", prefer=[headless]))
    for name, host in (("frosty", frozen), ("headless", headless)):
        fleet.await_ready(name, on=host)
        fleet.await_writing(name)
    boots, pids = fleet.boots("frosty"), fleet.pids()
    with one_writer(fleet.lab):
        fleet.lab("host", "freeze", frozen)
        for service in SERVICES:
            fleet.lab(service, "stop", headless)
        fleet.await_reason(frozen, "Unresponsive")
        fleet.await_reason(headless, "Unresponsive")
        assert fleet.pids() == pids
        record = fleet.await_elsewhere("frosty", frozen, timeout=UNRESPONSIVE_AFTER + 20)
        decided = seconds(record["lastSeen"], record["decided"])
        print(f"frozen host: last sign of life to decision {decided:.2f} s")
        assert UNRESPONSIVE_AFTER <= decided <= UNRESPONSIVE_AFTER + 5

        fleet.await_reason(headless, "UnresponsiveButRunning", timeout=60)
        fleet.await_progress("headless")
        holds("it is never fenced", 5, lambda: fleet.fences()[headless][0] == "OK")
        stale = [d["pid"] for d in fleet.lab.domains() if d["host"] == frozen]
        assert stale
        fleet.lab("host", "thaw", frozen)
        for service in reversed(SERVICES):
            fleet.lab(service, "start", headless)
        eventually("stale QEMUs end", lambda: not set(stale) & all_pids(fleet))
        fleet.await_peace()
        fleet.await_writing("frosty", boots=boots + 1)
        fleet.check_disks("frosty", boots=boots + 1)
    assert fleet.pids()["headless"] == pids["headless"]
    fleet.recovers("headless")
    fleet.delete("frosty", "headless")


def all_pids(fleet: Fleet) -> set[int]:
    return {domain["pid"] for domain in fleet.lab.domains()}


def test_a_dead_heart_and_a_dead_agent(fleet: Fleet) -> None:
    """Without its heart process, the agent beats; without its agent, the heart says the host lives.

    An agent that starts again finds its servers as they are.
    """
    first = fleet.node_of("gold")
    second = next(host for host in fleet.nodes() if host != first)
    pids, fences = fleet.pids(), fleet.fences()
    fleet.lab("heart", "stop", first)
    fleet.lab("agent", "stop", second)
    fleet.await_reason(second, "AgentDown")
    holds("nobody is fenced", 6, lambda: fleet.fences() == fences)
    assert condition(fleet.node(first), "Ready")["status"] == "True", "the agent beats for it"
    fleet.lab("heart", "start", first)
    fleet.lab("agent", "start", second)
    for service in SERVICES:
        for host in (first, second):
            fleet.lab(service, "kill", host)
    fleet.await_peace()
    holds("nobody is fenced", 4, lambda: fleet.fences() == fences)
    fleet.await_progress(*STANDING)
    assert fleet.pids() == pids
    fleet.recovers("gold")
