from __future__ import annotations

import struct

import pytest

from labkit.pinger import checksum, echo_reply, echo_request, last_before, longest_gap

IP_HEADER = bytes([0x45]) + bytes(19)


def reply_to(request: bytes) -> bytes:
    return IP_HEADER + bytes([0]) + request[1:]


@pytest.mark.parametrize("number", [0, 1, 65535, 65536 * 7 + 3])
def test_a_reply_names_its_request(number: int) -> None:
    assert echo_reply(reply_to(echo_request(77, number)), 77) == number


def test_other_packets_are_no_reply() -> None:
    request = echo_request(77, 5)
    assert echo_reply(reply_to(request), 78) is None  # another pinger's
    assert echo_reply(IP_HEADER + request, 77) is None  # the request itself
    assert echo_reply(reply_to(request)[:30], 77) is None
    assert echo_reply(b"", 77) is None


def test_a_request_with_its_checksum_sums_to_zero() -> None:
    assert checksum(echo_request(0xBEEF, 123456)) == 0
    assert checksum(struct.pack("!3H", 0xFFFF, 0xFFFF, 1)) == 0xFFFE


@pytest.mark.parametrize(
    ("arrivals", "gap"),
    [
        ([], 10.0),
        ([1.0, 2.0, 9.5], 7.5),
        ([4.0, 5.0], 5.0),  # silence until the end
        ([6.0, 6.5, 9.0], 6.0),  # silence from the start
        ([9.0, 1.0, 5.0, 12.0], 4.0),  # out of order; after the end
    ],
)
def test_longest_gap_counts_the_ends(arrivals: list[float], gap: float) -> None:
    assert longest_gap(arrivals, 0.0, 10.0) == gap


@pytest.mark.parametrize(
    ("arrivals", "until"),
    [
        ([], 0.0),
        ([10.5, 11.0, 11.5], 1.5),
        ([10.5, 11.0, 14.0, 14.5], 1.0),  # who answers after the silence may be another
        ([12.0, 12.5], 0.0),
    ],
)
def test_an_answer_after_a_silence_does_not_prolong_what_ended(
    arrivals: list[float], until: float
) -> None:
    assert last_before(1.0, arrivals, 10.0) == until
