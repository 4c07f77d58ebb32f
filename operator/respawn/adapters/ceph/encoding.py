"""Ceph's wire encoding of the few things that we send to RBD's object class. Pure."""

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


def read_text(raw: bytes, at: int = 0) -> tuple[str, int]:
    """The string at an offset, and the offset behind it. Raises ValueError: cut short."""
    end = at + 4
    if len(raw) < end:
        raise ValueError("a string without its length")
    (length,) = struct.unpack_from("<I", raw, at)
    if len(raw) < end + length:
        raise ValueError("a string shorter than its length")
    return raw[end : end + length].decode(), end + length


def read_mapping(raw: bytes) -> dict[str, str]:
    """A map of strings. Raises ValueError: cut short."""
    if len(raw) < 4:
        raise ValueError("a map without its size")
    (count,) = struct.unpack_from("<I", raw)
    found, at = {}, 4
    for _ in range(count):
        key, at = read_text(raw, at)
        found[key], at = read_text(raw, at)
    return found
