"""Ceph as it was measured: a watch outlives its client by 27 s, a lock for ever, a blocklisted
client is shut at once and for good, and an `rm` of one entry lets it in again unless it noticed."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulation.net import STORAGE, Gate, Net, Process

from respawn.model.conditions import Reason
from respawn.model.placement import Locker, entity_ip
from respawn.model.server import Disk, Server, disk_image
from respawn.model.sight import Beat
from respawn.model.storage import Entry, EpochMark, Image, ImageClients, Pool, bans, listed
from respawn.ports.errors import NotFound, Refused

END = "ceph"
DEADLINE = 5.0
WATCH_LIVES = 27.0


@dataclass
class RbdImage:
    """One image. `alive` says whether a client can still be heard."""

    owner: str
    size: int
    lockers: list[Locker] = field(default_factory=list)
    watchers: dict[str, float] = field(default_factory=dict)
    """Client -> when it was last heard."""
    mark: EpochMark | None = None


class FakeCeph:
    """Images, the blocklist and the hearts. `changed` is called after what could break a rule."""

    def __init__(self, net: Net, changed: Callable[[], None]) -> None:
        self.net, self.changed = net, changed
        self.gate = Gate()
        self.images: dict[str, RbdImage] = {}
        self.trashed: list[str] = []
        self.entries: frozenset[Entry] = frozenset()
        self.hearts: dict[str, Beat] = {}
        self.heard: Callable[[str], bool] = lambda client: True
        """Whether a client is alive and reachable: the world's truth."""
        self.removing: Callable[[str], None] = lambda uid: None
        self.command = 0.015
        """Seconds a monitor command takes."""
        self._nonce = 1000

    def new_client(self, ip: str) -> str:
        self._nonce += 1
        return f"{ip}:0/{self._nonce}"

    # The blocklist.

    def add(self, entries: Collection[Entry]) -> None:
        # What is there keeps its expiry.
        self.entries = self.entries | {e for e in entries if not listed(self.entries, e)}
        for image in self.images.values():
            for client in [c for c in image.watchers if bans(self.entries, c)]:
                del image.watchers[client]
        self.changed()

    def remove(self, entries: Collection[Entry]) -> None:
        self.entries = self.entries - {replace(e, brief=b) for e in entries for b in (True, False)}
        self.changed()

    # Images.

    def open(self, name: str, client: str) -> None:
        """A QEMU opens it. Raises Refused when it is shut out, NotFound without image."""
        image = self._image(name)
        if bans(self.entries, client):
            raise Refused(Reason.START_FAILED, "Cannot send after transport endpoint shutdown")
        now = asyncio.get_running_loop().time()
        image.watchers[client] = now
        locker = Locker(f"client.{entity_ip(client)}-{client.rpartition('/')[2]}", "auto 1", client)
        holder = image.lockers[0] if image.lockers else None
        # A living holder hands its lock over; a dead one's stays: hosts may not break it.
        if holder is None or self.heard(holder.address):
            image.lockers = [locker]

    def close(self, client: str) -> None:
        """An orderly end."""
        for image in self.images.values():
            image.watchers.pop(client, None)
            image.lockers = [x for x in image.lockers if x.address != client]

    def holds_lock(self, name: str, client: str) -> bool:
        image = self.images.get(name)
        return image is not None and any(x.address == client for x in image.lockers)

    def _image(self, name: str) -> RbdImage:
        if name not in self.images:
            raise NotFound(name)
        return self.images[name]

    def clients(self, name: str) -> ImageClients:
        image, now = self._image(name), asyncio.get_running_loop().time()
        for client, heard in list(image.watchers.items()):
            if self.heard(client):
                image.watchers[client] = now
            elif now - heard > WATCH_LIVES:
                del image.watchers[client]
        watchers = tuple(Locker("", "", client) for client in image.watchers)
        return ImageClients(tuple(image.lockers), watchers)

    def hear(self) -> None:
        """Every second: living clients are heard."""
        now = asyncio.get_running_loop().time()
        for image in self.images.values():
            for client in image.watchers:
                if self.heard(client):
                    image.watchers[client] = now

    def ensure(self, server: Server, disk: Disk, source: Image | None) -> int:
        name = disk_image(server.uid, disk.name)
        if disk.image is not None and source is None:
            raise Refused(Reason.UNKNOWN_IMAGE, f"there is no ServerImage {disk.image}")
        image = self.images.setdefault(name, RbdImage(server.uid, disk.size))
        if image.owner != server.uid:
            raise Refused(Reason.DISK_FAILED, f"{name} belongs to another")
        image.size = max(image.size, disk.size)
        return image.size

    def break_lock(self, name: str, locker: Locker) -> None:
        image = self.images.get(name)
        if image is not None:
            image.lockers = [
                x for x in image.lockers if (x.client, x.cookie) != (locker.client, locker.cookie)
            ]

    def trash(self, name: str, owner: str) -> None:
        image = self.images.get(name)
        if image is None:
            return
        if image.owner != owner or self.clients(name).watchers:
            raise Refused(Reason.DISK_FAILED, f"{name} is in use or another's")
        self.removing(owner)
        del self.images[name]
        self.trashed.append(name)

    def write_epoch(self, name: str, mark: EpochMark) -> None:
        image = self._image(name)
        self.images[name] = replace(image, mark=mark)

    # Hearts.

    def beat(self, host: str, beat: Beat, ip: str) -> None:
        if any(e.form is not None and e.address == ip for e in self.entries):
            raise Refused(Reason.BLOCKLISTED, "this host is blocklisted")
        self.hearts[host] = beat


class CephPort:
    """`Images`, `FencePort` and `HeartReads` as one operator sees them."""

    def __init__(self, ceph: FakeCeph, who: Process) -> None:
        self._ceph, self._who = ceph, who
        self._client = ceph.new_client(who.kernel.address)

    async def _call(self, label: str, effect: Callable[[], Any], base: float = 0.001) -> Any:
        ceph = self._ceph
        return await ceph.net.call(
            self._who, STORAGE, END, effect,
            label=label, deadline=DEADLINE, server_gate=ceph.gate, base=base,
        )  # fmt: skip

    # FencePort

    async def add(self, entries: Collection[Entry]) -> None:
        wanted = frozenset(entries)
        await self._call("add", lambda: self._ceph.add(wanted), base=self._ceph.command)

    async def remove(self, entries: Collection[Entry]) -> None:
        wanted = frozenset(entries)
        await self._call("remove", lambda: self._ceph.remove(wanted), base=self._ceph.command)

    async def listing(self) -> frozenset[Entry]:
        return await self._call("listing", lambda: self._ceph.entries)

    async def own_addresses(self) -> frozenset[str]:
        return frozenset({self._client})

    async def infrastructure(self) -> frozenset[str]:
        return frozenset({"198.51.100.1"})

    # Images

    async def ensure_disk(
        self, server: Server, disk: Disk, pool: Pool, source: Image | None
    ) -> int:
        return await self._call(
            "ensure_disk", lambda: self._ceph.ensure(server, disk, source), base=0.02
        )

    async def clients(self, pool: Pool, image: str) -> ImageClients:
        return await self._call("clients", lambda: self._ceph.clients(image), base=0.003)

    async def lockers(self, pool: Pool, image: str) -> tuple[Locker, ...]:
        return await self._call("lockers", lambda: self._ceph.clients(image).lockers)

    async def break_lock(self, pool: Pool, image: str, locker: Locker) -> None:
        await self._call("break_lock", lambda: self._ceph.break_lock(image, locker))

    async def read_epoch(self, pool: Pool, image: str) -> EpochMark | None:
        return await self._call("read_epoch", lambda: self._ceph._image(image).mark)

    async def write_epoch(self, pool: Pool, image: str, mark: EpochMark) -> None:
        await self._call("write_epoch", lambda: self._ceph.write_epoch(image, mark))

    async def trash(self, pool: Pool, image: str, owner_uid: str) -> None:
        await self._call("trash", lambda: self._ceph.trash(image, owner_uid))

    # HeartReads

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        def both() -> tuple[Beat | None, ...]:
            beat = self._ceph.hearts.get(host)
            return beat, beat

        return await self._call("read", both)

    async def prove_write(self) -> None:
        await self._call("prove_write", lambda: None)


class HeartPort:
    """`HeartWrites` as one host's process sees it."""

    def __init__(self, ceph: FakeCeph, who: Process, host: str) -> None:
        self._ceph, self._who, self._host = ceph, who, host

    async def beat(self, beat: Beat) -> None:
        ceph, ip = self._ceph, self._who.kernel.address
        await ceph.net.call(
            self._who, STORAGE, END, lambda: ceph.beat(self._host, beat, ip),
            label="beat", deadline=2.0, server_gate=ceph.gate,
        )  # fmt: skip

    async def blocklist(self) -> frozenset[Entry]:
        ceph = self._ceph
        return await ceph.net.call(
            self._who,
            STORAGE,
            END,
            lambda: ceph.entries,
            label="blocklist",
            deadline=2.0,
            server_gate=ceph.gate,
        )
