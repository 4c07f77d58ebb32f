from dataclasses import replace

from tests.unit.decide.builders import GIB, node, placed, server

from respawn.decide import hardware, pending
from respawn.model.placement import UNPLACED
from respawn.model.server import Disk, DiskStatus, Nic, Server

SPEC = {
    "cores": 1, "memory": GIB, "networks": (Nic("public", "tenant"),),
    "disks": (Disk("root", "ceph", GIB),),
}  # fmt: skip


def started() -> Server:
    it = server(placement=placed(), spec=SPEC)
    made = (DiskStatus("root", "ceph", "vs-root", GIB),)
    fixed = hardware.for_start(it, node())
    return replace(it, status=replace(it.status, hardware=fixed, disks=made))


def test_what_runs_as_specified_needs_nothing() -> None:
    assert pending.at_next_start(started()) == ()


def test_each_difference_is_told() -> None:
    it = started()
    changed = replace(
        it.spec, cores=2, memory=2 * GIB,
        disks=(Disk("root", "ceph", 2 * GIB), Disk("data", "ceph", GIB)),
        networks=(*it.spec.networks, Nic("private", "lan")),
    )  # fmt: skip
    assert pending.at_next_start(replace(it, spec=changed)) == (
        "cpu.cores 1 -> 2",
        "memory 1Gi -> 2Gi",
        "disk root 1Gi -> 2Gi",
        "disk data of 1Gi is added",
        "network private is added",
    )


def test_what_is_removed_or_changed_is_told() -> None:
    it = started()
    nic = Nic("public", "lan", "52:54:00:AA:BB:CC")
    was = it.status.hardware.nics[0].mac if it.status.hardware else ""
    changed = replace(it.spec, networks=(nic,))
    assert pending.at_next_start(replace(it, spec=changed)) == (
        f"network public macAddress {was} -> 52:54:00:aa:bb:cc",
        "network public bridge tenant -> lan",
    )
    again = hardware.for_start(replace(it, spec=changed), node())
    fresh = replace(it, spec=changed, status=replace(it.status, hardware=again))
    assert pending.at_next_start(fresh) == (), "the next start gives it"
    bare = replace(it.spec, networks=(), disks=())
    assert pending.at_next_start(replace(it, spec=bare)) == (
        "disk root is removed",
        "network public is removed",
    )


def test_a_bridge_that_was_not_recorded_is_no_change() -> None:
    it = started()
    fixed = it.status.hardware
    assert fixed is not None
    old = replace(fixed, nics=tuple(replace(n, bridge="") for n in fixed.nics))
    assert pending.at_next_start(replace(it, status=replace(it.status, hardware=old))) == ()


def test_what_does_not_run_gets_it_all_when_it_starts() -> None:
    it = started()
    off = replace(it, status=replace(it.status, placement=UNPLACED))
    assert pending.at_next_start(replace(off, spec=replace(off.spec, cores=8))) == ()
