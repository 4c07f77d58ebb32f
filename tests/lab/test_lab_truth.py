"""`guest`, `domains` and `writers` see what was planted by hand: they cannot be fooled by us."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from byhand import CLIENT, ByHand, allow_ceph
from labtool import LabTool, eventually, running

from labkit.lab import Lab

pytestmark = pytest.mark.lab
HOSTS = ("host-1", "host-2")
KEPT = "kept"
"""The server that outlives a test."""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabTool]:
    with running("truth", "--hosts", "2", "--operators", "1", "--bare") as tool:
        for host in HOSTS:
            allow_ceph(tool, host)
        yield tool


@pytest.fixture(autouse=True)
def the_machine_is_left_to_the_next(lab: LabTool) -> Iterator[None]:
    """The guests of a test end with it: emulated, each takes a good part of a processor."""
    yield
    for domain in lab.domains():
        if domain["name"] not in (None, KEPT):
            lab("guest", "kill", f"{domain['namespace']}/{domain['name']}")


def writes(lab: LabTool, server: ByHand, more_than: int = 0) -> int:
    """Wait until the guest has acknowledged records beyond MORE_THAN; the last number."""
    return eventually(
        f"{server.name} writes",
        lambda: (seq := lab.guest(server.full_name)["lastSeq"] or 0) > more_than and seq,
    )


def test_a_healthy_guest_has_one_writer_and_nothing_to_complain_of(lab: LabTool) -> None:
    server = ByHand(lab, "healthy", data=True)
    server.start("host-1", epoch=3)
    writes(lab, server, 10)
    (row,) = [d for d in lab.domains() if d["uid"] == server.uid]
    assert (row["host"], row["epoch"], row["state"]) == ("host-1", 3, "running")
    assert (row["namespace"], row["name"], row["domain"]) == ("byhand", "healthy", server.domain(3))
    seen = lab.writers(server.image("data"))
    assert seen["active"] == 1
    assert [w["address"].split(":")[0] for w in seen["watchers"]] == ["198.51.100.11"]
    assert len(seen["lockers"]) == 1
    proof = lab.guest(server.full_name)
    assert len(proof["boots"]) == 1
    assert (proof["lost"], proof["foreign"], proof["pauses"]) == ([], [], [])
    ping = lab.json("ping", server.full_name, "--seconds", "2")
    assert ping["sent"] >= 150 and ping["lost"] == 0


def test_guests_leave_the_machine_to_the_control_plane(lab: LabTool) -> None:
    """Niceness counts only among the processes of a session where the kernel groups by session."""
    server = ByHand(lab, "nice")
    server.start("host-1")
    (guest,) = [d["pid"] for d in lab.domains() if d["uid"] == server.uid]
    assert niceness(guest) == {10}
    for program in ("kube-apiserver", "etcd", "ceph-osd", "libvirtd"):
        found = processes(program)
        assert found and all(niceness(pid) == {-5} for pid in found), program


def processes(program: str) -> list[int]:
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            found += [int(comm.parent.name)] if comm.read_text().strip() == program else []
    return found


def niceness(pid: int) -> set[int]:
    """Its own, and its session's if that has one."""
    session = Path(f"/proc/{pid}/autogroup")
    own = os.getpriority(os.PRIO_PROCESS, pid)
    return {own, int(session.read_text().split()[-1])} if session.exists() else {own}


def test_states_are_told_apart_and_a_paused_one_still_counts_as_a_writer(lab: LabTool) -> None:
    server = ByHand(lab, "paused")
    server.start("host-2")
    seq = writes(lab, server)
    lab.on("host-2", "virsh", "-q", "suspend", server.domain(1))
    state = lambda: {d["uid"]: d["state"] for d in lab.domains()}.get(server.uid)  # noqa: E731
    assert state() == "paused"
    assert lab.writers(server.image("root"))["active"] == 1
    lab("host", "freeze", "host-2")
    assert state() == "frozen"
    assert lab.writers(server.image("root"))["active"] == 1
    lab("host", "thaw", "host-2")
    lab.on("host-2", "virsh", "-q", "resume", server.domain(1))
    writes(lab, server, seq)
    proof = lab.guest(server.full_name)
    assert len(proof["pauses"]) == 1 and proof["pauses"][0]["ms"] > 1000


def test_two_qemus_on_one_image_are_two_active_writers_and_leave_foreign_records(
    lab: LabTool,
) -> None:
    server = ByHand(lab, "twice")
    server.start("host-1", epoch=1)
    writes(lab, server)
    server.start("host-2", epoch=2)
    assert lab.writers(server.image("root"))["active"] == 2
    eventually(
        "the first is seen to write behind the second",
        lambda: lab.guest(server.full_name)["foreign"],
    )
    assert len(lab.guest(server.full_name)["boots"]) == 2
    lab("guest", "kill", server.full_name)
    assert lab.writers(server.image("root"))["active"] == 0


def test_a_record_wiped_from_the_disk_is_lost(lab: LabTool) -> None:
    server = ByHand(lab, "wiped")
    server.start("host-1")
    last = writes(lab, server, 8)
    lab("guest", "kill", server.full_name)
    assert lab.guest(server.full_name)["lost"] == []
    wipe_record(lab, server, last - 5)
    assert lab.guest(server.full_name)["lost"] == [last - 5]


def test_a_blocklisted_host_and_a_blocklisted_nonce_are_no_writers(lab: LabTool) -> None:
    server, other = ByHand(lab, "fenced"), ByHand(lab, "fenced-host")
    for each in (server, other):
        each.start("host-1")
    for each in (server, other):
        writes(lab, each)
    watcher = lab.writers(server.image("root"))["watchers"][0]["address"]
    lab.ceph("ceph", "osd", "blocklist", "add", watcher)
    row = lab.writers(server.image("root"))
    assert row["active"] == 0 and row["qemus"][0]["blocklisted"] is True
    lab("guest", "kill", server.full_name)

    for entry in (("add", "198.51.100.11:0/0"), ("range", "add", "198.51.100.11/32")):
        lab.ceph("ceph", "osd", "blocklist", *entry)
        row = lab.writers(other.image("root"))
        assert row["active"] == 0 and row["qemus"][0]["blocklisted"] is True
        undo = [word.replace("add", "rm") for word in entry]
        lab.ceph("ceph", "osd", "blocklist", *undo)
    assert lab.writers(other.image("root"))["active"] == 1
    lab("guest", "kill", other.full_name)


def test_a_stale_writer_after_an_unfence_is_foreign(lab: LabTool) -> None:
    """What a wrong unfence does: the cut-off QEMU's write is still on its way, and lands."""
    server = ByHand(lab, "stale")
    server.start("host-2", epoch=1)
    writes(lab, server)
    lab("host", "cut", "host-2", "storage")
    lab.ceph("ceph", "osd", "blocklist", "add", "198.51.100.12:0/0")
    break_locks(lab, server)
    server.start("host-1", epoch=2)
    eventually("the second writes", lambda: len(lab.guest(server.full_name)["boots"]) == 2)
    assert lab.writers(server.image("root"))["active"] == 1
    lab.ceph("ceph", "osd", "blocklist", "rm", "198.51.100.12:0/0")
    assert lab.writers(server.image("root"))["active"] == 2
    lab("host", "heal", "host-2", "storage")
    eventually(
        "the first writes behind the second", lambda: lab.guest(server.full_name)["foreign"], 120
    )
    lab("guest", "kill", server.full_name)


def test_a_guest_is_ordered_over_the_tenant_network(lab: LabTool) -> None:
    server = ByHand(lab, "ordered")
    server.start("host-1")
    seq = writes(lab, server)
    lab("guest", "reboot", server.full_name)
    seq = writes(lab, server, seq)
    assert len(lab.guest(server.full_name)["boots"]) == 2
    lab("guest", "panic", server.full_name)
    eventually("a panicked guest's QEMU ends", lambda: not qemus(lab, server))
    server.start("host-1", epoch=2)
    seq = writes(lab, server, seq)
    lab("guest", "poweroff", server.full_name)
    eventually("a guest that is off has no QEMU", lambda: not qemus(lab, server))
    proof = lab.guest(server.full_name)
    assert len(proof["boots"]) == 3 and proof["lost"] == [] and proof["foreign"] == []


def test_the_console_survives_a_power_off(lab: LabTool) -> None:
    server = ByHand(lab, "survivor")
    server.start("host-2")
    last = writes(lab, server, 5)
    lab("host", "power-off", "host-2")
    assert not qemus(lab, server)
    break_locks(lab, server, blocklist="198.51.100.12")
    server.start("host-1", epoch=2)
    eventually("it boots again", lambda: len(lab.guest(server.full_name)["boots"]) == 2)
    proof = lab.guest(server.full_name)
    assert proof["lastSeq"] > last and proof["lost"] == [] and proof["foreign"] == []


def test_what_is_frozen_or_stopped_hides_no_qemu_and_no_question_waits_for_it(
    lab: LabTool,
) -> None:
    server = ByHand(lab, "silence", data=True)
    server.start("host-1")
    writes(lab, server, 5)
    state = lambda: {d["uid"]: d["state"] for d in lab.domains()}[server.uid]  # noqa: E731
    image = server.image("data")

    lab("libvirtd", "freeze", "host-1")
    assert state() == "running"
    assert lab.writers(image)["active"] == 1
    lab("libvirtd", "thaw", "host-1")

    lab("api", "stop")
    assert lab.guest(server.full_name)["lost"] == []
    assert lab.run("guest", "byhand/nobody").returncode == 1  # who knows?
    lab("api", "start")
    assert lab.run("guest", "byhand/nobody").returncode == 2

    lab("ceph", "freeze", "all")
    row = lab.writers(image)
    proof = lab.guest(server.full_name)
    lab("ceph", "thaw", "all")
    assert (row["active"], row["watchers"], row["lockers"]) == (None, None, None)
    assert [(q["role"], q["blocklisted"]) for q in row["qemus"]] == [("active", None)]
    assert len(proof["boots"]) == 1
    assert (proof["lost"], proof["foreign"], proof["lastSeq"]) == (None, None, None)
    assert lab.writers(image)["active"] == 1

    lab("guest", "kill", server.full_name)
    gone = lab.json("ping", server.full_name, "--seconds", "0.5")
    assert gone["sent"] > 0 and gone["lost"] == gone["sent"] and gone["longestGapMs"] == 500


def test_a_qemu_that_nobody_knows_is_told_and_counts(lab: LabTool) -> None:
    server = ByHand(lab, "stranger")
    nested = {"driver": "rbd", "pool": "vms", "image": server.image("root").split("/")[1]}
    nested |= {"user": CLIENT, "conf": "/etc/ceph/ceph.conf", "key-secret": "key"}
    key = lab.ceph("ceph", "auth", "print-key", f"client.{CLIENT}").strip()
    pid = "/run/stranger.pid"
    lab.on(
        *("host-1", "qemu-system-x86_64", "-display", "none", "-daemonize", "-pidfile", pid),
        *("-object", f"secret,id=key,format=base64,data={key}"),
        *("-blockdev", json.dumps({"driver": "raw", "node-name": "n", "file": nested})),
    )
    (row,) = lab.writers(server.image("root"))["qemus"]
    assert (row["host"], row["uid"], row["state"], row["role"]) == (
        *("host-1", None, "running", "active"),
    )
    lab.on("host-1", "sh", "-c", f"kill -9 $(cat {pid})")
    eventually("it is gone", lambda: not lab.writers(server.image("root"))["qemus"])


def qemus(lab: LabTool, server: ByHand) -> list[int]:
    return [d["pid"] for d in lab.domains() if d["uid"] == server.uid]


def break_locks(lab: LabTool, server: ByHand, blocklist: str | None = None) -> None:
    if blocklist:
        lab.ceph("ceph", "osd", "blocklist", "add", f"{blocklist}:0/0")
    for locker in lab.writers(server.image("root"))["lockers"]:
        # without an entry for its nonce: that the stale one may come back is the planted fault
        lab.ceph(
            *("rbd", "--rbd-blocklist-on-break-lock=false", "lock", "rm"),
            *(server.image("root"), locker["cookie"], locker["client"]),
        )
    if blocklist:
        lab.ceph("ceph", "osd", "blocklist", "rm", f"{blocklist}:0/0")


def wipe_record(lab: LabTool, server: ByHand, seq: int) -> None:
    """Overwrite the one sector of a record with zeroes, as a lost write would have left it."""
    for locker in lab.writers(server.image("root"))["lockers"]:
        # the killed QEMU: its watch, which each change of the image would wait for, ends with that
        lab.ceph("ceph", "osd", "blocklist", "add", locker["address"])
    break_locks(lab, server)
    program = f"""
import sys, rados, rbd
sys.path.insert(0, {str(LABKIT)!r})
from labkit import evidence
with rados.Rados(conffile='', rados_id='admin') as c, c.open_ioctx('vms') as x:
    with rbd.Image(x, {server.image("root").split("/")[1]!r}) as image:
        offset, length = evidence.log_place('root', image.size())
        data = image.read(offset, length)
        for at in range(0, length, evidence.SECTOR):
            record = evidence.parse_sector(data[at:at + evidence.SECTOR])
            if record and record.seq == {seq}:
                image.write(bytes(evidence.SECTOR), offset + at)
                sys.exit(0)
sys.exit('no such record')
"""
    lab.ceph("/usr/bin/python3", "-c", program)


LABKIT = __import__("pathlib").Path(__file__).resolve().parents[2] / "hack"


@pytest.fixture(scope="module")
def kept(lab: LabTool) -> ByHand:
    """A server that runs on host-2 and writes."""
    lab("host", "power-on", "host-2")  # a test before may have left it off, and its secret with it
    allow_ceph(lab, "host-2")
    server = ByHand(lab, KEPT)
    server.start("host-2")
    writes(lab, server, 5)
    return server


def test_all_of_ceph_stops_and_starts_and_an_osd_is_killed_and_nothing_is_lost(
    lab: LabTool, kept: ByHand
) -> None:
    server = kept
    lab("ceph", "stop", "all", timeout=300)
    assert {d["state"] for d in lab.json("status")["ceph"]} == {"stopped"}
    lab("ceph", "start", "all")
    states = json.loads(lab.ceph("ceph", "osd", "dump", "-f", "json"))["osds"]
    assert [osd["up"] for osd in states] == [1, 1, 1]
    seq = writes(lab, server, lab.guest(server.full_name)["lastSeq"])
    # gone with its memory: it has to get everything from the others
    Lab.open(lab.name).supervisor.order(op="kill", name="ceph-osd.1")
    writes(lab, server, seq)
    lab("up")
    proof = lab.guest(server.full_name)
    assert (len(proof["boots"]), proof["lost"], proof["foreign"]) == (1, [], [])


def test_a_host_that_shuts_down_ends_its_guests_first(lab: LabTool, kept: ByHand) -> None:
    server = kept
    (qemu,) = [d for d in lab.domains() if d["uid"] == server.uid]
    lab("host", "shutdown", "host-2")
    assert not Path(f"/proc/{qemu['pid']}").exists()
    assert lab.json("status")["hosts"][1]["power"] == "off"
    lab("host", "shutdown", "host-2")
    # it let go of its disk by itself: nobody had to break its lock
    row = lab.writers(server.image("root"))
    assert (row["active"], row["watchers"], row["lockers"]) == (0, [], [])
    lab("host", "power-on", "host-2")
    assert lab.guest(server.full_name)["lost"] == []
