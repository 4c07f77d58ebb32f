"""QEMU processes: command lines as libvirt and people write them, and the ends of real ones."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from respawn.adapters.libvirt.processes import Command, Processes, Qemu, parse_command

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
# taken from a running domain of libvirt 9.0
BY_LIBVIRT = [
    "/usr/bin/qemu-system-x86_64",
    *("-name", f"guest=vs-{UID}.7,debug-threads=on", "-S"),
    *("-machine", "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram"),
    *("-m", "size=131072k", "-uuid", UID, "-no-user-config", "-nodefaults"),
    "-blockdev",
    '{"driver":"rbd","pool":"vms","image":"vs-8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01-root","server"'
    ':[{"host":"198.51.100.1","port":"3300"}],"user":"host-1","auth-client-required":["cephx",'
    '"none"],"key-secret":"libvirt-3-storage-auth-secret0","node-name":"libvirt-3-storage"}',
    *("-device", '{"driver":"virtio-blk-pci","bus":"pci.2","drive":"libvirt-3-format"}'),
]


def parsed(*argv: str) -> Command:
    command = parse_command(argv)
    assert command is not None
    return command


def test_a_domain_of_ours() -> None:
    command = parsed(*BY_LIBVIRT)
    assert command == Command(UID, f"vs-{UID}.7", (f"vms/vs-{UID}-root",), 128 << 20, False)
    assert command.incarnation == (UID, 7)
    assert command.pools == {"vms"}


def test_a_name_of_ours_with_another_uuid_is_not_ours() -> None:
    argv = [UID.replace("8", "9") if word == UID else word for word in BY_LIBVIRT]
    assert parsed(*argv).incarnation is None


@pytest.mark.parametrize(
    "words",
    [
        ("-drive", "file=rbd:vms/some-image:id=admin:key=secret,format=raw"),
        ("-drive", "format=raw,file.driver=rbd,driver=rbd,pool=vms,image=some-image"),
        ("-drive", "format=raw,file.driver=rbd,file.pool=vms,file.image=some-image"),
        (
            "-blockdev",
            '{"driver":"quorum","children":[{"driver":"rbd","pool":"vms","image":"some-image"}]}',
        ),
        ("-hda", "rbd:vms/some-image@snap"),
        ("-blockdev", '{"driver":"raw","file":{"driver":"rbd","pool":"vms","image":"some-image"}}'),
    ],
)
def test_an_image_is_seen_however_it_is_attached(words: tuple[str, ...]) -> None:
    assert parsed("qemu-system-x86_64", *words).images == ("vms/some-image",)


@pytest.mark.parametrize(
    "words", [("-uuid", UID.upper()), ("--uuid", UID), ("-uuid", UID.replace("-", ""))]
)
def test_a_uuid_is_read_however_it_is_written(words: tuple[str, ...]) -> None:
    """As a person may, past libvirt, with whatever QEMU takes: a look goes by it."""
    assert parsed("qemu-system-x86_64", *words).uid == UID


def test_a_uuid_that_is_none_is_none() -> None:
    assert parsed("qemu-system-x86_64", "-uuid", "rubbish").uid is None


def test_tools_that_write_images_count_and_other_programs_do_not() -> None:
    assert parsed("qemu-img", "convert", "a.raw", "rbd:vms/x").images == ("vms/x",)
    assert parsed("/usr/bin/kvm", "-name", "old").domain == "old"
    assert parse_command(["/usr/bin/rbd", "import", "rbd:vms/x"]) is None
    assert parse_command([]) is None


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512 << 20), ("2G", 2 << 30), ("size=4096k,slots=2", 4 << 20)]
)
def test_memory(text: str, size: int) -> None:
    assert parsed("qemu-system-x86_64", "-m", text).memory == size


def test_json_that_is_none_is_passed_over() -> None:
    assert parsed("qemu-system-x86_64", "-device", "{not json", "-S").images == ()


# Real processes: Python under the name and with the arguments of a QEMU.

LOOP = "import signal, time, sys\n{}\nprint('up', flush=True)\ntime.sleep(60)"
OBEYS, IGNORES = "", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Fake:
    """A process that /proc shows as our QEMU of one epoch."""

    def __init__(self, epoch: int = 1, *, body: str = OBEYS, keep: tuple[int, ...] = ()) -> None:
        arguments = ["-name", f"guest=vs-{UID}.{epoch}", "-uuid", UID]
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-c", LOOP.format(body), *arguments],
            executable=sys.executable, stdout=subprocess.PIPE, text=True, pass_fds=keep,
        )  # fmt: skip
        assert self.process.stdout is not None and self.process.stdout.readline() == "up\n"
        self.pid = self.process.pid

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def fakes() -> Iterator[list[Fake]]:
    made: list[Fake] = []
    yield made
    for fake in made:
        fake.close()


def epoch(number: int) -> "object":
    return lambda qemu: qemu.command.incarnation == (UID, number)


async def end(pid: int, number: int, patience: float = 5) -> float:
    begun = time.monotonic()
    await Processes().end(pid, epoch(number), patience=patience, deadline=10)  # type: ignore[arg-type]
    return time.monotonic() - begun


def test_scan_finds_it_and_its_state(fakes: list[Fake]) -> None:
    fakes += [Fake(4)]
    processes = Processes()
    found = {q.pid: q for q in processes.scan()}[fakes[0].pid]
    assert found.command.incarnation == (UID, 4) and not found.stopped
    fakes[0].process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while not (again := processes.read(fakes[0].pid)) or not again.stopped:
        assert time.monotonic() < deadline
    assert again.started == found.started and found.started.microsecond % 1000 == 0


def test_sockets_of_our_qemus_and_of_this_process(fakes: list[Fake]) -> None:
    def inode(it: socket.socket) -> int:
        return os.fstat(it.fileno()).st_ino

    with socket.socket() as mine, socket.socket() as theirs:
        of_mine, of_theirs = inode(mine), inode(theirs)
        fakes += [Fake(4, keep=(theirs.fileno(),))]
        assert {of_mine, of_theirs} <= Processes().ceph_sockets()
    assert {of_mine, of_theirs} & Processes().ceph_sockets() == {of_theirs}
    fakes[0].close()
    assert of_theirs not in Processes().ceph_sockets()


def test_end_by_sigterm(fakes: list[Fake]) -> None:
    fakes += [Fake(1)]
    assert asyncio.run(end(fakes[0].pid, 1)) < 4
    assert fakes[0].process.wait(1) == -signal.SIGTERM


def test_end_by_sigkill_when_it_does_not_obey(fakes: list[Fake]) -> None:
    fakes += [Fake(1, body=IGNORES)]
    assert 0.3 <= asyncio.run(end(fakes[0].pid, 1, patience=0.3)) < 5
    assert fakes[0].process.wait(1) == -signal.SIGKILL


def test_a_stopped_one_is_not_waited_for(fakes: list[Fake]) -> None:
    fakes += [Fake(1)]
    fakes[0].process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, fakes[0].pid, os.WSTOPPED | os.WNOWAIT)  # the signal has arrived
    assert asyncio.run(end(fakes[0].pid, 1, patience=30)) < 5
    assert fakes[0].process.wait(1) == -signal.SIGKILL


def test_another_incarnation_is_never_touched(fakes: list[Fake]) -> None:
    fakes += [Fake(2)]
    asyncio.run(end(fakes[0].pid, 1))
    assert fakes[0].process.poll() is None


def test_what_is_gone_is_done() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    asyncio.run(end(gone.pid, 1))


def test_calls_that_wait_share_a_scan_that_began_after_them() -> None:
    class Counted(Processes):
        scans = 0

        def scan(self) -> tuple[Qemu, ...]:
            self.scans += 1
            time.sleep(0.05)
            return ()

    async def many() -> int:
        processes = Counted()
        first = asyncio.create_task(processes.fresh())
        await asyncio.sleep(0.02)  # the first scan is under way: what comes now needs another
        await asyncio.gather(first, *(processes.fresh() for _ in range(50)))
        return processes.scans

    assert asyncio.run(many()) == 2


def test_a_dead_leader_with_a_living_thread_still_tells_who_it_is(tmp_path: Path) -> None:
    """/proc/PID/cmdline is empty then; that of the thread is not."""
    folder = tmp_path / "77"
    (folder / "task" / "78").mkdir(parents=True)
    (folder / "task" / "77").mkdir()
    line = b"\0".join(word.encode() for word in BY_LIBVIRT) + b"\0"
    (folder / "comm").write_text("qemu-system-x86\n")
    (folder / "cmdline").write_bytes(b"")
    (folder / "task/77/cmdline").write_bytes(b"")
    (folder / "task/78/cmdline").write_bytes(line)
    (folder / "stat").write_text("77 (qemu) Z " + "0 " * 18 + "100 0")
    (tmp_path / "uptime").write_text("1000.0 0.0")
    (qemu,) = Processes(tmp_path).scan()
    assert qemu.command.incarnation == (UID, 7)


def test_a_qemu_whose_leader_is_dead_lives_as_long_as_a_thread_does(tmp_path: Path) -> None:
    """Its threads end one by one: one that is gone between two looks does not hide the others."""
    (tmp_path / "uptime").write_text("1000.0 1.0\n")
    process = tmp_path / "7"
    for thread in ("7", "8", "9"):
        (process / "task" / thread).mkdir(parents=True)
    (process / "cmdline").write_bytes(b"")
    (process / "comm").write_bytes(b"qemu-system-x86\n")
    (process / "stat").write_text("7 (qemu-system-x86) Z " + " ".join(["0"] * 18 + ["5000"]))
    (process / "task" / "7" / "cmdline").write_bytes(b"")
    line = "\0".join(BY_LIBVIRT).encode() + b"\0"
    (process / "task" / "9" / "cmdline").write_bytes(line)
    (found,) = Processes(tmp_path).scan()  # thread 8 has just gone
    assert found.command.incarnation == (UID, 7)
    (process / "task" / "9" / "cmdline").write_bytes(b"")
    assert not Processes(tmp_path).scan(), "all of it is dead"
