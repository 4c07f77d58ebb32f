"""What the operator knows: slim values fed by watches, monitors and its own writes.

Everything in here may be behind. Deciders propose on it; executors read afresh before anything that
cannot be undone.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from respawn.decide import liveness
from respawn.decide.election import Standing
from respawn.model.base import Key, Kind, Owner
from respawn.model.node import FencePhase, Node
from respawn.model.policy import Policy, Timings
from respawn.model.server import Server
from respawn.model.sight import Beat, Sight, Testimony, WatchLook
from respawn.model.storage import Entry, Image, Pool
from respawn.model.world import Me, Trouble, World

Changed = Callable[[Key], None]
T = TypeVar("T", Server, Node, Image)


def is_newer(
    value: Server | Node | Image | Pool, known: Server | Node | Image | Pool | None
) -> bool:
    """Whether `value` was read later than what is known; watches may bring old ones late."""
    if known is None or not known.resource_version:
        return True
    return int(value.resource_version or 0) > int(known.resource_version)


def by_priority(servers: Iterable[Server]) -> list[Server]:
    """Higher first: in this order those of a host that is lost get their turns."""
    return sorted(servers, key=lambda s: (-s.spec.priority, s.uid))


class Store:
    """The operator's memory, mutated on its loop only; `world()` is its view for one decision.

    Values in it are frozen, so a look at one from another thread shows it as it was or as it is.
    """

    def __init__(self, me: Owner, changed: Changed = lambda key: None) -> None:
        self._me = Me(me)
        self.standing: Callable[[], Standing] = Standing
        """Asked anew for each picture: leadership is kept elsewhere, and may end at any moment."""
        self.changed = self.seen = changed
        self.pool_changed: Callable[[str], None] = lambda name: None
        self.servers: dict[str, Server] = {}
        self.nodes: dict[str, Node] = {}
        self.pools: dict[str, Pool] = {}
        self.images: dict[str, Image] = {}
        self.policy = Policy()
        self.sights: dict[str, Sight] = {}
        self.blocklist: frozenset[Entry] | None = None
        self.protected: frozenset[str] | None = None
        self.trouble: dict[str, Trouble] = {}
        self.reserved: dict[str, str] = {}
        self.nonced: dict[str, int] = {}
        self.uneasy: set[str] = set()
        """Nodes that were not healthy when last decided about, or whose last report on their
        servers was not believed: every sign of them matters."""
        self._by_node: dict[str, frozenset[str]] = {}
        self._recovering: frozenset[str] = frozenset()

    @property
    def me(self) -> Me:
        """This process, as of this moment."""
        standing = self.standing()
        return replace(
            self._me,
            leader=standing.leader,
            lease_until=standing.until,
            api_ok_at=_later(self._me.api_ok_at, standing.renewed_at),
        )

    def world(self) -> World:
        """The picture of this moment; good until the next `await`."""
        return World(
            me=self.me,
            servers=MappingProxyType(self.servers),
            nodes=MappingProxyType(self.nodes),
            pools=MappingProxyType(self.pools),
            images=MappingProxyType(self.images),
            policy=self.policy,
            sights=MappingProxyType(self.sights),
            by_node=MappingProxyType(self._by_node),
            reserved=MappingProxyType(self.reserved),
            recovering=self._recovering,
            nonced=MappingProxyType(self.nonced),
            trouble=MappingProxyType(self.trouble),
            blocklist=self.blocklist,
            protected=self.protected,
        )

    # Objects.

    def put_server(self, server: Server) -> None:
        """A server as read, watched or written; an older reading changes nothing."""
        before = self.servers.get(server.uid)
        if not is_newer(server, before):
            return
        self.servers[server.uid] = server
        self._index(server.uid, before, server)
        if before is not None and before.generation != server.generation:
            self.trouble.pop(str(Key(Kind.SERVER, server.uid)), None)
        self.changed(Key(Kind.SERVER, server.uid))

    def drop_server(self, uid: str) -> None:
        """It is gone from the API."""
        before = self.servers.pop(uid, None)
        if before is not None:
            self._index(uid, before, None)
            self.trouble.pop(str(Key(Kind.SERVER, uid)), None)
            self.nonced.pop(uid, None)
            self.changed(Key(Kind.SERVER, uid))
            for pool in sorted({disk.pool for disk in before.spec.disks}):
                self.pool_changed(pool)

    def put_node(self, node: Node) -> None:
        """A node as read, watched or written; an older reading changes nothing."""
        before = self.nodes.get(node.name)
        if not is_newer(node, before):
            return
        self.nodes[node.name] = node
        if before is not None and _begins_anew(before, node):
            # What was silent before says nothing about the boot, or the time, that begins now.
            heard, was = self.sights.get(node.name, Sight()), before.registration
            self.sights[node.name] = Sight(former=heard.last_of(was.boot_id if was else None))
        self.changed(Key(Kind.NODE, node.name))
        known = [self.servers[uid] for uid in self._affected(before, node) if uid in self.servers]
        for server in by_priority(known):
            self.changed(Key(Kind.SERVER, server.uid))

    def _affected(self, before: Node | None, after: Node) -> set[str]:
        """Servers to which a change of their node matters: a new report, boot or fence."""
        here = set(self._by_node.get(after.name, ()))
        if before is None or before.registration != after.registration:
            return here
        if (before.fence.phase, before.fence.generation) != (
            after.fence.phase,
            after.fence.generation,
        ):
            return here
        return {r.uid for r in set(before.host.servers) ^ set(after.host.servers)}

    def drop_node(self, name: str) -> None:
        """It is gone from the API."""
        if self.nodes.pop(name, None) is not None:
            self.sights.pop(name, None)
            self.changed(Key(Kind.NODE, name))

    def put_image(self, image: Image) -> None:
        """A ServerImage as read, watched or written."""
        if is_newer(image, self.images.get(image.uid)):
            self.images[image.uid] = image
            self.changed(Key(Kind.IMAGE, image.name))

    def drop_image(self, uid: str) -> None:
        """It is gone from the API."""
        before = self.images.pop(uid, None)
        if before is not None:
            self.changed(Key(Kind.IMAGE, before.name))

    def put_pool(self, pool: Pool) -> None:
        """A StoragePool as read, watched or written."""
        if is_newer(pool, self.pools.get(pool.name)):
            self.pools[pool.name] = pool
            self.pool_changed(pool.name)
            self.changed(Key(Kind.POOL, pool.name))

    def drop_pool(self, name: str) -> None:
        """It is gone from the API."""
        if self.pools.pop(name, None) is not None:
            self.pool_changed(name)
            self.changed(Key(Kind.POOL, name))

    def put_policy(self, policy: Policy) -> None:
        """The policy; timings of the generations before stay known while hosts may obey them."""
        before = self.policy
        earlier = {**before.earlier, **policy.earlier}
        if before.generation != policy.generation:
            earlier[before.generation] = before.timings
        self.policy = replace(policy, earlier=earlier)
        self.changed(Key(Kind.POLICY, "default"))

    def _index(self, uid: str, before: Server | None, after: Server | None) -> None:
        was, now = before.here if before else None, after.here if after else None
        if was != now:
            if was is not None:
                self._by_node[was] = self._by_node[was] - {uid}
            if now is not None:
                self._by_node[now] = self._by_node.get(now, frozenset()) | {uid}
        record = after.status.recovery if after else None
        open_now = record is not None and record.open
        if open_now != (uid in self._recovering):
            self._recovering = self._recovering ^ {uid}

    # Signs of life.

    def saw_lease(self, node: str, token: str, at: float, wall: datetime) -> None:
        """A read of its Lease, begun at `at`, showed `token` (empty: there is none)."""
        sight = self.sights.get(node, Sight())
        if sight.lease.read_at is None or at >= sight.lease.read_at:
            lease = sight.lease.seen(token, at, wall, self._gap(node))
            self._hear(node, replace(sight, lease=lease), at)

    def saw_heart(
        self, node: str, token: str, beat: Beat | None, at: float, wall: datetime
    ) -> None:
        """A read of *both* its heart objects, begun at `at`."""
        sight = self.sights.get(node, Sight())
        if sight.heart.read_at is None or at >= sight.heart.read_at:
            heart = sight.heart.seen(token, at, wall, self._gap(node))
            self._hear(node, replace(sight, heart=heart, beat=beat), at)

    def _gap(self, name: str) -> float:
        """Seconds without a read of that host's signs after which nobody was listening."""
        timings = self._timings(name)
        return max(timings.fence_after / 2, 2 * timings.lease_renew)

    def _timings(self, name: str) -> Timings:
        known = self.nodes.get(name)
        if known is None:
            return self.policy.timings
        return self.policy.binding(known.host.policy_generation, known.host.timings)

    def _hear(self, name: str, sight: Sight, at: float) -> None:
        before = self.sights.get(name, Sight())
        sight = sight.following(before)
        if name in self.nodes:
            sight = liveness.after_silence(before, sight, self._timings(name), at)
        self._see(name, sight)

    def asking(self, node: str, under_way: bool) -> None:
        """Whether its witnesses are being asked."""
        self.sights[node] = replace(self.sights.get(node, Sight()), asking=under_way)

    def heard(self, node: str, said: Testimony, answered: bool) -> None:
        """What the witnesses said."""
        sight = self.sights.get(node, Sight())
        at = said.asked_at if answered else sight.answered_at
        self._see(node, replace(sight, testimony=said, answered_at=at, asking=False))

    def looked(self, node: str, look: WatchLook) -> None:
        """What a look at its images' watchers showed."""
        self._see(node, replace(self.sights.get(node, Sight()), watches=look))

    def _see(self, node: str, sight: Sight) -> None:
        self.sights[node] = sight
        # A healthy host's next decision is timed already; only doubt is fed at once.
        if node in self.uneasy and node in self.nodes:
            self.seen(Key(Kind.NODE, node))

    # Our own access, and memory about the work itself.

    def api_answered(self, at: float) -> None:
        """An API round trip of ours, begun at `at`, came back."""
        self._me = replace(self._me, api_ok_at=_later(self._me.api_ok_at, at))

    def ceph_answered(self, at: float) -> None:
        """A Ceph write of ours, begun at `at`, came back."""
        self._me = replace(self._me, ceph_ok_at=_later(self._me.ceph_ok_at, at))

    def lift_returned(self, node: Node) -> None:
        """Our `rm` of its fence has returned."""
        # By UID: a Node that is made anew begins at generation 1 again.
        returned = self._me.lifts_returned | {(node.uid, node.fence.generation)}
        self._me = replace(self._me, lifts_returned=returned)

    def removal_lost(self, node: Node) -> None:
        """Our `rm` of its fence did not return: it may arrive at any time of this life."""
        if node.fence.form is not None:
            lost = self._me.removals_lost | {(node.name, node.fence.form)}
            self._me = replace(self._me, removals_lost=lost)

    def troubled(self, key: Key, trouble: Trouble | None) -> None:
        """Why its last step was refused; None: it went well."""
        if trouble is None:
            self.trouble.pop(str(key), None)
        else:
            self.trouble[str(key)] = trouble

    def everything(self) -> Iterable[Key]:
        """Everything there is to decide about, nodes first."""
        yield from (Key(Kind.NODE, name) for name in sorted(self.nodes))
        yield from (Key(Kind.SERVER, uid) for uid in sorted(self.servers))


def _later(one: float | None, other: float | None) -> float | None:
    return max((at for at in (one, other) if at is not None), default=None)


def _begins_anew(before: Node, after: Node) -> bool:
    """Another boot has registered, or a fence was lifted."""
    was, now = before.registration, after.registration
    rebooted = was is not None and now is not None and was.boot_id != now.boot_id
    lifted = before.fence.phase is not FencePhase.OK and after.fence.phase is FencePhase.OK
    return rebooted or lifted
