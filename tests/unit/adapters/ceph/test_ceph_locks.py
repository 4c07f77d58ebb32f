"""The lock of an image as its object class tells it."""

import ipaddress
import struct
from typing import Any

import pytest

from respawn.adapters.ceph import encoding, locks
from respawn.model.placement import Locker
from respawn.ports.errors import Unavailable

LOCK = bytes.fromhex(
    "01016d00000001000000010121000000085311000000000000140000006175746f203133393832373439"
    "3232353631363001012f00000000000000000000000101011c0000000100000045231c6e100000000200"
    "0000c633640b0000000000000000000000000108000000696e7465726e616c"
)
"""The lock of an image that a QEMU has open, as an OSD of Ceph 16 told of it."""


class Osd:
    """An I/O context in which every image has the same lock."""

    def __init__(self, lock: bytes) -> None:
        self.lock = lock

    def read(self, name: str, length: int) -> bytes:
        return encoding.text("4711")

    def execute(self, name: str, kind: str, method: str, order: bytes, most: int) -> Any:
        assert (name, kind, method) == ("rbd_header.4711", "lock", "get_info")
        return 0, self.lock


def lockers(lock: bytes) -> tuple[Locker, ...]:
    osd: Any = Osd(lock)
    return locks.of(osd, "vs-1-root")


def test_a_lock_is_read_as_librbd_would_tell_it() -> None:
    held = Locker("client.4435", "auto 139827492256160", "198.51.100.11:0/1847337797")
    assert lockers(LOCK) == (held,)
    nobody = encoding.versioned(struct.pack("<IB", 0, 1) + encoding.text("internal"))
    assert lockers(nobody) == ()


def test_a_lock_of_a_v6_client_is_read() -> None:
    """Its address is 12 bytes longer, and so is everything around it."""
    socket = struct.pack("<HHI", 10, 0, 0) + ipaddress.IPv6Address("2001:db8::b").packed + bytes(4)
    address = b"\1" + encoding.versioned(struct.pack("<III", 1, 7, len(socket)) + socket)
    who = encoding.versioned(struct.pack("<Bq", 8, 5) + encoding.text("auto 1"))
    info = encoding.versioned(bytes(8) + address + encoding.text(""))
    held = encoding.versioned(struct.pack("<I", 1) + who + info)
    assert lockers(held) == (Locker("client.5", "auto 1", "[2001:db8::b]:0/7"),)


@pytest.mark.parametrize("length", range(0, 100, 9))
def test_half_an_answer_names_nobody(length: int) -> None:
    with pytest.raises(Unavailable, match="vs-1-root"):
        lockers(LOCK[:length])


@pytest.mark.parametrize(("at", "value"), [(1, 2), (16, 2), (63, 0), (82, 1)])
def test_an_answer_that_is_not_understood_names_nobody(at: int, value: int) -> None:
    """A later structure, a daemon as holder, an address of an old form, or of no internet."""
    changed = bytearray(LOCK)
    changed[at] = value
    with pytest.raises(Unavailable):
        lockers(bytes(changed))
