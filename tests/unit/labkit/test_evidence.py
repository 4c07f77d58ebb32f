"""Planted faults: what the guest's console and disk must and must not prove."""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from labkit.evidence import (
    LOG_BYTES,
    LOG_EXTENT,
    LOG_ROOT_OFFSET,
    ConsoleLine,
    Record,
    evidence,
    log_place,
    parse_acks,
    parse_console,
    parse_log,
    parse_sector,
    read_log,
)

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
OLD, NEW, NEWEST = "a" * 16, "b" * 16, "c" * 16
SERVER = "11111111-2222-4333-8444-555555555555"


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ack_text(seq: int, boot: str = OLD, disk: str = "root") -> str:
    body = f"ack {seq} {boot} {disk}"
    return f"{body} #{zlib.crc32(body.encode()):08x}"


def ack(seq: int, at: float, boot: str = OLD, disk: str = "root") -> ConsoleLine:
    return ConsoleLine(after(at), "host-1", ack_text(seq, boot, disk))


def acks(seqs: range, at: float = 0.0, boot: str = OLD) -> list[ConsoleLine]:
    return [ack(seq, at + 0.2 * n, boot) for n, seq in enumerate(seqs)]


def records(
    seqs: range, boot: str = OLD, *, nth: int = 1, at: float = 0.0, floor: int = 0
) -> list[Record]:
    first = seqs[0]
    return [
        Record(SERVER, boot, nth, first, seq, floor, after(at), after(at + 0.2 * n))
        for n, seq in enumerate(seqs)
    ]


def sector(record: Record) -> bytes:
    head = struct.pack(
        "<8s40s7QI",
        b"RSPWNLOG",
        record.server.encode(),
        int(record.boot, 16),
        record.nth,
        record.first,
        record.seq,
        record.floor,
        round(record.first_wall.timestamp() * 1e9),
        round(record.wall.timestamp() * 1e9),
        0,
    )
    return (head + struct.pack("<I", zlib.crc32(head))).ljust(512, b"\0")


def test_a_clean_run_over_two_boots() -> None:
    proved = evidence(
        acks(range(1, 6)) + acks(range(6, 9), at=10, boot=NEW),
        records(range(1, 6)) + records(range(6, 9), NEW, nth=2, at=10),
        disk="root",
    )
    assert proved == {
        "boots": ["2026-01-01T12:00:00.000Z", "2026-01-01T12:00:10.000Z"],
        "lastSeq": 8,
        "lost": [],
        "foreign": [],
        "pauses": [],
    }


def test_an_acknowledged_record_that_is_gone_is_lost() -> None:
    kept = [r for r in records(range(1, 9)) if r.seq not in (3, 8)]
    assert evidence(acks(range(1, 9)), kept, disk="root")["lost"] == [3, 8]


def test_a_record_never_acknowledged_is_not_lost() -> None:
    assert evidence(acks(range(1, 5)), records(range(1, 5)), disk="root")["lost"] == []


def test_the_same_number_by_another_boot_does_not_replace_a_lost_one() -> None:
    disk = records(range(1, 5)) + records(range(5, 7), NEW, nth=2)
    assert evidence(acks(range(1, 6)), disk, disk="root")["lost"] == [5]


def test_a_disk_emptied_loses_everything() -> None:
    proved = evidence(acks(range(1, 4)), [], disk="root")
    assert (proved["lost"], proved["lastSeq"], len(proved["boots"] or [])) == ([1, 2, 3], 0, 1)


def test_what_the_ring_gave_up_is_not_lost() -> None:
    disk = records(range(129, 140), floor=128)
    assert evidence(acks(range(1, 140)), disk, disk="root")["lost"] == []
    assert evidence(acks(range(1, 140)), disk[1:], disk="root")["lost"] == [129]


def test_acknowledgements_for_the_other_disk_do_not_count() -> None:
    console = [ack(1, 0, disk="root"), ack(1, 5, OLD, "data")]
    disk = records(range(1, 2))
    assert evidence(console, disk, disk="data")["lost"] == []
    assert len(evidence(console, disk, disk="data")["boots"] or []) == 1


def test_a_stale_writer_behind_the_new_owner_is_foreign() -> None:
    disk = records(range(1, 9)) + records(range(6, 12), NEW, nth=2, at=30)
    assert evidence([], disk, disk="root")["foreign"] == [
        {"seq": seq, "writer": f"{SERVER}/{OLD}"} for seq in (6, 7, 8)
    ]


def test_two_that_read_the_same_disk_are_told_apart_by_their_start() -> None:
    disk = records(range(5, 9), OLD, nth=2, at=0) + records(range(5, 7), NEW, nth=2, at=1)
    found = evidence([], disk, disk="root")["foreign"] or []
    assert {f["writer"] for f in found} == {f"{SERVER}/{OLD}"}
    assert [f["seq"] for f in found] == [5, 6, 7, 8]


def test_a_later_boot_does_not_hide_a_foreign_record() -> None:
    disk = (
        records(range(1, 8))
        + records(range(6, 12), NEW, nth=2, at=30)
        + records(range(12, 15), NEWEST, nth=3, at=60)
    )
    assert [f["seq"] for f in evidence([], disk, disk="root")["foreign"] or []] == [6, 7]


def test_a_write_that_lands_two_owners_late_is_foreign() -> None:
    in_flight = records(range(1, 7))
    disk = in_flight + records(range(6, 900), NEW, nth=2) + records(range(900, 910), NEWEST, nth=3)
    assert [f["seq"] for f in evidence([], disk, disk="root")["foreign"] or []] == [6]


def test_a_pause_is_more_than_a_second_within_one_boot() -> None:
    console = [
        *(ack(n, at) for n, at in enumerate((0.0, 1.0, 2.001))),
        ack(9, 60, NEW),
        ack(10, 60.2, NEW),
    ]
    assert evidence(console, None, disk="root")["pauses"] == [
        {"from": "2026-01-01T12:00:01.000Z", "to": "2026-01-01T12:00:02.001Z", "ms": 1001}
    ]


def test_boots_without_a_console_have_the_guests_time() -> None:
    disk = records(range(1, 3), at=0.5) + records(range(3, 5), NEW, nth=2, at=10)
    assert evidence(None, disk, disk="root") == {
        "boots": ["2026-01-01T12:00:00.500Z", "2026-01-01T12:00:10.000Z"],
        "lastSeq": 4,
        "lost": None,
        "foreign": [],
        "pauses": None,
    }


def test_a_boot_whose_first_acknowledgement_is_torn_has_the_guests_time() -> None:
    console = [ack(2, 0.9), ack(3, 1.1)]
    proved = evidence(console, records(range(1, 4), at=0.25), disk="root")
    assert proved["boots"] == ["2026-01-01T12:00:00.250Z"]


def test_an_empty_console_is_known_to_be_empty() -> None:
    proved = evidence([], None, disk="root")
    assert (proved["boots"], proved["pauses"], proved["lost"]) == ([], [], None)


def test_nothing_readable_is_null_throughout() -> None:
    assert set(evidence(None, None, disk="root").values()) == {None}


@pytest.mark.parametrize(
    ("text", "seqs"),
    [
        (ack_text(12), [12]),
        (ack_text(12)[:-1], []),  # torn at the end
        (ack_text(123).replace("123", "12"), []),  # torn in the number
        ("ack 1" + ack_text(12), [12]),  # torn, and the next boot on the same line
        (ack_text(3)[:20] + ack_text(4, NEW) + ack_text(3)[20:], [4]),  # one inside the other
        (ack_text(3) + ack_text(4), [3, 4]),  # a lost line end
        ("\x00\ufffd" + ack_text(7) + "\r", [7]),
        ("ack 5 " + OLD + " root", []),
    ],
)
def test_damaged_lines_acknowledge_nothing(text: str, seqs: list[int]) -> None:
    assert [a.seq for a in parse_acks([ConsoleLine(T0, "host-1", text)])] == seqs


def test_console_lines_are_stamped_ones() -> None:
    lines = [
        "2026-01-01T12:00:00.123Z host-2 ack 1 x\r\n",
        "no stamp at all",
        "2026-01-01T12:00:00.123Z host-2 \n",
        "2026-01-01T12:00",
    ]
    assert parse_console(lines) == [
        ConsoleLine(T0 + timedelta(milliseconds=123), "host-2", "ack 1 x"),
        ConsoleLine(T0 + timedelta(milliseconds=123), "host-2", ""),
    ]


def test_sectors_round_trip_and_damage_is_no_record() -> None:
    (record,) = records(range(7, 8))
    good = sector(record)
    torn = good[:60] + bytes(452)
    assert parse_sector(good) == record
    assert parse_log(bytes(512) + good + torn + b"\xff" * 512 + good[:100]) == [record]


def test_read_log_finds_records_at_both_ends_of_the_log() -> None:
    offset, length = log_place("root", 128 << 20)
    low, high = records(range(1, 3))
    disk = bytearray(offset + length + 4096)
    disk[offset : offset + 512] = sector(low)
    disk[offset + length - 512 : offset + length] = sector(high)
    disk[offset - 512 : offset] = sector(high)  # outside, by one sector on either side
    disk[offset + length : offset + length + 512] = sector(high)
    found = read_log(lambda at, n: bytes(disk[at : at + n]), disk="root", size=128 << 20)
    assert found == [low, high]


@pytest.mark.parametrize(
    ("disk", "size", "place"),
    [
        ("root", 128 << 20, (LOG_ROOT_OFFSET, LOG_BYTES)),
        ("root", LOG_ROOT_OFFSET + LOG_BYTES, (LOG_ROOT_OFFSET, LOG_BYTES)),
        ("data", 256 << 20, (0, LOG_BYTES)),
        ("data", (1 << 20) + 512, (0, 1 << 20)),
        ("data", LOG_EXTENT * 5 + 4096, (0, LOG_EXTENT * 5)),
    ],
)
def test_place_of_the_log(disk: str, size: int, place: tuple[int, int]) -> None:
    assert log_place(disk, size) == place


@pytest.mark.parametrize(("disk", "size"), [("root", 16 << 20), ("data", 4096), ("logs", 1 << 30)])
def test_disks_without_a_log(disk: str, size: int) -> None:
    with pytest.raises(ValueError, match="has no log"):
        log_place(disk, size)
