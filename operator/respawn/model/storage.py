"""Pools, golden images, and what is seen of Ceph's side: image clients and blocklist entries."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from respawn.model.conditions import Condition
from respawn.model.node import Form
from respawn.model.placement import Locker, entity_ip


@dataclass(frozen=True, slots=True, order=True)
class Kept:
    """The RBD image of a disk whose server is gone (deletion.policy Retain)."""

    image: str
    server: str
    """Namespace and name of that server, as `customer-a/web-1`; empty if nobody knows."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A StoragePool: a Ceph pool. All pools of one Respawn live in one Ceph cluster."""

    name: str
    fsid: str = ""
    pool: str = ""
    """Ceph's name of it."""
    client: str = ""
    monitors: tuple[str, ...] = ()
    ready: bool = True
    secret: tuple[str, str] | None = None
    """Namespace and name of the Secret with its client's key."""
    uid: str = ""
    total: int = 0
    """Bytes it can hold, as last told in its status."""
    used: int = 0
    kept: tuple[Kept, ...] = ()
    """Images of disks of servers that are gone, as last told in its status."""
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = -1
    resource_version: str = ""
    generation: int = 1
    deleting: bool = False
    protected_by_us: bool = False
    created: datetime | None = None
    """When its object was made."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a golden image comes from: exactly one of `url`, `path` and `image` (in RBD)."""

    url: str | None = None
    path: str | None = None
    image: str | None = None
    pool: str | None = None
    """Ceph's name of the pool that `image` is in; the StoragePool's own if None."""
    snapshot: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A ServerImage; `size` (bytes) is known once it is imported and `ready`."""

    uid: str
    name: str
    pool: str = ""
    size: int = 0
    ready: bool = False
    reason: str = ""
    resource_version: str = ""
    generation: int = 1
    origin: Origin | None = None
    checksum: str | None = None
    """`sha256:HEX` of what is read from its origin."""
    phase: str = ""
    """A summary for people that no code reads."""
    location: str = ""
    """Where it is, as POOL/NAME@SNAPSHOT, once it is imported."""
    imported: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = -1
    deleting: bool = False
    protected_by_us: bool = False

    @property
    def rbd_name(self) -> str:
        """The RBD image that holds it; its snapshot `golden` is what disks are cloned from."""
        return f"image-{self.uid}"


@dataclass(frozen=True, slots=True)
class EpochMark:
    """What the root image's metadata says: outlives a control plane restored from a backup."""

    epoch: int
    resource_version: int


@dataclass(frozen=True, slots=True)
class ImageClients:
    """Who has an image open, by a read-only look. Watchers carry no client and no cookie."""

    lockers: tuple[Locker, ...] = ()
    watchers: tuple[Locker, ...] = ()
    gone: bool = False
    """There is no such image."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Entity addresses of all of them, each once."""
        return tuple(dict.fromkeys(c.address for c in (*self.lockers, *self.watchers)))


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One blocklist entry: a host's address in a form, or (`form` None) one client's nonce."""

    address: str
    form: Form | None = None
    brief: bool = False
    """As listed: it ends soon (Ceph's own default is an hour), so nothing may rest on it. It is
    not equal to the entry that lasts."""


def brief(entries: Collection[Entry], entry: Entry) -> bool:
    """Whether `entry` is listed, but ends soon. Adding it again does not prolong it."""
    return replace(entry, brief=True) in entries


def listed(entries: Collection[Entry], entry: Entry) -> bool:
    """Whether `entry` is listed now, for however long."""
    return entry in entries or brief(entries, entry)


def bans(entries: frozenset[Entry], address: str) -> bool:
    """Whether the client at entity address `address` is blocklisted now, by nonce or by its IP."""
    ip = entity_ip(address)
    return listed(entries, Entry(address)) or any(listed(entries, Entry(ip, f)) for f in Form)
