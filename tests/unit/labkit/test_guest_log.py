"""The guest's own log code, compiled for this machine, against the reader in evidence.py."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labkit import evidence, guestctl
from labkit.evidence import LOG_EXTENT, ConsoleLine, Record, read_log
from labkit.guest import build

SERVER = "11111111-2222-4333-8444-555555555555"
OFFSET, EXTENTS = 0, 16
SLOTS = LOG_EXTENT // 512

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("guest") / "init"
    build.compile_init(program)
    return program


class Disk:
    """A file disk that boots append to, and what their consoles said."""

    def __init__(self, init: Path, path: Path) -> None:
        self.init = init
        self.path = path
        self.console: list[ConsoleLine] = []
        path.write_bytes(bytes(EXTENTS * LOG_EXTENT))

    def command(self, boot: int, count: int) -> list[str]:
        size = str(EXTENTS * LOG_EXTENT)
        place = [str(self.path), str(OFFSET), size, str(count)]
        return [str(self.init), "append", *place, SERVER, f"{boot:016x}", "data"]

    def append(self, boot: int, count: int) -> None:
        done = subprocess.run(self.command(boot, count), capture_output=True, text=True, check=True)
        self.heard(done.stdout)

    def heard(self, output: str) -> None:
        at = datetime.now(UTC)
        self.console += [ConsoleLine(at, "host-1", line) for line in output.splitlines()]

    def records(self) -> list[Record]:
        disk = self.path.read_bytes()
        return read_log(lambda at, size: disk[at : at + size], disk="data", size=len(disk))

    def evidence(self) -> evidence.Evidence:
        return evidence.evidence(self.console, self.records(), disk="data")

    def wipe(self, boot: int, seq: int) -> None:
        """Plant a loss: the record is there as if it had never been written."""
        disk = bytearray(self.path.read_bytes())
        for at in range(0, len(disk), 512):
            record = evidence.parse_sector(bytes(disk[at : at + 512]))
            if record and (record.boot, record.seq) == (f"{boot:016x}", seq):
                disk[at : at + 512] = bytes(512)
                self.path.write_bytes(disk)
                return
        raise AssertionError(f"no record {seq} to wipe")


@pytest.fixture
def disk(init: Path, tmp_path: Path) -> Iterator[Disk]:
    yield Disk(init, tmp_path / "disk")


def test_constants_agree_with_the_guests() -> None:
    header = (build.SOURCES / "guest.h").read_text()
    defined = {name: int(value) for name, value in re.findall(r"#define (\w+) (\d+)", header)}
    assert {name: defined[name] for name in ("LOG_SECTOR", "CONTROL_PORT")} == {
        "LOG_SECTOR": evidence.SECTOR,
        "CONTROL_PORT": guestctl.CONTROL_PORT,
    }
    for name in ("LOG_EXTENT", "LOG_BYTES", "LOG_MIN_BYTES", "LOG_ROOT_OFFSET"):
        assert defined[name] == getattr(evidence, name), name
    assert evidence.PAUSE.total_seconds() * 1000 >= 4 * defined["WRITE_PERIOD_MS"]


def test_numbers_go_on_over_boots(disk: Disk) -> None:
    disk.append(0xA, 5)
    disk.append(0xB, 300)
    disk.append(0xC, 2)
    found = sorted(disk.records(), key=lambda r: r.seq)
    assert [r.seq for r in found] == list(range(1, 308))
    assert {(r.boot[-1], r.nth, r.first, r.server) for r in found} == {
        ("a", 1, 1, SERVER),
        ("b", 2, 6, SERVER),
        ("c", 3, 306, SERVER),
    }
    proved = disk.evidence()
    assert (proved["lastSeq"], proved["lost"], proved["foreign"]) == (307, [], [])
    assert len(proved["boots"] or []) == 3


def test_a_wiped_record_is_lost_and_the_next_boot_goes_on(disk: Disk) -> None:
    disk.append(0xA, 200)
    disk.wipe(0xA, 130)
    disk.append(0xB, 10)
    proved = disk.evidence()
    assert (proved["lost"], proved["foreign"], proved["lastSeq"]) == ([130], [], 210)


def test_a_wiped_last_record_is_lost_though_its_number_returns(disk: Disk) -> None:
    disk.append(0xA, 20)
    disk.wipe(0xA, 20)
    disk.append(0xB, 10)
    assert disk.evidence()["lost"] == [20]


def test_a_stale_writer_and_the_owner_leave_each_others_records(disk: Disk) -> None:
    """The stale one stands still on a full pipe while the owner fills most of the disk."""
    disk.append(0x1, 10)
    command = disk.command(0xA, 5 * SLOTS)
    with subprocess.Popen(command, stdout=subprocess.PIPE, pipesize=4096, text=True) as stale:
        assert stale.stdout
        heard = stale.stdout.readline()
        disk.append(0xB, 9 * SLOTS)
        disk.heard(heard + stale.stdout.read())
    found = {boot: [r for r in disk.records() if r.boot[-1] == boot] for boot in "ab"}
    assert [len(found["a"]), len(found["b"])] == [5 * SLOTS, 9 * SLOTS]
    behind = [r.seq for r in found["a"] if r.seq >= found["b"][0].first]
    assert len(behind) > 2 * SLOTS
    proved = disk.evidence()
    assert proved["lost"] == []
    assert [f["seq"] for f in proved["foreign"] or []] == sorted(behind)
    assert {f["writer"] for f in proved["foreign"] or []} == {f"{SERVER}/{0xA:016x}"}


def test_boots_that_read_the_same_disk_begin_in_different_places(
    init: Path, tmp_path: Path
) -> None:
    places = set()
    for boot in range(0x9A7E5B13C0DE0001, 0x9A7E5B13C0DE0009):
        disk = Disk(init, tmp_path / f"{boot:x}")
        disk.append(boot, 1)
        places.add(disk.path.read_bytes().index(b"RSPWNLOG") // LOG_EXTENT)
    assert len(places) >= 5


def test_the_ring_wraps_without_a_false_loss(disk: Disk) -> None:
    for boot in range(0xA0, 0xB0):
        disk.append(boot, 3 * SLOTS - 7)
    proved = disk.evidence()
    assert (proved["lost"], proved["foreign"]) == ([], [])
    assert proved["lastSeq"] == 16 * (3 * SLOTS - 7)
    found = disk.records()
    floor = max(r.floor for r in found)
    assert 0 < floor < proved["lastSeq"]
    # what lies above the floor is complete, and it is most of the ring
    seqs = {r.seq for r in found}
    assert set(range(floor + 1, proved["lastSeq"] + 1)) <= seqs
    assert proved["lastSeq"] - floor > EXTENTS * SLOTS // 2


def test_a_loss_shows_in_a_wrapped_ring_too(disk: Disk) -> None:
    disk.append(0xA, 3 * EXTENTS * SLOTS)
    wiped = 3 * EXTENTS * SLOTS - 200
    disk.wipe(0xA, wiped)
    assert disk.evidence()["lost"] == [wiped]


def test_a_write_error_is_told_and_not_acknowledged(init: Path, tmp_path: Path) -> None:
    disk = Disk(init, tmp_path / "disk")
    command = disk.command(0xA, 3)
    limited = ["prlimit", "--fsize=0", *command]  # every pwrite fails with EFBIG
    done = subprocess.run(
        ["env", "--ignore-signal=XFSZ", *limited], capture_output=True, text=True, check=True
    )
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["error", "1"]] * 3
    assert disk.records() == []
