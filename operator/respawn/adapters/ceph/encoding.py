"""Ceph's wire encoding of the few things that we say to the object classes of RBD. Pure."""

import ipaddress
import struct
from collections.abc import Mapping


def text(value: str | bytes) -> bytes:
    """A string: its length, then its bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(raw)) + raw


def number64(value: int) -> bytes:
    """An unsigned number of 64 bits."""
    return struct.pack("<Q", value)


def mapping(values: Mapping[str, str]) -> bytes:
    """A map of strings, in the order of its keys."""
    pairs = b"".join(text(key) + text(values[key]) for key in sorted(values))
    return struct.pack("<I", len(values)) + pairs


def versioned(body: bytes) -> bytes:
    """A structure of version 1 that a reader of version 1 understands."""
    return struct.pack("<BBI", 1, 1, len(body)) + body


class Reader:
    """Reads one thing after the other. Raises ValueError: cut short, or not understood."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def skip(self, length: int) -> bytes:
        """The next `length` bytes."""
        begin, self._at = self._at, self._at + length
        if self._at > len(self._raw):
            raise ValueError(f"cut short at byte {len(self._raw)}")
        return self._raw[begin : self._at]

    def number8(self) -> int:
        """An unsigned number of 8 bits."""
        return self.skip(1)[0]

    def number16(self) -> int:
        """An unsigned number of 16 bits."""
        return int.from_bytes(self.skip(2), "little")

    def number32(self) -> int:
        """An unsigned number of 32 bits."""
        return int.from_bytes(self.skip(4), "little")

    def number64(self) -> int:
        """An unsigned number of 64 bits."""
        return int.from_bytes(self.skip(8), "little")

    def text(self) -> str:
        """A string."""
        return self.skip(self.number32()).decode()

    def versioned(self) -> "Reader":
        """The inside of a structure; what a later version has appended is passed over."""
        _, understood = self.number8(), self.number8()
        if understood != 1:
            raise ValueError(f"a structure for readers of version {understood}")
        return Reader(self.skip(self.number32()))

    def address(self) -> str:
        """An entity address, `IP:PORT/NONCE` with a v6 IP in brackets, as Ceph's tools tell it."""
        marker = self.number8()
        if marker != 1:
            raise ValueError(f"an address marked {marker}, from before Ceph 14")
        inside = self.versioned()
        inside.skip(4)  # which protocol
        nonce = inside.number32()
        socket = Reader(inside.skip(inside.number32()))
        family, port = socket.number16(), int.from_bytes(socket.skip(2), "big")
        if family == _INET:
            return f"{ipaddress.IPv4Address(socket.skip(4))}:{port}/{nonce}"
        if family == _INET6:
            socket.skip(4)  # flow
            return f"[{ipaddress.IPv6Address(socket.skip(16))}]:{port}/{nonce}"
        raise ValueError(f"an address of family {family}")


_INET, _INET6 = 2, 10
"""Linux's numbers, which Ceph writes down as they are."""


def read_text(raw: bytes) -> str:
    """The string at the beginning. Raises ValueError: cut short."""
    return Reader(raw).text()


def read_mapping(raw: bytes) -> dict[str, str]:
    """A map of strings. Raises ValueError: cut short."""
    reader = Reader(raw)
    return {reader.text(): reader.text() for _ in range(reader.number32())}
