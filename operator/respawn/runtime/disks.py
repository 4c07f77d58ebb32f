"""Carries out the steps on a server's disks: announced, made, grown, and given to the trash."""

from dataclasses import replace

from respawn.model import actions
from respawn.model.actions import Outlook
from respawn.model.placement import Phase
from respawn.model.server import Disk, DiskStatus, Server, disk_image
from respawn.model.storage import Image
from respawn.model.world import World
from respawn.ports.errors import NotFound
from respawn.ports.images import Images
from respawn.runtime.points import Point
from respawn.runtime.server_record import ServerRecord
from respawn.runtime.settling import Outdated, gone, pool_of


class Disks:
    """One method per step; every one raises the port errors, and Outdated."""

    def __init__(self, *, record: ServerRecord, images: Images, point: Point) -> None:
        self._record, self._images, self._point = record, images, point

    async def ensure(
        self, step: actions.EnsureDisks, server: Server, outlook: Outlook, world: World
    ) -> None:
        fresh = await self._record.fresh(server, Phase.FREE)
        fresh = await self._announce_disks(fresh, outlook)
        known = {d.name: d for d in fresh.status.disks}
        for disk in fresh.spec.disks:
            made = known[disk.name]
            if not made.exists:
                source, pool = _source(disk.image, world), pool_of(made, world.pools)
                size = await self._images.ensure_disk(fresh, disk, pool, source)
                known[disk.name] = replace(made, size=size)
            elif made.size < disk.size:
                size = await self._grow_disk(fresh, disk, made, world)
                known[disk.name] = replace(made, size=size)
        self._point("disks")
        status = replace(fresh.status, disks=tuple(known.values()))
        await self._record.write(fresh, status, outlook, fresh.placement)

    async def _announce_disks(self, server: Server, outlook: Outlook) -> Server:
        """The intent first: a deletion after a crash must know of every image there may be."""
        known = {d.name for d in server.status.disks}
        wanted = tuple(
            DiskStatus(d.name, d.pool, disk_image(server.uid, d.name), 0, d.image or "")
            for d in server.spec.disks
            if d.name not in known
        )
        if not wanted:
            return server
        status = replace(server.status, disks=(*server.status.disks, *wanted))
        written = await self._record.write(server, status, outlook, server.placement)
        self._point("making")
        return written

    async def _grow_disk(self, server: Server, disk: Disk, made: DiskStatus, world: World) -> int:
        """It has its content, so its ServerImage is not asked for; and it is never made anew."""
        pool = pool_of(made, world.pools)
        try:
            await self._images.read_epoch(pool, made.image)
        except NotFound:
            # safety: S10. A new, empty disk in its place would hide that the customer's is gone.
            raise gone(made, pool) from None
        return await self._images.ensure_disk(server, replace(disk, image=None), pool, None)

    async def trash(
        self, step: actions.TrashDisks, server: Server, outlook: Outlook, world: World
    ) -> None:
        # safety: Deleted is terminal, nothing can be placed on these images any more.
        fresh = await self._record.fresh(server, Phase.DELETED)
        for disk in fresh.status.disks:
            await self._images.trash(pool_of(disk, world.pools), disk.image, fresh.uid)
            self._point("trash")
        await self._record.write(fresh, replace(fresh.status, disks=()), outlook, fresh.placement)


def _source(image: str | None, world: World) -> Image | None:
    if image is None:
        return None
    named = (i for i in world.images.values() if i.name == image and not i.deleting)
    found = next(named, None)
    if found is None or not found.ready:
        raise Outdated(f"there is no ServerImage {image} that is Ready")
    return found
