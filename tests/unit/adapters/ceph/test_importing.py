"""What an import publishes: all of what was verified, under its name at last, or nothing."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from respawn.adapters.ceph import importing
from respawn.adapters.ceph.importing import Order
from respawn.adapters.ceph.sources import Stream
from respawn.model.conditions import Reason
from respawn.model.storage import Image, ImageClients
from respawn.ports.errors import NotFound, Refused, Unavailable

CONTENT = b"golden" * 1000
SUM = f"sha256:{sha256(CONTENT).hexdigest()}"
NAME, PART = "image-u", "image-u.part"


@dataclass
class Stored:
    """An image in the pool."""

    size: int
    marks: dict[str, str] = field(default_factory=dict)
    snapshots: list[str] = field(default_factory=list)
    open: int = 0
    """How many have it open for writing."""


class Pool:
    """The images of a pool by name; stands for rbd, its I/O context and its handle at once."""

    def __init__(self) -> None:
        self.images: dict[str, Stored] = {}
        self.marked_while_open: list[bool] = []

    # rbd.RBD()

    def create(self, _: object, name: str, size: int, features: int) -> None:
        self.images[name] = Stored(size)

    def rename(self, _: object, old: str, new: str) -> None:
        self.images[new] = self.images.pop(old)

    def remove(self, _: object, name: str) -> None:
        del self.images[name]

    # The rest.

    def ioctx(self, _: str) -> "Pool":
        return self

    def read_marks(self, _: object, name: str) -> dict[str, str]:
        if name not in self.images:
            raise NotFound(name)
        return self.images[name].marks

    def write_marks(self, _: object, name: str, marks: dict[str, str]) -> None:
        self.marked_while_open.append(self.images[name].open > 0)
        self.images[name].marks |= marks

    def clients(self, _: object, name: str) -> ImageClients:
        if name not in self.images:
            raise NotFound(name)
        return ImageClients()

    @contextlib.contextmanager
    def opened(self, _: object, name: str, **_options: object) -> Iterator[Any]:
        stored = self.images[name]
        stored.open += 1
        try:
            yield Opened(stored)
        finally:
            stored.open -= 1


class Opened:
    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.create_snap = stored.snapshots.append
        self.remove_snap = stored.snapshots.remove

    def size(self) -> int:
        return self._stored.size

    def resize(self, size: int) -> None:
        self._stored.size = size

    def write(self, *_: object) -> None:
        return

    def flush(self) -> None:
        return

    def list_snaps(self) -> list[dict[str, str]]:
        return [{"name": name} for name in self._stored.snapshots]


@dataclass(frozen=True)
class Content:
    """A source; `told` is the size that it promises."""

    content: bytes = CONTENT
    told: int | None = None

    @contextlib.contextmanager
    def open(self, *_: object) -> Iterator[Stream]:
        yield Stream(iter([self.content]), self.told)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    made = Pool()
    monkeypatch.setattr(importing.rbd, "RBD", lambda: made)
    monkeypatch.setattr(importing.rbd, "Image", made.opened)
    monkeypatch.setattr(importing.marks, "read", made.read_marks)
    monkeypatch.setattr(importing.marks, "write", made.write_marks)
    monkeypatch.setattr(importing.clients, "of", made.clients)
    return made


def run(pool: Pool, checksum: str | None = SUM, source: Content = Content()) -> int:
    image = Image("u", "debian", pool="ceph")
    return importing.run(pool, "vms", Order(image, source, checksum))  # type: ignore[arg-type]


def test_it_is_published_whole(pool: Pool) -> None:
    assert run(pool) == -(-len(CONTENT) // 512) * 512
    assert list(pool.images) == [NAME] and pool.images[NAME].snapshots == ["golden"]
    assert pool.images[NAME].marks["respawn.checksum"] == SUM


def test_another_content_leaves_nothing(pool: Pool) -> None:
    with pytest.raises(Refused) as refused:
        run(pool, source=Content(b"other"))
    assert refused.value.reason == Reason.CHECKSUM_MISMATCH and not pool.images


def test_a_source_that_ends_early_is_not_published(pool: Pool) -> None:
    with pytest.raises(Unavailable):
        run(pool, None, Content(told=len(CONTENT) + 1))
    assert list(pool.images) == [PART] and not pool.images[PART].snapshots
    assert run(pool) and list(pool.images) == [NAME], "begun anew"


def test_what_is_there_with_another_checksum_is_not_what_was_asked_for(pool: Pool) -> None:
    """Its spec may have been edited since: nothing says that servers were cloned from it yet."""
    run(pool)
    with pytest.raises(Refused) as refused:
        run(pool, "sha256:other")
    assert refused.value.reason == Reason.CHECKSUM_MISMATCH and SUM in str(refused.value)
    assert list(pool.images) == [NAME], "nothing is deleted for it"
    assert run(pool) == run(pool, None)


def test_a_part_that_was_verified_by_another_checksum_is_not_published(pool: Pool) -> None:
    run(pool)
    pool.rename(None, NAME, PART)  # it broke off before its last step
    assert run(pool, source=Content(b"unread")), "what was verified needs only its name"
    pool.rename(None, NAME, PART)
    new = Content(b"new")
    assert run(pool, f"sha256:{sha256(b'new').hexdigest()}", new) == 512


def test_it_is_marked_as_complete_while_nobody_else_can_throw_it_away(pool: Pool) -> None:
    """Marks go by name: a part that was replaced meanwhile would get them."""
    run(pool)
    assert pool.marked_while_open == [True]
