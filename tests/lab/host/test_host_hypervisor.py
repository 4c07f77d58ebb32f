"""Create, look, suspend, resume, shut down, kill: on a real libvirtd, QEMU and Ceph."""

from __future__ import annotations

import os
import time

import pytest
from hosttool import Disks, Driver, Failed, driver_on
from labtool import LabTool, eventually

pytestmark = pytest.mark.lab


def pid(driver: Driver, disks: Disks) -> int:
    return int(driver("look", uid=disks.uid)["domain"]["pid"])


def exits(driver: Driver) -> list[tuple[str, int, str]]:
    told = driver("told")["events"]
    return [(e["uid"], e["epoch"], e["reason"]) for e in told if e["what"] == "exit"]


def test_a_created_domain_is_seen_as_ordered(lab: LabTool, driver: Driver) -> None:
    disks = Disks(lab, "root", "data")
    assert driver("look", uid=disks.uid)["absent"]
    driver("told")
    born = driver("create", **disks.order(3))
    print(f"create {driver.ms} ms")
    look = driver("look", uid=disks.uid)
    print(f"look {driver.ms} ms")
    assert look["domain"] == born and look["state"] == "running" and not look["absent"]
    assert (born["epoch"], born["namespace"], born["name"]) == (3, "tests", f"s-{disks.uid[:8]}")
    assert look["processes"] == [born["pid"]]
    asked = driver("told")["asked"]
    assert [(a["uid"], a["epoch"], a["operation"]) for a in asked] == [(disks.uid, 3, "prepare")]
    assert asked[0]["boot_id"] == born["boot_id"]
    row = disks.row()
    assert row is not None
    assert (row["host"], row["epoch"], row["state"]) == ("host-1", 3, "running")
    assert disks.uid in driver("scan")
    driver("kill", **disks.of(3))


def test_a_second_domain_of_one_uuid_is_a_conflict(driver: Driver, guest: Disks) -> None:
    before = pid(driver, guest)
    for epoch in (1, 2):
        with pytest.raises(Failed) as failed:
            driver("create", **guest.order(epoch))
        assert failed.value.kind == "Conflict", failed.value
    assert pid(driver, guest) == before


def test_a_refusal_by_the_hook_names_its_reason(lab: LabTool, driver: Driver) -> None:
    disks = Disks(lab)
    driver("set_guard", mode="no")
    with pytest.raises(Failed) as failed:
        driver("create", **disks.order(1))
    driver("set_guard", mode="yes")
    assert failed.value.kind == "Refused" and "the test says no" in failed.value.text
    assert driver("look", uid=disks.uid)["absent"]


def test_a_domain_whose_image_is_missing_is_refused_and_leaves_nothing(driver: Driver) -> None:
    uid = "00000000-0000-4000-8000-00000000dead"
    with pytest.raises(Failed) as failed:
        driver("create", uid=uid, epoch=1, disks=["root"])
    assert failed.value.kind == "Refused"
    assert driver("look", uid=uid)["absent"]


def test_no_look_calls_absent_what_the_hook_is_asked_about(
    lab: LabTool, driver: Driver, guest: Disks
) -> None:
    """R3: libvirt holds the domain while its hook is asked; a look at it waits for the answer."""
    disks = Disks(lab)
    driver("set_guard", mode="hang")
    creating = driver.begin("create", **disks.order(1))
    eventually("the question", lambda: driver("told")["asked"], period=0.02)
    looking = driver.begin("look", uid=disks.uid)
    assert driver("look", uid=guest.uid)["state"] == "running"  # the others do not wait
    assert driver.ms < 500
    assert not creating.done() and not looking.done()
    with pytest.raises(Failed) as failed:
        driver.end(creating)
    driver("set_guard", mode="yes")
    assert failed.value.kind == "Refused" and 2000 < failed.value.ms < 3500
    assert driver.end(looking)["absent"]
    print(f"look at a domain being asked about {driver.ms} ms")


def test_a_start_that_waits_for_its_hook_holds_up_no_other(lab: LabTool, driver: Driver) -> None:
    disks, other = Disks(lab), Disks(lab)
    driver("set_guard", mode="hang")
    creating = driver.begin("create", **disks.order(1))
    eventually("the question", lambda: driver("told")["asked"], period=0.02)
    driver("set_guard", mode="yes")
    driver("create", **other.order(1))
    print(f"create meanwhile {driver.ms} ms")
    assert not creating.done()
    driver("kill", **other.of(1))
    with pytest.raises(Failed):
        driver.end(creating)


def test_kill_ends_the_named_incarnation_only(driver: Driver, guest: Disks) -> None:
    before = pid(driver, guest)
    driver("kill", **guest.of(7))
    assert pid(driver, guest) == before
    driver("told")
    driver("kill", **guest.of(1))
    print(f"kill {driver.ms} ms")
    assert driver("look", uid=guest.uid)["absent"] and guest.row() is None
    assert exits(driver) == []  # our own doing is no news
    driver("kill", **guest.of(1))


def test_kill_works_without_libvirtd(lab: LabTool, driver: Driver, guest: Disks) -> None:
    before = pid(driver, guest)
    lab("libvirtd", "stop", "host-1")
    look = driver("look", uid=guest.uid)
    assert (look["domain"]["pid"], look["domain"]["epoch"], look["state"]) == (before, 1, None)
    assert look["domain"]["name"] == f"s-{guest.uid[:8]}"  # from libvirt's own status file
    driver("kill", **guest.of(1))
    print(f"kill without libvirtd {driver.ms} ms")
    assert guest.row() is None
    with pytest.raises(Failed) as failed:
        driver("look", uid=guest.uid)
    assert failed.value.kind == "Unavailable"  # R3: absence needs libvirt's word too
    driver("told")
    lab("libvirtd", "start", "host-1")
    eventually(
        "the driver is connected again",
        lambda: any(e["what"] == "connected" for e in driver("told")["events"]),
    )
    assert driver("look", uid=guest.uid)["absent"]


def test_a_stopped_qemu_is_seen_and_killed(lab: LabTool, driver: Driver, guest: Disks) -> None:
    lab.on("host-1", "kill", "-STOP", str(pid(driver, guest)))
    look = driver("look", uid=guest.uid)
    assert look["domain"]["pid"] and driver.ms < 1000
    driver("kill", **guest.of(1))
    print(f"kill of a stopped QEMU {driver.ms} ms")
    assert driver.ms < 3000 and guest.row() is None


def test_a_killed_qemu_is_told_within_a_moment(lab: LabTool, driver: Driver, guest: Disks) -> None:
    row = guest.row()
    assert row is not None
    driver("told")
    begun = time.monotonic()
    os.kill(row["pid"], 9)
    told = eventually(
        "the exit", lambda: [e for e in driver("told")["events"] if e["what"] == "exit"],
        period=0.01,
    )  # fmt: skip
    print(f"event after kill -9: {(told[0]['at'] - begun) * 1000:.0f} ms")
    assert [(e["uid"], e["epoch"], e["reason"]) for e in told] == [(guest.uid, 1, "QemuDied")]
    assert told[0]["at"] - begun < 2
    assert driver("look", uid=guest.uid)["absent"]


def test_a_qemu_that_the_host_told_to_go_did_not_shut_down_by_itself(
    driver: Driver, guest: Disks
) -> None:
    row = guest.row()
    assert row is not None
    driver("told")
    os.kill(row["pid"], 15)
    told = eventually(
        "the exit", lambda: [e for e in driver("told")["events"] if e["what"] == "exit"]
    )
    assert {e["reason"] for e in told} == {"QemuDied"}


def test_suspend_marks_and_resume_unmarks(lab: LabTool, driver: Driver, guest: Disks) -> None:
    driver("suspend", **guest.of(1))
    print(f"suspend {driver.ms} ms")
    look = driver("look", uid=guest.uid)
    assert (look["state"], look["paused_by_us"]) == ("paused", True)
    assert guest.row()["state"] == "paused"  # type: ignore[index]
    with driver_on(lab, "host-2") as elsewhere:
        assert elsewhere("look", uid=guest.uid)["absent"]
    driver("resume", **guest.of(1))
    look = driver("look", uid=guest.uid)
    assert (look["state"], look["paused_by_us"]) == ("running", False)
    lab.on("host-1", "virsh", "-q", "suspend", guest.domain(1))
    driver("suspend", **guest.of(1))
    assert driver("look", uid=guest.uid)["paused_by_us"] is False  # a person's pause stays his
    with pytest.raises(Failed):
        driver("suspend", **guest.of(2))


def test_our_mark_survives_the_agent(lab: LabTool, driver: Driver, guest: Disks) -> None:
    driver("suspend", **guest.of(1))
    with driver_on(lab, "host-1") as successor:
        assert successor("look", uid=guest.uid)["paused_by_us"] is True
        assert guest.uid in successor("scan")
    driver("open_guard")  # the successor took the socket with it


def test_suspend_stops_a_guest_whose_storage_is_cut(lab: LabTool, driver: Driver) -> None:
    """libvirt's call returns only when the storage is back; ours when the guest stands still."""
    servers = [Disks(lab, bootable=True) for _ in range(2)]
    for disks in servers:
        driver("create", **disks.order(1))
    for disks in servers:
        wait_for_acks(disks, 1)
    lab("host", "cut", "host-1", "storage")
    begun = time.monotonic()
    calls = [driver.begin("suspend", **disks.of(1)) for disks in servers]
    for call in calls:
        driver.end(call)
        print(f"suspend with storage cut {driver.ms} ms")
    assert time.monotonic() - begun < 3
    for disks in servers:
        assert driver("look", uid=disks.uid)["state"] == "paused"
    driver("kill", **servers[0].of(1))
    print(f"kill with storage cut {driver.ms} ms")
    assert driver.ms < 6000 and servers[0].row() is None
    lab("host", "heal", "host-1", "storage")
    eventually("it runs on", lambda: resumed(driver, servers[1]), timeout=90)
    wait_for_acks(servers[1], servers[1].console().count("ack ") + 1)
    driver("kill", **servers[1].of(1))


@pytest.mark.extended
def test_a_guest_whose_storage_is_cut_stops_by_itself_when_nobody_stops_it(lab: LabTool) -> None:
    """The second net: an operation that takes too long fails, and a failed one stops the guest."""
    disks = Disks(lab, bootable=True)
    with driver_on(lab, "host-1", op_timeout=5) as driver:
        driver("create", **disks.order(1))
        wait_for_acks(disks, 1)
        lab("host", "cut", "host-1", "storage")
        state = lambda: driver("look", uid=disks.uid)  # noqa: E731
        look = eventually("it stands still", lambda: (s := state())["state"] == "paused" and s)
        assert look["paused_by_us"] is True  # by the policy that we gave it: ours to end
        lab("host", "heal", "host-1", "storage")
        count = disks.console().count("ack ")
        eventually("it runs on", lambda: resumed(driver, disks), timeout=90)
        wait_for_acks(disks, count + 1)
        driver("kill", **disks.of(1))


def wait_for_acks(disks: Disks, count: int) -> None:
    eventually("its writes", lambda: disks.console().count("ack ") >= count, timeout=90)


def resumed(driver: Driver, disks: Disks) -> bool:
    """A resume waits as long as the suspend before it is still draining."""
    try:
        driver("resume", **disks.of(1))
    except Failed:
        return False
    return bool(driver("look", uid=disks.uid)["state"] == "running")


def test_shut_down_reaches_the_guest_and_its_end_is_told(lab: LabTool, driver: Driver) -> None:
    disks = Disks(lab, bootable=True)
    driver("create", **disks.order(1))
    eventually("it listens to its buttons", lambda: "ready buttons=" in disks.console())
    details = eventually(
        "its address is known", lambda: (d := driver("details", uid=disks.uid))["addresses"] and d
    )
    assert details["addresses"][0].startswith("10.40.") and details["state"] == "Running"
    driver("told")
    driver("shut_down", **disks.of(1))
    eventually("it is off", lambda: driver("look", uid=disks.uid)["absent"])
    assert exits(driver) == [(disks.uid, 1, "GuestShutdown")]


def test_a_panic_is_told_and_ends_the_domain(lab: LabTool, driver: Driver) -> None:
    disks = Disks(lab, bootable=True)
    driver("create", **disks.order(1))
    eventually("it is up", lambda: "ready buttons=" in disks.console())
    driver("told")
    lab("guest", "panic", f"tests/s-{disks.uid[:8]}")
    eventually("it is gone", lambda: driver("look", uid=disks.uid)["absent"])
    assert {reason for _, _, reason in exits(driver)} == {"GuestPanicked"}
