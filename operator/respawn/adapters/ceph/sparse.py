"""What of a chunk of an image is worth writing. Pure."""

from collections.abc import Iterator

GRAIN = 64 << 10
"""Bytes; runs of zeros of this size and alignment are not written."""
_ZEROS = bytes(GRAIN)


def runs(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of what is not zero in a chunk, in grains put together."""
    start: int | None = None
    for offset in range(0, len(chunk), GRAIN):
        grain = chunk[offset : offset + GRAIN]
        if grain != _ZEROS[: len(grain)]:
            start = offset if start is None else start
        elif start is not None:
            yield start, chunk[start:offset]
            start = None
    if start is not None:
        yield start, chunk[start:]
