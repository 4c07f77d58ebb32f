"""Hosts that are neither well nor gone: frozen ones, and ones whose daemons are dead."""

import pytest
from fleet import Fleet, holds, one_writer, seconds
from labtool import eventually

pytestmark = [pytest.mark.lab, pytest.mark.extended]

SERVICES = ("agent", "heart", "libvirtd")
UNRESPONSIVE_AFTER = 45.0
"""Seconds, of the fast profile: a dead client's watch lives on for half a minute."""


def test_only_the_kernel_answers(fleet: Fleet) -> None:
    """Two hosts, of which nothing but the kernel answers. The QEMUs of the one stand still like all
    else: when their watches are gone it is fenced. Those of the other run on: it never is.
    """
    frozen, headless = fleet.node_of("gold"), fleet.node_of("silver")
    boots, pids = fleet.boots("gold"), fleet.pids()
    with one_writer(fleet.lab):
        fleet.lab("host", "freeze", frozen)
        for service in SERVICES:
            fleet.lab(service, "stop", headless)
        fleet.await_reason(frozen, "Unresponsive")
        fleet.await_reason(headless, "Unresponsive")
        assert fleet.pids() == pids
        record = fleet.await_elsewhere("gold", frozen, timeout=UNRESPONSIVE_AFTER + 20)
        decided = seconds(record["lastSeen"], record["decided"])
        print(f"frozen host: last sign of life to decision {decided:.2f} s")
        assert UNRESPONSIVE_AFTER <= decided <= UNRESPONSIVE_AFTER + 5

        fleet.await_reason(headless, "UnresponsiveButRunning")
        fleet.await_progress("silver")
        holds("it is never fenced", 4, lambda: fleet.fences()[headless][0] == "OK")
        stale = {domain["pid"] for domain in fleet.qemus() if domain["host"] == frozen}
        assert stale
        fleet.lab("host", "thaw", frozen)
        for service in reversed(SERVICES):
            fleet.lab(service, "start", headless)
        eventually("stale QEMUs end", lambda: not stale & {d["pid"] for d in fleet.qemus()})
        fleet.await_peace()
        fleet.await_writing("gold", boots=boots + 1)
        fleet.check_disks("gold", boots=boots + 1)
    assert fleet.pids()["silver"] == pids["silver"]
    fleet.recovers("silver")
