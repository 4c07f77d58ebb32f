"""What is pure about Ceph: entries, encodings, places, beats, sparse runs, maps."""

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from respawn.adapters.ceph import beats, blocklist, daemons, encoding, places, sparse
from respawn.adapters.ceph.access import Access
from respawn.model.node import Form
from respawn.model.sight import Beat, HeartServer
from respawn.model.storage import Entry, bans

# as Ceph 16.2.15 printed it: two arrays behind one another, a range without `cidr:`
LISTING = (
    '[{"addr":"[2001:db8::9]:0/0","until":"2027-11-24T07:06:45.873691+0000"},'
    '{"addr":"198.51.100.9:0/0","until":"2027-11-24T07:06:45.806865+0000"},'
    '{"addr":"198.51.100.9:0/32","until":"2027-11-24T07:06:45.806865+0000"}]'
    '[{"range":"198.51.100.9:0/32","until":"2027-11-24T07:06:45.822122+0000"},'
    '{"range":"[2001:db8::9]:0/128","until":"2027-11-24T07:06:45.927463+0000"},'
    '{"range":"10.0.0.0:0/8","until":"2027-11-24T07:06:45.927463+0000"}]\n'
)

MADE = datetime(2026, 11, 24, tzinfo=UTC)


def test_a_listing_tells_ranges_from_nonces() -> None:
    assert blocklist.parse(LISTING, MADE) == {
        Entry("2001:db8::9", Form.IP),
        Entry("198.51.100.9", Form.IP),
        Entry("198.51.100.9:0/32"),
        Entry("198.51.100.9", Form.RANGE),
        Entry("2001:db8::9", Form.RANGE),
        Entry("10.0.0.0/8", Form.RANGE),
    }


def test_empty_and_old_listings() -> None:
    assert blocklist.parse("[][]", MADE) == frozenset()
    assert blocklist.parse("", MADE) == frozenset()
    cidr = '[][{"range":"cidr:10.0.0.1:0/32","until":"2027-11-24T07:06:45.822122+0000"}]'
    assert blocklist.parse(cidr, MADE) == {Entry("10.0.0.1", Form.RANGE)}


def test_an_entry_that_ends_soon_is_not_the_one_that_lasts() -> None:
    """A person's lives an hour; one of ours is near its end after eleven months."""
    late = datetime(2027, 10, 30, tzinfo=UTC)
    found = blocklist.parse(LISTING, late)
    assert Entry("198.51.100.9", Form.IP) not in found
    assert Entry("198.51.100.9", Form.IP, brief=True) in found
    assert all(entry.brief for entry in found)
    assert bans(found, "198.51.100.9:0/1"), "it is shut out all the same"


@pytest.mark.parametrize("wrong", [timedelta(minutes=-30), timedelta(), timedelta(days=2)])
def test_a_clock_that_is_wrong_by_minutes_or_days_changes_no_verdict(wrong: timedelta) -> None:
    def ending(after: timedelta) -> str:
        return f'[{{"addr":"198.51.100.9:0/0","until":"{(MADE + after).isoformat()}"}}][]'

    ours, theirs = ending(timedelta(seconds=blocklist.EXPIRE)), ending(timedelta(hours=1))
    lasting = Entry("198.51.100.9", Form.IP)
    assert blocklist.parse(ours, MADE + wrong) == {lasting}
    assert blocklist.parse(theirs, MADE + wrong) == {replace(lasting, brief=True)}


@pytest.mark.parametrize(
    ("entry", "addr", "ranged"),
    [
        (Entry("198.51.100.9", Form.IP), "198.51.100.9:0/0", False),
        (Entry("198.51.100.9", Form.RANGE), "198.51.100.9/32", True),
        (Entry("2001:DB8:0::9", Form.IP), "[2001:db8::9]:0/0", False),
        (Entry("2001:db8::9", Form.RANGE), "2001:db8::9/128", True),
        (Entry("198.51.100.9:0/4711"), "198.51.100.9:0/4711", False),
    ],
)
def test_commands_name_exactly_one_entry(entry: Entry, addr: str, ranged: bool) -> None:
    add, remove = blocklist.command(entry, "add"), blocklist.command(entry, "rm")
    for command in (add, remove):
        assert command["prefix"] == "osd blocklist"
        assert command["addr"] == addr
        assert command.get("range") == ("range" if ranged else None)
    assert isinstance(add["expire"], float), "Ceph refuses an integer"
    assert add["expire"] >= 365 * 86400
    assert "expire" not in remove


@pytest.mark.parametrize("address", ["198.51.100.0/24", "host-1", ""])
def test_only_single_addresses_are_fenced(address: str) -> None:
    for form in Form:
        with pytest.raises(ValueError):
            blocklist.command(Entry(address, form), "add")


def test_the_encoding_is_cephs() -> None:
    raw = encoding.mapping({"b": "2", "a": "é"})
    assert raw == struct.pack("<I", 2) + b"\1\0\0\0a\2\0\0\0\xc3\xa9" + b"\1\0\0\0b\1\0\0\x002"
    assert encoding.read_mapping(raw) == {"a": "é", "b": "2"}
    assert encoding.read_mapping(encoding.mapping({})) == {}
    assert encoding.number64(2**40) == b"\0\0\0\0\0\1\0\0"


def test_what_is_cut_short_is_an_error() -> None:
    raw = encoding.mapping({"key": "value"})
    for length in range(len(raw)):
        with pytest.raises(ValueError):
            encoding.read_mapping(raw[:length])


# --- places

NAMES = places.names("heart.host-1")


def test_candidates_carry_the_hosts_prefix_with_its_dot() -> None:
    assert NAMES[0] == "heart.host-1.0"
    assert len(set(NAMES)) == places.WAYS


@pytest.mark.parametrize(
    ("primaries", "chosen"),
    [
        ([1, 2, 0, 1, 2, 0, 1, 2], (0, 1)),
        ([1, 1, 1, 2, 1, 1, 1, 1], (0, 3)),
        ([1, -1, 2, 1, 1, 1, 1, 1], (0, 2)),
        ([1] * 8, (0, 1)),
    ],
)
def test_two_primaries_if_there_are_two(primaries: list[int], chosen: tuple[int, int]) -> None:
    found = places.pick((), dict(zip(NAMES, primaries, strict=True)))
    assert found == tuple(NAMES[way] for way in chosen)


def test_what_is_there_stays_whatever_the_map_says() -> None:
    primaries = dict.fromkeys(NAMES, 1) | {NAMES[0]: 2}
    assert places.pick((NAMES[3], NAMES[4]), primaries) == (NAMES[3], NAMES[4])
    assert places.pick((NAMES[3],), primaries) == (NAMES[3], NAMES[0])


def test_places_are_told_by_existence_alone() -> None:
    nothing: dict[str, bool | None] = dict.fromkeys(NAMES, False)
    two = {NAMES[2]: True, NAMES[5]: True}
    assert places.settled(nothing) == ()
    assert places.settled(nothing | two) == (NAMES[2], NAMES[5])
    assert places.settled(dict.fromkeys(NAMES, None) | two) == (NAMES[2], NAMES[5])
    assert places.settled(nothing | {NAMES[2]: True}) == (NAMES[2],)
    # the second may be the one that cannot be read: nobody may pick another
    assert places.settled(nothing | {NAMES[2]: True, NAMES[3]: None}) is None
    assert places.settled(dict.fromkeys(NAMES, None)) is None


# --- beats


def test_a_beat_survives_the_way() -> None:
    beat = Beat("m", "b", 12, (HeartServer("u-1", 3, "running"), HeartServer("u-2", 1, "paused")))
    assert beats.decode(beats.encode(beat)) == beat
    assert beats.encode(beat) == beats.encode(beats.decode(beats.encode(beat)))


def test_a_later_versions_beat_is_understood() -> None:
    content = {"machineID": "m", "bootID": "b", "counter": 1, "mood": "good"}
    assert beats.decode(json.dumps(content).encode()) == Beat("m", "b", 1)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"{}", b'{"machineID":"m"}', b"\xff"])
def test_anything_else_is_no_beat(raw: bytes) -> None:
    with pytest.raises(ValueError):
        beats.decode(raw)


# --- sparse runs


def test_zeros_are_left_out_and_the_rest_is_whole() -> None:
    grain = sparse.GRAIN
    chunk = bytes(grain) + b"a" * (2 * grain) + bytes(3 * grain) + b"\0" * 100 + b"b"
    found = list(sparse.runs(chunk))
    assert [(offset // grain, len(run)) for offset, run in found] == [(1, 2 * grain), (6, 101)]
    rebuilt = bytearray(len(chunk))
    for offset, run in found:
        rebuilt[offset : offset + len(run)] = run
    assert bytes(rebuilt) == chunk


@pytest.mark.parametrize("chunk", [b"", bytes(10), bytes(sparse.GRAIN * 2 + 1)])
def test_nothing_but_zeros_is_nothing_to_write(chunk: bytes) -> None:
    assert list(sparse.runs(chunk)) == []


# --- maps


def test_every_daemons_address_is_found_and_no_clients() -> None:
    vector = {"addrvec": [{"type": "v2", "addr": "198.51.100.3:6800", "nonce": 1}]}
    maps = [
        {"mons": [{"public_addrs": {"addrvec": [{"type": "v2", "addr": "[2001:db8::1]:3300"}]}}]},
        {
            "osds": [
                {"public_addrs": vector, "cluster_addrs": {"addrvec": [{"addr": "10.0.0.3:6801"}]}},
                {"public_addrs": {"addrvec": [{"addr": "0.0.0.0:0"}]}},
            ],
            "blocklist": {"198.51.100.9:0/0": "2027"},
        },
        {"active_addrs": vector, "active_clients": [{"addrvec": [{"addr": "198.51.100.77:0"}]}]},
    ]
    assert daemons.addresses(maps) == {"2001:db8::1", "198.51.100.3", "10.0.0.3"}


def test_every_timeout_is_set_and_the_key_is_not_told() -> None:
    access = Access("respawn", "fsid", ("198.51.100.1:3300", "198.51.100.2:3300"), "SECRET")
    for option in ("rados_mon_op_timeout", "rados_osd_op_timeout", "client_mount_timeout"):
        assert float(access.conf[option]) > 0, "librados would wait for ever"
    assert access.conf["mon_host"] == "198.51.100.1:3300,198.51.100.2:3300"
    assert access.conf["rbd_blocklist_on_break_lock"] == "false"
    assert access.conf["admin_socket"] == ""
    assert "SECRET" not in repr(access)
    assert "key" not in Access("host-1", conffile="/etc/ceph/ceph.conf").conf
