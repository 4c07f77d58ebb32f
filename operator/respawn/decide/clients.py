"""R7: who has a server's images open, and what may be done about it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from respawn.model.node import Node
from respawn.model.placement import Locker
from respawn.model.storage import Entry, ImageClients


@dataclass(frozen=True, slots=True)
class Settling:
    """What stands between an image and `Free` (or the next start)."""

    ban: frozenset[Entry] = frozenset()
    """Nonces to blocklist, for good."""
    unlock: tuple[Locker, ...] = ()
    """Exactly these locks are to be broken, after that."""
    foreign: tuple[Locker, ...] = ()
    """Clients of nobody we may fence: hold."""
    gone: bool = False
    """There is no such image."""

    @property
    def left_behind(self) -> tuple[Locker, ...]:
        """Foreign locks whose holders do not watch the image any more: they are dead, or cut off
        for half a minute, and a dead one's lock stays for ever.
        """
        watching = {c.address for c in self.foreign if not c.client}
        return tuple(c for c in self.foreign if c.client and c.address not in watching)


def settle(
    clients: ImageClients,
    *,
    host: Collection[str],
    own: Collection[str],
    listing: Collection[Entry],
) -> Settling:
    """Sort an image's clients, as just listed.

    `host` are the IPs of the host that the revoked placement was on (none while Free), `own` the
    entity addresses of this operator's own clients, `listing` the blocklist as read before.
    """
    # safety: the operator is never fenced, and neither is a client that is not at the old host:
    # it may be a legitimate one. What is at the old host while the server is Revoked may not live.
    others = [c for c in (*clients.lockers, *clients.watchers) if c.address not in own]
    banned = {c.address for c in others if Entry(c.address) in listing}
    ours = [c for c in others if c.address in banned or c.ip in host]
    return Settling(
        ban=frozenset(Entry(c.address) for c in ours if c.address not in banned),
        unlock=tuple(c for c in ours if c.client),
        foreign=tuple(c for c in others if c not in ours),
        gone=clients.gone,
    )


def joined(parts: Iterable[Settling]) -> Settling:
    """Over all images of a server."""
    all_parts = tuple(parts)
    return Settling(
        ban=frozenset().union(*(p.ban for p in all_parts)),
        unlock=tuple(x for p in all_parts for x in p.unlock),
        foreign=tuple(x for p in all_parts for x in p.foreign),
    )


def host_addresses(node: Node | None) -> frozenset[str]:
    """Every address that the host of a revoked placement may have used towards Ceph."""
    if node is None:
        return frozenset()
    return frozenset((*node.storage_addresses, *node.fence.addresses))


def tell(foreign: Iterable[Locker]) -> str:
    """Foreign clients, for a condition."""
    return ", ".join(sorted({c.address for c in foreign}))
