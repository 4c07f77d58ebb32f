"""The hook on a real libvirtd: what it refuses, what it lets pass, and that it never does harm."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from byhand import SECRET, allow_ceph
from hosttool import PYTHON, Disks, Driver, driver_on
from labtool import LabTool, eventually

pytestmark = pytest.mark.lab
HOST = "host-1"


@pytest.fixture
def bare(lab: LabTool) -> LabTool:
    """A host whose agent does not run."""
    allow_ceph(lab, HOST)
    return lab


def foreign(lab: LabTool, disk: str = "", *, name: str = "somebody", extra: str = "") -> str:
    return f"""<domain type='qemu'><name>{name}</name><uuid>{uuid.uuid4()}</uuid>
<memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disk}
<memballoon model='none'/><controller type='usb' model='none'/></devices>{extra}</domain>"""


def rbd_disk(image: str) -> str:
    return f"""<disk type='network' device='disk'><driver name='qemu' type='raw'/>
<auth username='{HOST}'><secret type='ceph' uuid='{SECRET}'/></auth>
<source protocol='rbd' name='{image}'><host name='198.51.100.1' port='3300'/></source>
<target dev='vda' bus='virtio'/></disk>"""


def virsh(lab: LabTool, *words: str, xml: str = "") -> subprocess.CompletedProcess[str]:
    return lab.run("host", "exec", HOST, "--", "virsh", "-q", *words, stdin=xml)


def create(lab: LabTool, xml: str) -> subprocess.CompletedProcess[str]:
    return virsh(lab, "create", "/dev/stdin", xml=xml)


def usable(lab: LabTool) -> None:
    """libvirtd answers a list at once."""
    begun = time.monotonic()
    assert virsh(lab, "list", "--all").returncode == 0
    assert time.monotonic() - begun < 2


def test_with_no_agent_a_foreign_domain_starts_and_ours_does_not(bare: LabTool) -> None:
    disks = Disks(bare)
    done = create(bare, foreign(bare))
    assert done.returncode == 0, done.stderr
    virsh(bare, "destroy", "somebody")
    done = create(bare, foreign(bare, rbd_disk(disks.image("root"))))
    assert done.returncode != 0 and "a disk of Respawn" in done.stderr, done.stderr
    assert disks.row() is None
    usable(bare)


def test_with_no_agent_a_start_of_a_defined_domain_with_our_image_is_refused(
    bare: LabTool,
) -> None:
    disks = Disks(bare)
    xml = foreign(bare, rbd_disk(disks.image("root")), name="defined")
    assert virsh(bare, "define", "/dev/stdin", xml=xml).returncode == 0
    try:
        done = virsh(bare, "start", "defined")
        assert done.returncode != 0 and "Respawn: it names" in done.stderr
    finally:
        virsh(bare, "undefine", "defined")


def test_another_image_in_our_pool_is_refused_too(bare: LabTool) -> None:
    bare.ceph("rbd", "create", "--size", "16M", "vms/not-a-server")
    done = create(bare, foreign(bare, rbd_disk("vms/not-a-server")))
    assert done.returncode != 0 and "in a pool of Respawn" in done.stderr
    bare.ceph("rbd", "rm", "--no-progress", "vms/not-a-server")


def test_an_image_hidden_in_qemu_arguments_is_seen(bare: LabTool) -> None:
    disks = Disks(bare)
    hidden = f"""<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<qemu:arg value='-drive'/><qemu:arg value='file=rbd:{disks.image("root")}:id={HOST},if=none'/>
</qemu:commandline>"""
    done = create(bare, foreign(bare, extra=hidden))
    assert done.returncode != 0 and "a disk of Respawn" in done.stderr
    assert disks.row() is None


def test_with_an_agent_xml_that_lies_about_itself_is_refused(lab: LabTool) -> None:
    allow_ceph(lab, HOST)
    with driver_on(lab, HOST) as driver:
        mine, other = Disks(lab), Disks(lab)
        xml = driver("xml", **mine.order(1))
        lies = {
            "without being ours": re.sub(r"<metadata>.*?</metadata>", "", xml, flags=re.S),
            "is no disk of server": xml.replace(mine.image("root"), other.image("root")),
            "is not the server's": xml.replace(
                f"<uuid>{mine.uid}</uuid>", f"<uuid>{uuid.uuid4()}</uuid>"
            ).replace(f'<entry name="uuid">{mine.uid}</entry>', ""),
            "is not that of epoch": xml.replace(f"{mine.domain(1)}<", f"{mine.domain(2)}<"),
        }
        for reason, lie in lies.items():
            done = create(lab, lie)
            assert done.returncode != 0 and reason in done.stderr, (reason, done.stderr)
        assert driver("told")["asked"] == []
        assert mine.row() is None and other.row() is None


@contextmanager
def running_guest(lab: LabTool, driver: Driver) -> Iterator[Disks]:
    disks = Disks(lab)
    driver("create", **disks.order(1))
    try:
        yield disks
    finally:
        driver("kill", **disks.of(1))


def test_an_epoch_is_admitted_once(lab: LabTool) -> None:
    with driver_on(lab, HOST) as driver:
        disks = Disks(lab)
        driver("create", **disks.order(1))
        xml = driver("xml", **disks.order(1))
        driver("kill", **disks.of(1))
        done = create(lab, xml)
        assert done.returncode != 0 and "admitted before" in done.stderr


@pytest.mark.parametrize("mode", ["no", "crash"])
def test_an_agent_that_refuses_or_fails_is_a_no(lab: LabTool, mode: str) -> None:
    with driver_on(lab, HOST) as driver:
        driver("set_guard", mode=mode)
        disks = Disks(lab)
        done = create(lab, driver("xml", **disks.order(1)))
        assert done.returncode != 0 and "Respawn: " in done.stderr
        assert ("planted" if mode == "crash" else "the test says no") in done.stderr


def test_an_agent_that_stands_still_is_a_no_within_3_s_and_libvirtd_is_free_again(
    lab: LabTool,
) -> None:
    with driver_on(lab, HOST) as driver, running_guest(lab, driver):
        disks = Disks(lab)
        xml = driver("xml", **disks.order(1))
        frozen = driver.begin("block", seconds=6.0)
        begun = time.monotonic()
        done = create(lab, xml)
        spent = time.monotonic() - begun
        print(f"refused after {spent:.2f} s")
        assert done.returncode != 0 and "no answer within" in done.stderr
        assert 2.5 < spent < 4.0  # 3 s, and virsh itself
        assert not frozen.done()
        usable(lab)
        driver.end(frozen)
        assert disks.row() is None


def test_an_agent_that_was_killed_is_a_no_at_once(lab: LabTool) -> None:
    with driver_on(lab, HOST) as driver:
        disks = Disks(lab)
        xml = driver("xml", **disks.order(1))
    # what a killed agent leaves: a socket that nobody listens to
    leave = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/respawn/agent.sock')"
    lab.on(HOST, PYTHON, "-c", leave)
    begun = time.monotonic()
    done = create(lab, xml)
    assert done.returncode != 0 and "its agent cannot be asked" in done.stderr
    assert time.monotonic() - begun < 2
    lab.on(HOST, "rm", "/run/respawn/agent.sock")


def pid(disks: Disks) -> int:
    row = disks.row()
    assert row is not None
    return int(row["pid"])


@contextmanager
def hook_replaced(lab: LabTool, by: str) -> Iterator[None]:
    path = "/etc/libvirt/hooks/qemu"
    lab.on(HOST, "cp", "-p", path, "/run/hook.kept")
    lab.on(HOST, "sh", "-c", by.format(path=path))
    try:
        yield
    finally:
        lab.on(HOST, "cp", "-p", "/run/hook.kept", path)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("true", id="hook as installed, no agent"),
        pytest.param(
            "sed -i 's,/usr/bin/python3,/nowhere/python3,' {path}", id="no Python on the host"
        ),
        pytest.param("sed -i 's/^import sys/import nothing/' {path}", id="Python part broken"),
    ],
)
def test_a_restarted_libvirtd_keeps_the_same_qemu_whatever_became_of_the_hook(
    lab: LabTool, broken: str
) -> None:
    with driver_on(lab, HOST) as driver:
        disks = Disks(lab)
        driver("create", **disks.order(1))
    before = pid(disks)
    with hook_replaced(lab, broken):
        lab("libvirtd", "stop", HOST)
        lab("libvirtd", "start", HOST)
        state = lambda: virsh(lab, "domstate", disks.domain(1)).stdout.strip()  # noqa: E731
        eventually("libvirt knows it again", lambda: state() == "running")
        assert pid(disks) == before
    with driver_on(lab, HOST) as driver:
        driver("kill", **disks.of(1))


def test_a_libvirtd_killed_and_restarted_keeps_it_too_and_events_come_again(lab: LabTool) -> None:
    with driver_on(lab, HOST) as driver, running_guest(lab, driver) as disks:
        before = pid(disks)
        driver("told")
        lab("libvirtd", "kill", HOST)
        eventually(
            "events are listened to again",
            lambda: any(e["what"] == "connected" for e in driver("told")["events"]),
        )
        assert pid(disks) == before
        assert driver("look", uid=disks.uid)["state"] == "running"


def test_what_the_hook_costs(lab: LabTool) -> None:
    """One round trip with a running agent, and what every other operation costs."""
    program = """
import subprocess, sys, time
xml = open(sys.argv[1], 'rb').read()
for operation in ('prepare', 'reconnect'):
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        done = subprocess.run(['/etc/libvirt/hooks/qemu', 'x', operation, 'begin', '-'], input=xml)
        took.append((time.perf_counter() - begun) * 1000)
    took.sort()
    print(operation, done.returncode, f'median {took[10]:.1f} ms, max {took[-1]:.1f} ms')
"""
    with driver_on(lab, HOST) as driver:
        disks = Disks(lab)
        lab.on(HOST, "tee", "/run/question.xml", stdin=driver("xml", **disks.order(1)))
        said = lab.on(HOST, "/usr/bin/python3", "-c", program, "/run/question.xml")
        print(said)
        assert [line.split()[:2] for line in said.splitlines()] == [
            ["prepare", "1"],  # the first was admitted, the next of that epoch were not
            ["reconnect", "0"],
        ]
        assert len(driver("told")["asked"]) == 20
