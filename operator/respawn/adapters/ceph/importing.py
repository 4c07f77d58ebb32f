"""Importing a golden image: streamed, sparse, verified, and whole or not there. Blocking.

It is written into `image-UID.part`, verified, given the snapshot `golden` and its marks, and
renamed to `image-UID` last. A crash leaves a part that the next import throws away.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import rados
import rbd

from respawn.adapters.ceph import clients, disks, errors, locks, marks
from respawn.adapters.ceph.handle import Handle
from respawn.adapters.ceph.sources import QCOW2, Source, Stream
from respawn.adapters.ceph.sparse import runs
from respawn.model.conditions import Reason
from respawn.model.storage import Image
from respawn.ports.errors import Conflict, NotFound, Refused, Unavailable

LONGEST = 24 * 3600.0
"""Seconds after which an import is given up."""
SECTOR = 512
STEP = 1 << 30
"""Bytes by which an image grows whose source does not tell its size."""


@dataclass(slots=True)
class Order:
    """One import. `cancelled` ends it at the next chunk."""

    image: Image
    source: Source
    checksum: str | None
    progress: Callable[[int, int | None], None] = lambda done, total: None
    cancelled: threading.Event = field(default_factory=threading.Event)


def run(handle: Handle, pool: str, order: Order) -> int:
    """Import it unless it is there; returns its size in bytes.

    What is there of another content is Refused: the spec was edited while it was imported.
    """
    ioctx, name = handle.ioctx(pool), order.image.rbd_name
    there = _imported(ioctx, name, order.image)
    if there is not None:
        # safety: servers are cloned from what is published; it is never replaced under them.
        _verify(there, order)
        return _size(ioctx, name)
    part = f"{name}.part"
    verified = _imported(ioctx, part, order.image)
    if verified is None or not _is_wanted(verified, order):
        _throw_away(ioctx, part)
        _fill_or_leave_nothing(handle, pool, part, order)
    with errors.translated(f"rename {part}"):
        rbd.RBD().rename(ioctx, part, name)
    return _size(ioctx, name)


def remove(handle: Handle, pool: str, image: Image) -> None:
    """Move it, and what a broken-off import left of it, to the trash or away."""
    ioctx, name = handle.ioctx(pool), image.rbd_name
    _throw_away(ioctx, f"{name}.part")
    if _imported(ioctx, name, image) is not None:
        # safety: S10, ours by its mark, and its ServerImage was deleted; disks that were cloned
        # from it still find their parent in the trash, which keeps it as long as they need it.
        disks.move_to_trash(ioctx, name)


def _imported(ioctx: rados.Ioctx, name: str, whose: Image) -> str | None:
    """The checksum of what was imported into it; None: nothing was, or not for this ServerImage.

    The owner is marked when all else is done.
    """
    try:
        found = marks.read(ioctx, name)
    except NotFound:
        return None
    ours = found.get(marks.OWNER) == whose.uid
    return found.get(marks.CHECKSUM, "") if ours else None


def _size(ioctx: rados.Ioctx, name: str) -> int:
    with rbd.Image(ioctx, name, snapshot=disks.SNAPSHOT, read_only=True) as image:
        size: int = image.size()
        return size


def _throw_away(ioctx: rados.Ioctx, part: str) -> None:
    """Remove what a broken-off import left. Raises Conflict while somebody is writing it."""
    try:
        found = clients.of(ioctx, part)
    except NotFound:
        return
    if found.watchers:
        raise Conflict(f"{part} is being written by {found.watchers[0].address}")
    # safety: a part is ours by its name (it holds the ServerImage's UID), it was never renamed, so
    # nothing was ever cloned from it, and nobody is writing it.
    for locker in found.lockers:
        locks.break_one(ioctx, part, locker)
    with rbd.Image(ioctx, part) as image:
        for snapshot in list(image.list_snaps()):
            image.remove_snap(snapshot["name"])
    rbd.RBD().remove(ioctx, part)


def _fill_or_leave_nothing(handle: Handle, pool: str, part: str, order: Order) -> None:
    try:
        _fill(handle, pool, part, order)
    except Refused:
        _throw_away(handle.ioctx(pool), part)
        raise


def _fill(handle: Handle, pool: str, part: str, order: Order) -> None:
    ioctx = handle.ioctx(pool)
    with order.source.open(handle, pool) as stream:
        with errors.translated(f"create {part}"):
            rbd.RBD().create(ioctx, part, stream.total or STEP, features=disks.FEATURES)
        with rbd.Image(ioctx, part) as image:
            checksum = _copy(image, stream, order)
            _verify(checksum, order)
            image.create_snap(disks.SNAPSHOT)
            # safety: marks go by name. As long as we have it open nobody throws it away, so this
            # marks what was verified, and nothing that somebody else has begun in its place.
            marks.write(ioctx, part, {marks.OWNER: order.image.uid, marks.CHECKSUM: checksum})


def _copy(image: rbd.Image, stream: Stream, order: Order) -> str:
    """Write the stream into the image, which then has its size; returns its checksum."""
    digest, done, size = hashlib.sha256(), 0, image.size()
    for chunk in stream.chunks:
        if order.cancelled.is_set():
            raise Unavailable(f"the import of {order.image.name} was broken off")
        if not done and chunk.startswith(QCOW2):
            message = "the source is a qcow2 image: convert it with qemu-img convert -O raw"
            raise Refused(Reason.SOURCE_UNREADABLE, message)
        digest.update(chunk)
        if done + len(chunk) > size:
            size = done + STEP
            image.resize(size)
        for offset, content in runs(chunk):
            image.write(content, done + offset)
        done += len(chunk)
        order.progress(done, stream.total)
    _finish(image, stream, done)
    return f"sha256:{digest.hexdigest()}"


def _finish(image: rbd.Image, stream: Stream, done: int) -> None:
    if not done or (stream.total is not None and done < stream.total):
        raise Unavailable(f"the source ended after {done} of {stream.total} bytes")
    image.resize(-(-done // SECTOR) * SECTOR)
    image.flush()


def _is_wanted(checksum: str, order: Order) -> bool:
    return order.checksum in (None, checksum)


def _verify(checksum: str, order: Order) -> None:
    if not _is_wanted(checksum, order):
        message = f"the source has {checksum}, not {order.checksum}"
        raise Refused(Reason.CHECKSUM_MISMATCH, message)
