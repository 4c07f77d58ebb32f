"""Pools, golden images, and what is seen of Ceph's side: image clients and blocklist entries."""

from dataclasses import dataclass

from respawn.model.node import Form
from respawn.model.placement import Locker, entity_ip


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

    @property
    def addresses(self) -> tuple[str, ...]:
        """Entity addresses of all of them, each once."""
        return tuple(dict.fromkeys(c.address for c in (*self.lockers, *self.watchers)))


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One blocklist entry: a host's address in a form, or (`form` None) one client's nonce."""

    address: str
    form: Form | None = None


def bans(entries: frozenset[Entry], address: str) -> bool:
    """Whether the client at entity address `address` is blocklisted, by nonce or by its IP."""
    ip = entity_ip(address)
    return Entry(address) in entries or any(Entry(ip, form) in entries for form in Form)
