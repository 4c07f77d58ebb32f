"""Making and growing the images of disks, and taking them away. Blocking; run by `CephImages`.

An image of ours is named by a UID and carries its owner's, a mark that is written last, when the
image is complete. One of our name without it is either the rest of a creation that broke off, which
is empty, or somebody else's, and never touched (S9).
"""

import contextlib
from dataclasses import dataclass

import rados
import rbd

from respawn.adapters.ceph import clients, errors, locks, marks
from respawn.adapters.ceph.handle import Handle
from respawn.model.conditions import Reason
from respawn.model.storage import Image
from respawn.ports.errors import Conflict, NotFound, Refused

FEATURES = (
    rbd.RBD_FEATURE_LAYERING
    | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    | rbd.RBD_FEATURE_OBJECT_MAP
    | rbd.RBD_FEATURE_FAST_DIFF
    | rbd.RBD_FEATURE_DEEP_FLATTEN
)
SNAPSHOT = "golden"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image as it is to be; `golden` is what it is cloned from, None is blank."""

    name: str
    size: int
    owner: str
    golden: Image | None = None
    server: str = ""


def ensure(handle: Handle, pool: str, wanted: Wanted) -> int:
    """Make it, or make it larger; returns its size in bytes, never smaller than it was.

    Raises Refused, Conflict (another operator is at it), Unavailable.
    """
    ioctx = handle.ioctx(pool)
    if _ours(ioctx, wanted) or not _created(ioctx, wanted):
        return _grow(handle, ioctx, wanted)
    size = _grow(handle, ioctx, wanted)
    marks.write(ioctx, wanted.name, {marks.OWNER: wanted.owner, marks.SERVER: wanted.server})
    return size


def _ours(ioctx: rados.Ioctx, wanted: Wanted) -> bool:
    with contextlib.suppress(NotFound):
        return marks.read(ioctx, wanted.name).get(marks.OWNER) == wanted.owner
    return False


def _created(ioctx: rados.Ioctx, wanted: Wanted) -> bool:
    """Create it, over what a broken-off creation left; False: somebody else has meanwhile."""
    with contextlib.suppress(Conflict):
        _create(ioctx, wanted)
        return True
    if _ours(ioctx, wanted):
        return False
    _clear_away(ioctx, wanted.name, wanted.owner)
    _create(ioctx, wanted)
    return True


def _create(ioctx: rados.Ioctx, wanted: Wanted) -> None:
    with errors.translated(f"create image {wanted.name}"):
        if wanted.golden is None:
            rbd.RBD().create(ioctx, wanted.name, wanted.size, features=FEATURES)
            return
    _clone(ioctx, wanted, wanted.golden)


def _clone(ioctx: rados.Ioctx, wanted: Wanted, golden: Image) -> None:
    size = _golden_size(ioctx, golden)
    if size > wanted.size:
        message = (
            f"ServerImage {golden.name} has {size} bytes, the disk only {wanted.size}: "
            "make the disk larger"
        )
        raise Refused(Reason.IMAGE_LARGER_THAN_DISK, message)
    with errors.translated(f"clone {golden.rbd_name} to {wanted.name}"):
        rbd.RBD().clone(ioctx, golden.rbd_name, SNAPSHOT, ioctx, wanted.name, features=FEATURES)


def _golden_size(ioctx: rados.Ioctx, golden: Image) -> int:
    try:
        with rbd.Image(ioctx, golden.rbd_name, snapshot=SNAPSHOT, read_only=True) as image:
            size: int = image.size()
            return size
    except rbd.ImageNotFound as error:
        message = (
            f"the pool has no {golden.rbd_name}@{SNAPSHOT}, which ServerImage {golden.name} was "
            "imported into: import it again"
        )
        raise Refused(Reason.UNKNOWN_IMAGE, message) from error


def _grow(handle: Handle, ioctx: rados.Ioctx, wanted: Wanted) -> int:
    """Resize it upwards, if nobody has it open."""
    with rbd.Image(ioctx, wanted.name, read_only=True) as image:
        size: int = image.size()
    if size >= wanted.size:
        return size
    _make_idle(ioctx, wanted.name)
    marks.write(ioctx, wanted.name, {marks.MAKER: handle.address})
    with rbd.Image(ioctx, wanted.name) as image:
        image.resize(wanted.size)
    return wanted.size


def _make_idle(ioctx: rados.Ioctx, name: str) -> None:
    """Make sure that nobody has it open. Raises Refused: somebody has."""
    maker = marks.read(ioctx, name).get(marks.MAKER)
    for locker in clients.of(ioctx, name).lockers:
        # safety: by its own mark this is an operator that died, or was deposed, while it resized
        # the image. It writes no data; a server's QEMU never has that address.
        if locker.address == maker:
            locks.break_one(ioctx, name, locker)
    left = clients.of(ioctx, name).addresses
    if left:
        message = f"image {name} is in use by {', '.join(left)}: waits until that has ended"
        raise Refused(Reason.FOREIGN_CLIENT, message)


def trash(ioctx: rados.Ioctx, name: str, owner: str) -> None:
    """Move it to the RBD trash; gone already is done. Raises Refused: in use, or not ours."""
    try:
        mark = marks.read(ioctx, name).get(marks.OWNER)
    except NotFound:
        mark = None
    if mark == owner:
        # safety: ours by its mark. RBD itself refuses while anybody has it open.
        _make_idle(ioctx, name)
        move_to_trash(ioctx, name)
    else:
        _clear_away(ioctx, name, owner)


def _clear_away(ioctx: rados.Ioctx, name: str, owner: str) -> None:
    """Move the rest of a broken-off creation to the trash. Raises Refused: it is not one; Conflict:
    there is another one of that name by now.
    """
    seen = _id(ioctx, name)
    try:
        mark = marks.read(ioctx, name).get(marks.OWNER)
    except NotFound:
        mark = None  # not even a header
    else:
        _refuse_foreign(ioctx, name, owner, mark)
        _make_idle(ioctx, name)
    # safety: it has our name, which holds a random UID, no owner of its own, not one byte of data,
    # and nobody has it open: it is what a creation of ours left when it broke off. RBD takes names
    # only: another operator may have cleared it away, and made a whole one since.
    if _id(ioctx, name) != seen:
        raise Conflict(f"image {name} is made by another operator")
    move_to_trash(ioctx, name)


def _id(ioctx: rados.Ioctx, name: str) -> str | None:
    with contextlib.suppress(NotFound):
        return marks.image_id(ioctx, name)
    return None


def _refuse_foreign(ioctx: rados.Ioctx, name: str, owner: str, mark: str | None) -> None:
    with rbd.Image(ioctx, name, read_only=True) as image:
        copied = mark is not None and mark == _parent_owner(image)
        empty = not _has_data(image)
    if not (empty and (mark is None or copied)):
        told = f"belongs to {mark}" if mark else "carries no mark of ours"
        message = f"image {name} {told}, not to {owner}: rename or remove it"
        raise Refused(Reason.DISK_FAILED, message)


def _parent_owner(image: rbd.Image) -> str | None:
    """The owner of the image it is a clone of: a clone starts with its parent's metadata."""
    try:
        _, parent, _ = image.parent_info()
    except rbd.ImageNotFound:
        return None
    return parent.removeprefix("image-") if parent.startswith("image-") else None


def _has_data(image: rbd.Image) -> bool:
    extents: list[int] = []
    image.diff_iterate(
        0,
        image.size(),
        None,
        lambda _offset, length, exists: extents.append(length) if exists else None,
        include_parent=False,
        whole_object=True,
    )
    return bool(extents)


def move_to_trash(ioctx: rados.Ioctx, name: str) -> None:
    """Gone already is done. Raises Refused: somebody has it open."""
    try:
        rbd.RBD().trash_move(ioctx, name, 0)
    except rbd.ImageNotFound:
        return
    except rbd.ImageBusy as error:
        raise Refused(Reason.FOREIGN_CLIENT, f"image {name} is in use") from error
