"""Where servers are placed, and how they are stopped and brought back, on three real hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import servers
from fleet import NAMESPACE, one_writer, seconds
from labtool import LabTool, eventually
from servers import Desk

pytestmark = pytest.mark.lab
HOSTS = {"host-1", "host-2", "host-3"}


@pytest.fixture
def desk(servers_lab: LabTool) -> Iterator[Desk]:
    yield from servers.desk(servers_lab)


# Placement.


def apart(desk: Desk, name: str) -> dict[str, Any]:
    group = {"group": "web", "topologyKey": "respawn.dev/host", "mode": "Required"}
    return desk.blank(name, placement={"antiAffinity": [group]})


def cordon(desk: Desk, host: str, on: bool) -> None:
    patch = json.dumps({"spec": {"scheduling": {"mode": "Cordoned" if on else "Enabled"}}})
    desk.lab.kubectl("patch", "vnode", host, "--type=merge", "-p", patch)


def test_required_rules_hold_and_say_why_the_fourth_waits(desk: Desk) -> None:
    desk.apply(*(apart(desk, f"web-{n}") for n in (1, 2, 3)))
    for n in (1, 2, 3):
        desk.await_ready(f"web-{n}")
    assert {d["host"] for d in desk.domains().values()} == HOSTS
    desk.apply(apart(desk, "web-4"))
    told = desk.await_reason("web-4", "NoHostFits")
    for n in (1, 2, 3):
        host = desk.node_of(f"web-{n}")
        assert f"{host} shares its respawn.dev/host with web-{n} of group web" in told


def test_servers_spread_wishes_count_and_a_cordoned_host_gets_none(desk: Desk) -> None:
    cordon(desk, "host-1", True)
    try:
        shown = desk.lab.kubectl("get", "vnode", "host-1", "--no-headers").split()
        eventually("it is shown", lambda: "Cordoned" in cordoned(desk), timeout=10)
        wished = desk.blank("wished", placement={"preferredNodes": ["host-1", "host-3"]})
        desk.apply(wished, *(desk.blank(f"spread-{n}") for n in (1, 2, 3)))
        for name in ("wished", "spread-1", "spread-2", "spread-3"):
            desk.await_ready(name)
        hosts = {name: d["host"] for name, d in desk.domains().items()}
        assert hosts["wished"] == "host-3", shown
        assert sorted(hosts.values()).count("host-2") == 2, hosts
        assert "host-1" not in hosts.values()
        desk.apply(desk.blank("bound", placement={"nodeSelector": {"respawn.dev/host": "host-1"}}))
        told = desk.await_reason("bound", "NoHostFits")
        assert "host-1 is cordoned" in told, told
    finally:
        cordon(desk, "host-1", False)


def cordoned(desk: Desk) -> str:
    return desk.lab.kubectl("get", "vnode", "host-1", "--no-headers")


# Stopping.


def test_halted_asks_the_guest_and_ends_it_when_its_grace_is_over(desk: Desk) -> None:
    desk.apply(
        desk.guest_server("listens", shutdownGracePeriod="60s"),
        desk.blank("deaf", shutdownGracePeriod="4s"),
    )
    desk.await_writing("listens")
    desk.await_ready("deaf")
    before = desk.domains()
    desk.change("deaf", runPolicy="Halted")
    desk.change("listens", runPolicy="Halted")
    for name in ("listens", "deaf"):
        desk.await_reason(name, "Halted")
        status = desk.status(name)
        assert "node" not in status and status["placement"]["phase"] == "Free"
        assert status["placement"]["proof"]["kind"] == "Ended"
        assert desk.ready(name)[0] == "True"
        told = desk.events(name)
        host = before[name]["host"]
        assert told["Stopped"] == [
            f"off; epoch 1 is over: the agent of {host} saw that it had ended"
        ]
        assert "shut down" in told["Stopping"][0]
    assert desk.domains() == {}
    stopping, stopped = (desk.told_at("deaf", reason) for reason in ("Stopping", "Stopped"))
    assert 3 <= seconds(stopping, stopped) <= 15, "its grace, to the second that events tell"
    stopping, stopped = (desk.told_at("listens", r) for r in ("Stopping", "Stopped"))
    assert seconds(stopping, stopped) < 20, "it was asked, and went by itself"
    assert desk.lab.run("guest", f"{NAMESPACE}/listens").returncode in (0, 1)
    desk.change("deaf", runPolicy="Always")
    desk.await_epoch("deaf", 2)


def test_who_powers_itself_off_comes_back_or_stays_as_its_policy_says(desk: Desk) -> None:
    """Always comes back; RerunOnFailure stays off, but not for what happened before it was set."""
    desk.apply(desk.guest_server("self"))
    desk.await_writing("self")
    host = desk.node_of("self")
    desk.lab("guest", "poweroff", f"{NAMESPACE}/self")
    desk.await_epoch("self", 2)
    assert desk.node_of("self") == host
    told = desk.events("self")["GuestShutdown"]
    assert told[0].startswith(f"its guest powered itself off (epoch 1 on {host})"), told

    desk.change("self", runPolicy="RerunOnFailure")
    desk.await_writing("self", boots=2)
    assert desk.epoch("self") == 2, "an earlier shutdown stops nobody"
    desk.lab("agent", "stop", host)  # nobody listens to libvirt; it is no less the guest's own wish
    desk.lab("guest", "poweroff", f"{NAMESPACE}/self")
    eventually("it is off", lambda: desk.domains() == {})
    desk.lab("agent", "start", host)
    told = [desk.await_reason("self", "Completed")]
    assert "set runPolicy" in told[0] and desk.ready("self")[0] == "True"
    assert desk.domains() == {} and "node" not in desk.status("self")
    assert "it stays off" in desk.events("self")["GuestShutdown"][-1]
    desk.change("self", runPolicy="Halted")
    desk.await_reason("self", "Halted")
    desk.change("self", runPolicy="RerunOnFailure")
    desk.await_epoch("self", 3)
    desk.check_disks("self")


# Coming back.


def test_killed_here_panicked_elsewhere_then_backing_off(desk: Desk) -> None:
    desk.apply(desk.guest_server("fails", runPolicy="RerunOnFailure"))
    with one_writer(desk.lab, period=1):
        desk.await_writing("fails")
        first = desk.domain("fails")
        desk.lab("guest", "kill", f"{NAMESPACE}/fails")
        status = desk.await_epoch("fails", 2)
        second = desk.domain("fails")
        assert status["node"] == first["host"] == second["host"], "in place, the first time"
        record = status["lastRecovery"]
        assert (record["reason"], record["fromNode"]) == ("QemuDied", first["host"])
        assert (record["toNode"], record["proof"]) == (first["host"], "Ended")
        assert seconds(record["decided"], second["startedAt"]) < 5
        assert status["placement"]["proof"]["lockers"], "the dead QEMU's client is banned for good"

        desk.await_writing("fails", boots=2)
        desk.lab("guest", "panic", f"{NAMESPACE}/fails")
        status = desk.await_epoch("fails", 3)
        assert status["lastRecovery"]["reason"] == "GuestPanicked"
        assert status["node"] != first["host"], "elsewhere, the second time"

        desk.lab("guest", "kill", f"{NAMESPACE}/fails")
        told = desk.await_reason("fails", "BackOff")
        assert told.startswith(f"it ended 3 times in a row, at last on {status['node']}"), told
        assert "its QEMU died; starts again at" in told
        assert desk.domains() == {}
        desk.change("fails", shutdownGracePeriod="20s")
        status = desk.await_epoch("fails", 4)
        waited = seconds(status["setback"]["at"], desk.domain("fails")["startedAt"])
        assert waited < 9, "whose spec is changed waits no longer"
    desk.check_disks("fails")
    told_events = desk.events("fails")
    assert len(told_events["QemuDied"]) == 2 and len(told_events["GuestPanicked"]) == 1
    again = told_events["Recovered"][0]
    assert again.startswith(f"runs again on {first['host']} (epoch 2); its QEMU died"), again


def test_what_a_person_destroys_or_saves_away_returns(desk: Desk) -> None:
    desk.apply(desk.blank("hand"))
    desk.await_ready("hand")
    first = desk.domain("hand")
    desk.lab.on(first["host"], "virsh", "destroy", first["domain"])
    desk.await_epoch("hand", 2)
    second = desk.domain("hand")
    assert second["host"] == first["host"]
    told = desk.events("hand")["Destroyed"]
    assert told[0].startswith(f"somebody ended its domain (epoch 1 on {first['host']})"), told
    desk.lab.on(second["host"], "virsh", "save", second["domain"], "/tmp/saved")
    desk.await_epoch("hand", 3)
    restored = desk.lab.run("host", "exec", second["host"], "--", "virsh", "restore", "/tmp/saved")
    assert restored.returncode and "no restore of" in restored.stderr, restored.stderr
    assert len(desk.domains()) == 1


def test_a_person_who_suspends_it_is_told_and_obeyed(desk: Desk) -> None:
    desk.apply(desk.blank("held"))
    desk.await_ready("held")
    domain = desk.domain("held")
    desk.lab.on(domain["host"], "virsh", "suspend", domain["domain"])
    assert "virsh resume lets it run on" in desk.await_reason("held", "Suspended")
    desk.lab.on(domain["host"], "virsh", "resume", domain["domain"])
    desk.await_reason("held", "Running")
    assert desk.domain("held")["pid"] == domain["pid"] and desk.epoch("held") == 1
    again = f"runs on after its pause on {domain['host']} (epoch 1)"
    eventually("its end is told", lambda: desk.events("held")["Running"][-1] == again)
