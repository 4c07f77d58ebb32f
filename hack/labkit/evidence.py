"""What a guest itself proves, from its console and its disk. Pure: no I/O, no clock.

The guest (hack/labkit/guest) writes numbered records and prints `ack SEQ …` once fsync returned.
docs/lab-guest.md describes the log on the disk and why it is laid out so.

Read the console *before* the disk: every acknowledgement then seen must be on the disk already.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

SECTOR = 512
LOG_EXTENT = 64 << 10
LOG_BYTES = 8 << 20
LOG_MIN_BYTES = 256 << 10
LOG_ROOT_OFFSET = 32 << 20
PAUSE = timedelta(seconds=1)
#: disks that may carry the log; the first that a server has does
LOG_DISKS = ("data", "root")

_MAGIC = b"RSPWNLOG"
_RECORD = struct.Struct("<8s40s7QII")
_ACK = re.compile(r"(ack (\d+) ([0-9a-f]{16}) (root|data)) #([0-9a-f]{8})")
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) (.*)", re.S)


@dataclass(frozen=True)
class ConsoleLine:
    """One line as the console's collector stamped it: the lab's clock, the host, the text."""

    at: datetime
    host: str
    text: str


@dataclass(frozen=True)
class Ack:
    at: datetime
    seq: int
    boot: str
    disk: str


@dataclass(frozen=True)
class Record:
    """One sector of the log; see struct record in guest.h."""

    server: str
    boot: str
    nth: int
    first: int
    seq: int
    floor: int
    first_wall: datetime
    wall: datetime


Pause = TypedDict("Pause", {"from": str, "to": str, "ms": int})


class Foreign(TypedDict):
    seq: int
    writer: str  # SERVER/BOOT


class Evidence(TypedDict):
    """The answer of `hack/lab guest`. A list is None where its source could not be read."""

    boots: list[str] | None
    lastSeq: int | None
    lost: list[int] | None
    foreign: list[Foreign] | None
    pauses: list[Pause] | None


def rfc3339(at: datetime) -> str:
    """UTC with milliseconds, as all of the lab's JSON has it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def parse_console(lines: Iterable[str]) -> list[ConsoleLine]:
    """`<RFC 3339 UTC ms> <host> <line>` each; what was not stamped so is skipped."""
    parsed = []
    for line in lines:
        if match := _STAMPED.match(line.rstrip("\r\n")):
            parsed.append(ConsoleLine(datetime.fromisoformat(match[1]), match[2], match[3]))
    return parsed


def parse_acks(console: Iterable[ConsoleLine]) -> list[Ack]:
    """Acknowledgements whose checksum holds, wherever in a line they stand.

    A SIGKILL tears a line and two writers on one console mix theirs; what is damaged acknowledges
    nothing, so damage can hide a loss of one number but never invent one.
    """
    acks = []
    for line in console:
        for body, seq, boot, disk, check in _ACK.findall(line.text):
            if zlib.crc32(body.encode()) == int(check, 16):
                acks.append(Ack(line.at, int(seq), boot, disk))
    return acks


def acknowledged_disk(console: Iterable[ConsoleLine]) -> str:
    """Which disk carries the log, by the console alone; `root` if nothing was acknowledged."""
    disks = {ack.disk for ack in parse_acks(console)}
    return next((disk for disk in LOG_DISKS if disk in disks), "root")


def log_place(disk: str, size: int) -> tuple[int, int]:
    """(offset, length) in bytes of the log on disk `root` or `data` of SIZE bytes.

    Raises ValueError if a disk of that name and size has no log.
    """
    offset = {"root": LOG_ROOT_OFFSET, "data": 0}.get(disk)
    if offset is None or size < offset + LOG_MIN_BYTES:
        raise ValueError(f"a disk {disk!r} of {size} bytes has no log")
    return offset, min(LOG_BYTES, size - offset) // LOG_EXTENT * LOG_EXTENT


def parse_sector(sector: bytes) -> Record | None:
    """The record in one sector; None for anything else, a torn one included."""
    if sector[:8] != _MAGIC or len(sector) < _RECORD.size:
        return None
    head = sector[: _RECORD.size]
    _, server, boot, nth, first, seq, floor, first_wall, wall, _, check = _RECORD.unpack(head)
    if zlib.crc32(head[:-4]) != check:
        return None
    return Record(
        server=server.rstrip(b"\0").decode("ascii", "replace"),
        boot=f"{boot:016x}",
        nth=nth,
        first=first,
        seq=seq,
        floor=floor,
        first_wall=_from_ns(first_wall),
        wall=_from_ns(wall),
    )


def _from_ns(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)


def parse_log(log: bytes) -> list[Record]:
    """Every record in the bytes of a log, in the order of the disk."""
    sectors = (log[at : at + SECTOR] for at in range(0, len(log), SECTOR))
    return [record for sector in sectors if (record := parse_sector(sector))]


def read_log(read: Callable[[int, int], bytes], *, disk: str, size: int) -> list[Record]:
    """Records of the log on DISK, of SIZE bytes, by READ(offset, length) -> bytes."""
    offset, length = log_place(disk, size)
    step = 1 << 20
    return [
        record
        for at in range(offset, offset + length, step)
        for record in parse_log(read(at, min(step, offset + length - at)))
    ]


def evidence(
    console: Sequence[ConsoleLine] | None, records: Sequence[Record] | None, *, disk: str
) -> Evidence:
    """What CONSOLE and RECORDS, the log of DISK, prove; pass None for what could not be read.

    All consoles of a server count together: pass their lines in one list, in any order.
    """
    acks = None
    if console is not None:
        acks = sorted((a for a in parse_acks(console) if a.disk == disk), key=lambda a: a.at)
    nothing = acks is None and records is None
    return {
        "boots": None if nothing else boots(acks or [], records or []),
        "lastSeq": None if records is None else max((r.seq for r in records), default=0),
        "lost": None if acks is None or records is None else lost(acks, records),
        "foreign": None if records is None else foreign(records),
        "pauses": None if acks is None else pauses(acks),
    }


def boots(acks: Sequence[Ack], records: Sequence[Record]) -> list[str]:
    """Time of each boot's first record, ascending.

    By the lab's clock where the console has that record's acknowledgement; else by the guest's,
    which starts from a clock chip of one second's resolution.
    """
    earliest: dict[str, Ack] = {}
    for ack in acks:
        if ack.boot not in earliest or ack.seq < earliest[ack.boot].seq:
            earliest[ack.boot] = ack
    times = {boot: ack.at for boot, ack in earliest.items()}
    for record in records:
        seen = earliest.get(record.boot)
        if seen is None or seen.seq > record.first:
            times[record.boot] = record.first_wall
    return [rfc3339(at) for at in sorted(times.values())]


def lost(acks: Sequence[Ack], records: Sequence[Record]) -> list[int]:
    """Numbers acknowledged but absent, of those that the ring has not given up on purpose."""
    floor = max((record.floor for record in records), default=0)
    present = {(record.boot, record.seq) for record in records}
    return sorted({a.seq for a in acks if a.seq > floor and (a.boot, a.seq) not in present})


def foreign(records: Sequence[Record]) -> list[Foreign]:
    """Records of an earlier boot behind a newer boot's first.

    Behind means a number not below the newer boot's first: that boot had read the whole log and
    gone on from the highest number in it, so such a record was not there yet. No clock is asked.
    A newer boot that is not the newest counts too, or the next reboot would hide the fault.
    """
    age: dict[str, tuple[int, datetime, str]] = {}
    first: dict[str, int] = {}
    for record in records:
        key = (record.nth, record.first_wall, record.boot)
        age[record.boot] = min(age.get(record.boot, key), key)
        first[record.boot] = min(first.get(record.boot, record.first), record.first)
    limit: dict[str, int | None] = {}
    lowest: int | None = None
    for boot in sorted(age, key=lambda boot: age[boot], reverse=True):
        limit[boot] = lowest
        lowest = first[boot] if lowest is None else min(lowest, first[boot])
    stale = {
        (record.seq, f"{record.server}/{record.boot}")
        for record in records
        if (bound := limit[record.boot]) is not None and record.seq >= bound
    }
    return [{"seq": seq, "writer": writer} for seq, writer in sorted(stale)]


def pauses(acks: Sequence[Ack]) -> list[Pause]:
    """More than a second between two acknowledgements of one boot. ACKS ascend in time."""
    found: list[Pause] = []
    before: dict[str, Ack] = {}
    for ack in acks:
        last = before.get(ack.boot)
        if last and ack.at - last.at > PAUSE:
            ms = round((ack.at - last.at) / timedelta(milliseconds=1))
            found.append({"from": rfc3339(last.at), "to": rfc3339(ack.at), "ms": ms})
        before[ack.boot] = ack
    return found
