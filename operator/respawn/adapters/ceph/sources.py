"""Where golden images come from, as streams of bytes. Blocking."""

import contextlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import rbd

from respawn.adapters.ceph.handle import Handle
from respawn.model.conditions import Reason
from respawn.ports.errors import Refused, Unavailable

CHUNK = 4 << 20
"""Bytes read at once: RBD's object size."""
SILENCE = 30.0
"""Seconds without a byte after which a download is given up."""
QCOW2 = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class Stream:
    """Chunks of CHUNK bytes (the last may be shorter), and how many bytes in all, if known."""

    chunks: Iterator[bytes]
    total: int | None


class Source(Protocol):
    """A source of a golden image."""

    def open(self, handle: Handle, pool: str) -> contextlib.AbstractContextManager[Stream]:
        """Open it; `pool` is the one it is imported into. Raises Refused, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A raw image in a file of the operator."""

    path: str

    @contextlib.contextmanager
    def open(self, handle: Handle, pool: str) -> Iterator[Stream]:
        """See Source."""
        path = Path(self.path)
        if path.exists() and not (path.is_file() or path.is_block_device()):
            raise Refused(Reason.SOURCE_UNREADABLE, f"{self.path} is no file with an image in it")
        try:
            with path.open("rb") as file:
                yield Stream(_chunks(file), path.stat().st_size)
        except OSError as error:
            raise Refused(Reason.SOURCE_UNREADABLE, f"{self.path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class HTTPSource:
    """A raw image at a URL."""

    url: str

    @contextlib.contextmanager
    def open(self, handle: Handle, pool: str) -> Iterator[Stream]:
        """See Source. What the server refuses (4xx) is Refused; other failures are Unavailable."""
        request = urllib.request.Request(self.url, headers={"User-Agent": "respawn"})
        try:
            with urllib.request.urlopen(request, timeout=SILENCE) as answer:
                length = answer.headers.get("Content-Length")
                yield Stream(_chunks(answer), int(length) if length else None)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise Refused(Reason.SOURCE_UNREADABLE, f"{self.url}: {error}") from error
            raise Unavailable(f"{self.url}: {error}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unavailable(f"{self.url}: {getattr(error, 'reason', error)}") from error


@dataclass(frozen=True, slots=True)
class RBDSource:
    """An image in the same Ceph cluster; without `pool`, in the pool it is imported into."""

    image: str
    pool: str | None = None
    snapshot: str | None = None

    @contextlib.contextmanager
    def open(self, handle: Handle, pool: str) -> Iterator[Stream]:
        """See Source."""
        ioctx = handle.ioctx(self.pool or pool)
        try:
            image = rbd.Image(ioctx, self.image, snapshot=self.snapshot, read_only=True)
        except rbd.ImageNotFound as error:
            name = f"{self.pool or pool}/{self.image}" + f"@{self.snapshot or ''}".rstrip("@")
            raise Refused(Reason.SOURCE_UNREADABLE, f"Ceph has no image {name}") from error
        with image:
            yield Stream(_image_chunks(image), image.size())


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Whole chunks, however the reads come."""
    held = b""
    while part := file.read(CHUNK - len(held)):
        held += part
        if len(held) == CHUNK:
            yield held
            held = b""
    if held:
        yield held


def _image_chunks(image: rbd.Image) -> Iterator[bytes]:
    size = image.size()
    for offset in range(0, size, CHUNK):
        yield image.read(offset, min(CHUNK, size - offset))
