"""Ceph and witnesses as files in a folder, for operators that are real processes.

    python fake_storage.py FOLDER OPERATOR-ARGUMENTS…

What several operators share in a real cluster they share here: blocklist, epochs, hearts.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from respawn.model.conditions import Reason
from respawn.model.node import Form, Node
from respawn.model.placement import Locker
from respawn.model.server import Disk, Server, disk_image
from respawn.model.sight import Answer, Beat
from respawn.model.storage import Entry, EpochMark, Image, ImageClients, Kept, Pool
from respawn.ports.errors import NotFound, Refused, Unavailable
from respawn.ports.library import Progress, Usage
from respawn.runtime import options, process
from respawn.runtime.outside import Outside


class FakeStorage:
    """Storage. `learn` has to come first: without a key nothing works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: dict[str, str] = {}
        self.images = self.fence = self.hearts = self

    def open_hearts(self) -> "FakeHearts":
        return FakeHearts(self)

    def learn(self, pool: Pool, key: str) -> None:
        self.keys[pool.name] = key

    def forget(self, name: str) -> None:
        self.keys.pop(name, None)

    def _open(self) -> None:
        if not self.keys:
            raise Unavailable("no key")

    # Images.

    def _image(self, name: str) -> Path:
        path = self.folder / "images" / name
        if not path.exists():
            raise NotFound(f"there is no image {name}")
        return path

    async def ensure_disk(
        self, server: Server, disk: Disk, pool: Pool, source: Image | None
    ) -> int:
        self._open()
        name = disk_image(server.uid, disk.name)
        path = self.folder / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return disk.size

    async def clients(self, pool: Pool, image: str) -> ImageClients:
        self._image(image)
        return ImageClients()

    async def lockers(self, pool: Pool, image: str) -> tuple[Locker, ...]:
        self._image(image)
        return ()

    async def break_lock(self, pool: Pool, image: str, locker: Locker) -> None:
        self._image(image)

    async def read_epoch(self, pool: Pool, image: str) -> EpochMark | None:
        words = self._image(image).read_text().split()
        return EpochMark(int(words[0]), int(words[1])) if words else None

    async def write_epoch(self, pool: Pool, image: str, mark: EpochMark) -> None:
        self._image(image).write_text(f"{mark.epoch} {mark.resource_version}")

    async def trash(self, pool: Pool, image: str, owner_uid: str) -> None:
        (self.folder / "images" / image).unlink(missing_ok=True)

    # Library.

    async def usage(self, pool: Pool) -> Usage:
        self._open()
        return Usage(100 << 30, 1 << 30)

    async def kept(self, pool: Pool, uids: Collection[str]) -> tuple[Kept, ...]:
        names = sorted(path.name for path in self.folder.glob("images/*"))
        return tuple(Kept(name, "") for name in names if name[3:39] not in uids)

    async def remove_image(self, image: Image, pool: Pool) -> None:
        self._open()

    async def import_image(self, image: Image, pool: Pool, progress: Progress) -> int:
        assert image.origin is not None
        content = _content(Path(image.origin.path or ""))
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != image.checksum:
            raise Refused(Reason.CHECKSUM_MISMATCH, "the source has another checksum")
        return len(content)

    # FencePort.

    @contextmanager
    def _blocklist(self) -> Iterator[set[Entry]]:
        self._open()
        with (self.folder / "blocklist").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            rows = [line.split() for line in file]
            entries = {Entry(a, Form(form) if form != "-" else None) for a, form in rows}
            before = set(entries)
            yield entries
            if entries != before:
                file.truncate(0)
                file.writelines(f"{e.address} {e.form or '-'}\n" for e in entries)

    async def add(self, entries: Collection[Entry]) -> None:
        with self._blocklist() as listed:
            listed |= set(entries)

    async def remove(self, entries: Collection[Entry]) -> None:
        with self._blocklist() as listed:
            listed -= set(entries)

    async def listing(self) -> frozenset[Entry]:
        with self._blocklist() as listed:
            return frozenset(listed)

    async def own_addresses(self) -> frozenset[str]:
        return frozenset({"198.51.100.200:0/1"})

    async def infrastructure(self) -> frozenset[str]:
        return frozenset({"198.51.100.1"})

    # HeartReads.

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        self._open()
        try:
            machine, boot, counter = (self.folder / f"heart.{host}").read_text().split()
        except FileNotFoundError:
            return (None, None)
        except ValueError as error:
            raise Unavailable("a beat is being written") from error
        return (Beat(machine, boot, int(counter)),) * 2

    async def prove_write(self) -> None:
        self._open()

    async def close(self) -> None:
        self.keys.clear()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(Reason.SOURCE_UNREADABLE, f"{path}: {error.strerror}") from error


class FakeHearts:
    """The hearts for another thread: files belong to no loop."""

    def __init__(self, storage: FakeStorage) -> None:
        self.read, self.prove_write = storage.read, storage.prove_write

    async def close(self) -> None:
        pass


class Silence:
    """Witness of hosts that are nowhere."""

    async def ask(self, node: Node, deadline: float) -> tuple[Answer, str | None]:
        return Answer.SILENCE, None


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    given = options.parse(sys.argv[2:], os.environ)
    sys.exit(process.main(given, Outside(lambda: FakeStorage(folder), Silence)))
