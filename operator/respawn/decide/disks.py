"""Are a server's disks there, and if not, what is missing?"""

from dataclasses import dataclass, replace

from respawn.model.conditions import Reason, Type, find
from respawn.model.server import ROOT_DISK, Disk, DiskStatus, Server
from respawn.model.storage import Image
from respawn.model.units import format_quantity
from respawn.model.world import World


@dataclass(frozen=True, slots=True)
class DiskState:
    """`ready`, or `missing` (can be created now), or what stands in the way."""

    ready: bool = False
    missing: bool = False
    reason: Reason | None = None
    message: str = ""
    stalled: bool = False
    """Whether only the user can change it."""
    usable: bool = False
    """Whether all disks are there, and one merely cannot be made larger as wished."""

    @property
    def startable(self) -> bool:
        """Whether a server can be started with them."""
        return self.ready or self.usable


def judge(world: World, server: Server) -> DiskState:
    """The state of all disks of `server`."""
    lacking = [d for d in server.spec.disks if not _there(server, d)]
    if not lacking:
        return DiskState(ready=True)
    known = {d.name: d for d in server.status.disks}
    for disk in lacking:
        blocked = _not_as_made(disk, known.get(disk.name)) or _blocked(
            world, disk, made=_exists(known.get(disk.name))
        )
        if blocked is not None:
            merely_small = blocked.reason is Reason.DISK_LARGER_THAN_POOL
            usable = merely_small and all(_as_made(d, known.get(d.name)) for d in lacking)
            return replace(blocked, usable=usable)
    return DiskState(missing=True)


def _there(server: Server, disk: Disk) -> bool:
    return any(
        (d.name, d.pool) == (disk.name, disk.pool) and _same_source(disk, d) and d.size >= disk.size
        for d in server.status.disks
    )


def _exists(known: DiskStatus | None) -> bool:
    return known is not None and known.exists


def _as_made(disk: Disk, known: DiskStatus | None) -> bool:
    return _exists(known) and _not_as_made(disk, known) is None


def _same_source(disk: Disk, known: DiskStatus) -> bool:
    return known.source is None or known.source == (disk.image or "")


def _not_as_made(disk: Disk, known: DiskStatus | None) -> DiskState | None:
    """Removed from the spec and added again, as another one: its image and content stay the same.
    The API server mostly refuses it; it cannot while nothing is recorded of the disk.
    """
    if known is None:
        return None
    if known.pool != disk.pool:
        message = (
            f"disk {disk.name} is in StoragePool {known.pool}, and cannot move to {disk.pool}: set "
            "its pool back, or add a disk of another name"
        )
        return DiskState(reason=Reason.DISK_IN_OTHER_POOL, message=message, stalled=True)
    if not _same_source(disk, known):
        had, wanted = _filled(known.source), _filled(disk.image)
        message = (
            f"disk {disk.name} was made {had}, not {wanted}, and keeps its content: set its source "
            "back, or add a disk of another name"
        )
        return DiskState(reason=Reason.DISK_FROM_OTHER_SOURCE, message=message, stalled=True)
    return None


def _filled(image: str | None) -> str:
    return f"from ServerImage {image}" if image else "blank"


def _or(disk: Disk, what: str) -> str:
    """How to name another: in the spec of a disk that is there already neither can be changed."""
    if disk.name == ROOT_DISK:
        return f", or delete the server and apply it with another {what}"
    return f", or add the disk under another name, with another {what}, in its place"


def _blocked(world: World, disk: Disk, *, made: bool) -> DiskState | None:
    pool = world.pools.get(disk.pool)
    if pool is None:
        message = (
            f"disk {disk.name}: there is no StoragePool {disk.pool}; create it{_or(disk, 'pool')}"
        )
        return DiskState(reason=Reason.UNKNOWN_POOL, message=message)
    if pool.deleting:
        message = (
            f"disk {disk.name}: StoragePool {disk.pool} is being deleted; create it again when it "
            f"is gone{_or(disk, 'pool')}"
        )
        return DiskState(reason=Reason.POOL_NOT_READY, message=message)
    if not pool.ready:
        message = f"disk {disk.name}: waits until StoragePool {disk.pool} is Ready"
        return DiskState(reason=Reason.POOL_NOT_READY, message=message)
    # Thin disks may promise more than there is, together; one alone never keeps such a promise, and
    # to make a huge one (its object map) holds up the whole pool.
    if pool.total and disk.size > pool.total:
        message = (
            f"disk {disk.name}: {format_quantity(disk.size)} are more than StoragePool {pool.name} "
            f"holds in all, {format_quantity(pool.total)}; make the disk smaller"
        )
        return DiskState(reason=Reason.DISK_LARGER_THAN_POOL, message=message, stalled=True)
    # A disk that was made has its content: its ServerImage is wanted no more, and may be gone.
    return None if made or disk.image is None else _image_blocked(world, disk)


def _failed(image: Image) -> str:
    ready = find(image.conditions, Type.READY)
    if ready is None or image.phase != "Failed":
        return ""
    return f"; its import has failed ({ready.reason}), it says why"


def _image_blocked(world: World, disk: Disk) -> DiskState | None:
    named = (i for i in world.images.values() if i.name == disk.image and not i.deleting)
    image = next(named, None)
    if image is None:
        other = _or(disk, "source")
        message = f"disk {disk.name}: there is no ServerImage {disk.image}; create it{other}"
        return DiskState(reason=Reason.UNKNOWN_IMAGE, message=message)
    if not image.ready:
        message = f"disk {disk.name}: waits until ServerImage {disk.image} is Ready{_failed(image)}"
        return DiskState(reason=Reason.IMAGE_NOT_READY, message=message)
    if image.size > disk.size:
        message = (
            f"disk {disk.name}: {format_quantity(disk.size)} are less than the "
            f"{format_quantity(image.size)} of ServerImage {disk.image}; make the disk larger"
        )
        return DiskState(reason=Reason.IMAGE_LARGER_THAN_DISK, message=message, stalled=True)
    return None
