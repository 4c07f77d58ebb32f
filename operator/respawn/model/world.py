"""The picture that decisions are made on: one process's view of everything, at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from respawn.model.base import Owner
from respawn.model.node import Form, Node
from respawn.model.policy import Policy
from respawn.model.server import Server
from respawn.model.sight import Sight
from respawn.model.storage import Entry, Image, Pool


@dataclass(frozen=True, slots=True)
class Me:
    """The operator process itself; what it doubts before it fences."""

    owner: Owner
    leader: bool = False
    lease_until: float = 0.0
    """Monotonic moment after which leadership may no longer be assumed."""
    api_ok_at: float | None = None
    """Begin of the last API round trip that came back."""
    ceph_ok_at: float | None = None
    """Begin of the last Ceph write of our own that came back."""
    lifts_returned: frozenset[tuple[str, int]] = frozenset()
    """(UID of a node, generation) whose `rm` of ours has returned."""
    removals_lost: frozenset[tuple[str, Form]] = frozenset()
    """(name of a node, form) in which an `rm` of ours was sent that never returned."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a step on one object was last refused; kept until the object or its needs change."""

    reason: str
    message: str
    at: float
    times: int = 1
    """Refusals for that reason in a row."""


@dataclass(frozen=True, slots=True)
class World:
    """An immutable picture. `by_node` holds, for each node, the UIDs that may have an instance."""

    me: Me
    servers: Mapping[str, Server] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    sights: Mapping[str, Sight] = field(default_factory=dict)
    by_node: Mapping[str, frozenset[str]] = field(default_factory=dict)
    reserved: Mapping[str, str] = field(default_factory=dict)
    """UID -> node of placements being written this very moment."""
    recovering: frozenset[str] = frozenset()
    """UIDs whose recovery is open."""
    nonced: Mapping[str, int] = field(default_factory=dict)
    """UID -> revoked epoch whose clients this process has already blocklisted once."""
    trouble: Mapping[str, Trouble] = field(default_factory=dict)
    """Key (as text) -> why its last step was refused."""
    blocklist: frozenset[Entry] | None = None
    """As last read; None when it could not be."""
    protected: frozenset[str] | None = frozenset()
    """IPs of mons, OSDs, mgrs and this operator: never fenced. None while they are unknown."""

    def here(self, node: str) -> tuple[Server, ...]:
        """Servers of which an instance may exist on that node, in a stable order."""
        return tuple(self.servers[uid] for uid in sorted(self.by_node.get(node, ())))
