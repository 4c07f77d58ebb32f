"""What a host says of itself."""

from __future__ import annotations

import pytest
from byhand import SECRET, allow_ceph
from hosttool import Disks, Driver, driver_on
from labtool import LabTool

from labkit.lab import Lab

pytestmark = pytest.mark.lab


def test_identity_is_the_labs_and_follows_a_reboot_of_the_same_machine(lab: LabTool) -> None:
    def identity() -> dict[str, object]:
        with driver_on(lab, "host-2") as driver:
            return dict(driver("identity"))

    before = identity()
    state = Lab.open(lab.name).state.hosts["host-2"]
    assert before == {
        "node": "host-2", "machine_id": state.machine_id, "boot_id": state.boot_id,
        "storage": ["198.51.100.12"],
    }  # fmt: skip
    lab("host", "power-cycle", "host-2")
    after = identity()
    assert after["machine_id"] == before["machine_id"] and after["boot_id"] != before["boot_id"]


def test_identity_needs_no_libvirt_once_it_is_known(lab: LabTool) -> None:
    with driver_on(lab, "host-2") as driver:
        known = driver("identity")
    lab("libvirtd", "stop", "host-2")
    try:
        with driver_on(lab, "host-2") as driver:
            assert driver("identity") == known
            assert driver.ms < 200
    finally:
        lab("libvirtd", "start", "host-2")


def test_capacity_is_measured(driver: Driver) -> None:
    found = driver("capacity")
    assert found["machine"] == "pc-q35-7.2" and found["cpu_model"] == "qemu64"
    assert found["memory"] > 1 << 30 and found["cores"] >= 1


def test_foreign_domains_count_and_foreign_writers_are_seen(
    lab: LabTool, driver: Driver, guest: Disks
) -> None:
    """A QEMU with an image of a pool is found whoever started it, libvirt or not."""
    allow_ceph(lab, "host-1")
    assert driver("capacity")["foreign"] == 0
    assert driver("pool_processes") == driver("look", uid=guest.uid)["processes"]
    stray = Disks(lab)
    lab.on(
        "host-1", "sh", "-c",
        "qemu-system-x86_64 -accel tcg -display none -nodefaults -S -m 64 -daemonize"
        " -pidfile /run/stray -drive"
        f" file=rbd:{stray.image('root')}:id=host-1,format=raw,if=virtio",
    )  # fmt: skip
    pid = int(lab.on("host-1", "cat", "/run/stray"))
    try:
        assert pid in driver("pool_processes")
        assert driver("capacity")["foreign"] >= 64 << 20
    finally:
        lab.on("host-1", "kill", "-9", str(pid))


def test_the_key_that_is_lent_to_libvirt_cannot_be_read_back(
    lab: LabTool, driver: Driver, guest: Disks
) -> None:
    secrets = lab.on("host-1", "virsh", "-q", "secret-list")
    ours = next(line.split()[0] for line in secrets.splitlines() if "respawn client" in line)
    assert ours != SECRET
    done = lab.run("host", "exec", "host-1", "--", "virsh", "secret-get-value", ours)
    assert done.returncode != 0 and "private" in done.stderr
