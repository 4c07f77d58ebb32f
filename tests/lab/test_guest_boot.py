"""The golden image on plain QEMU: boots, writes, answers, stops, and its evidence tells the truth.

Everything lives in a network namespace made here: a bridge, a DHCP server, one tap per machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labkit.evidence import ConsoleLine, Evidence, evidence, parse_acks, parse_sector, read_log
from labkit.guest import build

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace"),
]

HACK = Path(build.__file__).parents[2]
PATIENCE_S = 90.0  # far above what a boot takes on a loaded machine


def wait_for(what: str, seen: Callable[[], Any]) -> Any:
    """Poll SEEN until it is true; an outcome outside this process has no better signal."""
    give_up = time.monotonic() + PATIENCE_S
    while not (value := seen()):
        assert time.monotonic() < give_up, f"{what} did not come"
        time.sleep(0.02)
    return value


class Network:
    """A namespace with bridge and DHCP: machine N has MAC ...:0N and address 10.40.0.N."""

    def __init__(self, cleanup: ExitStack, folder: Path) -> None:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        cleanup.callback(stop, holder)
        self.inside = ["nsenter", "-t", str(holder.pid), "-n"]
        here = os.readlink("/proc/self/ns/net")
        wait_for("namespace", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != here)
        self.run("ip link add br-ten type bridge forward_delay 0")
        self.run("ip addr add 10.40.0.254/24 dev br-ten")
        self.run("ip link set br-ten up")
        hosts = [f"--dhcp-host=52:54:00:40:00:0{n},10.40.0.{n}" for n in range(1, 10)]
        options = "--keep-in-foreground --conf-file=/dev/null --port=0 --interface=br-ten"
        range_ = "--dhcp-range=10.40.0.0,static --leasefile-ro --no-ping --user=root"
        files = f"--pid-file={folder}/pid --log-facility={folder}/log"
        command = [*self.inside, "dnsmasq", *f"{options} {range_} {files}".split(), *hosts]
        cleanup.callback(stop, subprocess.Popen(command))

    def run(self, command: str) -> None:
        subprocess.run([*self.inside, *command.split()], check=True)

    def tool(self, module: str, *arguments: str) -> dict[str, Any]:
        """The JSON that `python -m MODULE` prints when run on this network."""
        command = [*self.inside, sys.executable, "-m", module, *arguments]
        env = os.environ | {"PYTHONPATH": str(HACK)}
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


class Machine:
    """One QEMU, and a collector that stamps its console as lines come."""

    def __init__(self, network: Network, number: int, folder: Path, disks: dict[str, Path]) -> None:
        self.network, self.address = network, f"10.40.0.{number}"
        self.uuid = f"00000000-0000-4000-8000-{number:012x}"
        self.console, self.qmp = folder / f"console-{number}", folder / f"qmp-{number}"
        self.lines: list[ConsoleLine] = []
        self.console.touch()
        tap = f"tap{number}"
        network.run(f"ip tuntap add {tap} mode tap")
        network.run(f"ip link set {tap} master br-ten up")
        command = (
            "nice -n 10 qemu-system-x86_64 -nodefaults -no-user-config -display none"
            " -machine pc-q35-7.2,accel=tcg -cpu qemu64 -m 128 -smp 1 -action panic=pause"
            f" -uuid {self.uuid} -qmp unix:{self.qmp},server=on,wait=off -device pvpanic"
            f" -chardev file,id=c,path={self.console},append=on -serial chardev:c"
            f" -netdev tap,id=n,ifname={tap},script=no,downscript=no"
            f" -device virtio-net-pci,netdev=n,mac=52:54:00:40:00:0{number},romfile="
        )
        for index, (serial, path) in enumerate(disks.items()):
            command += (
                f" -drive file={path},format=raw,if=none,id=d{index},cache=none,file.locking=off"
                f" -device virtio-blk-pci,drive=d{index},serial={serial},bootindex={index}"
            )
        self.started = time.monotonic()
        self.process = subprocess.Popen([*network.inside, *command.split()])
        self.closing = threading.Event()
        self.collector = threading.Thread(target=self.collect)
        self.collector.start()

    def close(self) -> None:
        stop(self.process)
        self.closing.set()
        self.collector.join()

    def collect(self) -> None:
        with self.console.open("rb") as file:
            rest = b""
            while not self.closing.wait(0.01):
                *whole, rest = (rest + file.read()).split(b"\n")
                now = datetime.now(UTC)
                self.lines += [
                    ConsoleLine(now, "host-1", w.decode("ascii", "replace")) for w in whole
                ]

    def acks(self) -> list[int]:
        return [ack.seq for ack in parse_acks(self.lines)]

    def wait_acks(self, count: int) -> None:
        wanted = len(self.acks()) + count
        wait_for(f"acknowledgement {wanted}", lambda: len(self.acks()) >= wanted)

    def wait_line(self, pattern: str) -> str:
        def seen() -> str | None:
            return next((ln.text for ln in self.lines if re.search(pattern, ln.text)), None)

        return str(wait_for(pattern, seen))

    def order(self, what: str) -> dict[str, Any]:
        return self.network.tool("labkit.guestctl", self.address, what, "--timeout", "60")

    def qmp_session(self) -> socket.socket:
        session = socket.socket(socket.AF_UNIX)
        session.settimeout(PATIENCE_S)
        session.connect(str(self.qmp))
        session.sendall(b'{"execute": "qmp_capabilities"}')
        return session


def wait_event(session: socket.socket, event: str) -> dict[str, Any]:
    for line in session.makefile():
        message: dict[str, Any] = json.loads(line)
        if message.get("event") == event:
            return message
    raise AssertionError(f"QEMU ended without {event}")


@pytest.fixture(scope="session")
def golden() -> Path:
    return build.ensure()


def test_the_same_sources_give_the_same_bytes(golden: Path, tmp_path: Path) -> None:
    (package,) = (build.DEFAULT_CACHE / "kernels").glob(
        f"{golden.parent.name.split('-', 1)[1]}.deb"
    )
    again = build.build(package, tmp_path / "again", print)
    assert again.read_bytes() == golden.read_bytes()


Start = Callable[..., Machine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as cleanup:
        network = Network(cleanup, tmp_path)

        def starter(number: int, **disks: Path) -> Machine:
            machine = Machine(network, number, tmp_path, disks)
            cleanup.callback(machine.close)
            return machine

        yield starter


@pytest.fixture
def root(golden: Path, tmp_path: Path) -> Path:
    disk = tmp_path / "root.raw"
    shutil.copyfile(golden, disk)
    os.truncate(disk, 128 << 20)
    return disk


def proof(disk: str, path: Path, *machines: Machine) -> Evidence:
    """Consoles first, then the disk, as the reader asks for."""
    lines = [line for machine in machines for line in list(machine.lines)]
    with path.open("rb") as file:
        records = read_log(
            lambda at, n: os.pread(file.fileno(), n, at), disk=disk, size=path.stat().st_size
        )
    return evidence(lines, records, disk=disk)


def wipe(path: Path, seq: int) -> None:
    disk = bytearray(path.read_bytes())
    found = [
        at
        for at in range(0, len(disk), 512)
        if (record := parse_sector(bytes(disk[at : at + 512]))) and record.seq == seq
    ]
    assert len(found) == 1
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(512), found[0])


def test_writes_answers_reboots_and_powers_off(start: Start, root: Path) -> None:
    machine = start(1, root=root)
    wait_for("first acknowledgement", machine.acks)
    print(f"first acknowledgement after {time.monotonic() - machine.started:.2f} s")
    assert machine.order("status")["server"] == machine.uuid
    machine.wait_line(rf"^net {machine.address} up ")
    pinged = machine.network.tool("labkit.pinger", machine.address, "2")
    assert pinged["sent"] > 100
    assert pinged["lost"] < pinged["sent"] / 2

    before = len(machine.acks())
    machine.order("reboot")
    machine.wait_acks(10)
    proved = proof("root", root, machine)
    assert len(proved["boots"] or []) == 2
    assert (proved["lost"], proved["foreign"]) == ([], [])
    assert machine.acks() == sorted(set(machine.acks()))
    assert (proved["lastSeq"] or 0) >= before + 10

    machine.order("poweroff")
    assert machine.process.wait(PATIENCE_S) == 0
    assert proof("root", root, machine)["lost"] == []
    wipe(root, 5)
    assert proof("root", root, machine)["lost"] == [5]


def test_disk_data_is_written_instead_of_root_and_the_power_button_obeyed(
    start: Start, root: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.raw"
    data.touch()
    os.truncate(data, 1 << 20)
    machine = start(2, root=root, data=data)
    machine.wait_line(r"^ready buttons=[1-9]")
    machine.wait_acks(10)
    with machine.qmp_session() as session:
        session.sendall(b'{"execute": "system_powerdown"}')
        assert wait_event(session, "SHUTDOWN")["data"]["guest"] is True
    assert machine.process.wait(PATIENCE_S) == 0
    machine.wait_line(r"^stop acpi ")
    proved = proof("data", data, machine)
    assert (proved["lost"], proved["foreign"], len(proved["boots"] or [])) == ([], [], 1)
    assert proof("root", root, machine)["lastSeq"] == 0


def test_a_panic_is_told_to_the_hypervisor(start: Start, root: Path) -> None:
    machine = start(3, root=root)
    machine.wait_line(r"^ready ")
    with machine.qmp_session() as session:
        machine.order("panic")
        wait_event(session, "GUEST_PANICKED")
    assert proof("root", root, machine)["lost"] == []


def test_two_machines_on_one_image_are_foreign_to_each_other(start: Start, root: Path) -> None:
    stale = start(4, root=root)
    stale.wait_acks(10)
    assert proof("root", root, stale)["foreign"] == []
    owner = start(5, root=root)
    owner.wait_acks(10)
    stale.wait_acks(5)
    proved = proof("root", root, stale, owner)
    assert {found["writer"].split("/")[0] for found in proved["foreign"] or []} == {stale.uuid}
    assert len(proved["foreign"] or []) >= 5
    assert proved["lost"] == []  # each wrote where the other did not: both stories are whole


def test_a_machine_that_stood_still_shows_a_pause(start: Start, root: Path) -> None:
    machine = start(6, root=root)
    machine.wait_acks(10)
    machine.process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)  # the length of the pause is what is planted here
    machine.process.send_signal(signal.SIGCONT)
    machine.wait_acks(5)
    pauses = proof("root", root, machine)["pauses"] or []
    assert max(pause["ms"] for pause in pauses) >= 2000
