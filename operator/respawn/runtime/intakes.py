"""The five kinds, and where the store keeps them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from respawn.adapters.kubernetes import codec_node, codec_policy, codec_server, codec_storage
from respawn.adapters.kubernetes.codec_node import Columns
from respawn.adapters.kubernetes.resources import (
    NODES,
    POLICIES,
    SERVER_IMAGES,
    STORAGE_POOLS,
    VIRTUAL_SERVERS,
)
from respawn.model.node import Node
from respawn.model.policy import Policy
from respawn.runtime.feed import Intake, Object
from respawn.runtime.store import Store

Held = Mapping[str, tuple[str, int]]


@dataclass
class Aside:
    """What is read of objects, and is nothing to decide on."""

    columns: dict[str, Columns | None] = field(default_factory=dict)
    """Of each node."""
    policy: Policy | None = None
    """The policy as read; when its timings are unsafe, the one before it stays in force."""


def intakes(store: Store, aside: Aside, wall: Callable[[], datetime]) -> tuple[Intake[Any], ...]:
    """One for each kind; servers come last, so that what they need is there before them."""
    return (
        _policy(store, aside, wall),
        _pools(store),
        _images(store),
        _nodes(store, aside),
        Intake(
            VIRTUAL_SERVERS,
            codec_server.decode,
            store.put_server,
            lambda uid, name: store.drop_server(uid),
            lambda: {s.uid: (s.name, int(s.resource_version)) for s in store.servers.values()},
        ),
    )


def _images(store: Store) -> Intake[Any]:
    return Intake(
        SERVER_IMAGES,
        codec_storage.decode_image,
        store.put_image,
        lambda uid, name: store.drop_image(uid),
        lambda: {i.uid: (i.name, int(i.resource_version)) for i in store.images.values()},
    )


def _nodes(store: Store, aside: Aside) -> Intake[Any]:
    def put(reading: tuple[Node, Columns | None]) -> None:
        node, columns = reading
        aside.columns[node.name] = columns
        store.put_node(node)

    def drop(uid: str, name: str) -> None:
        # Its name may belong to another object by now.
        if name in store.nodes and store.nodes[name].uid == uid:
            aside.columns.pop(name, None)
            store.drop_node(name)

    def decode(body: Object) -> tuple[Node, Columns | None]:
        return codec_node.decode(body), codec_node.columns(body)

    def held() -> Held:
        return {n.uid: (n.name, int(n.resource_version)) for n in store.nodes.values()}

    return Intake(NODES, decode, put, drop, held)


def _pools(store: Store) -> Intake[Any]:
    def drop(uid: str, name: str) -> None:
        if name in store.pools and store.pools[name].uid == uid:
            store.drop_pool(name)

    def held() -> Held:
        return {p.uid: (p.name, int(p.resource_version)) for p in store.pools.values()}

    return Intake(STORAGE_POOLS, codec_storage.decode_pool, store.put_pool, drop, held)


def _policy(store: Store, aside: Aside, wall: Callable[[], datetime]) -> Intake[Any]:
    def put(policy: Policy) -> None:
        # safety: S8. Timings that do not fit are never used, whoever let them in.
        aside.policy = policy
        if policy.timings.fits():
            store.put_policy(policy)

    def drop(uid: str, name: str) -> None:
        """Hosts still obey it, so it stays in force until there is another."""

    def held() -> Held:
        policy = store.policy
        return {policy.uid: ("default", int(policy.resource_version))} if policy.uid else {}

    def decode(body: Object) -> Policy:
        return codec_policy.decode(body, wall())

    return Intake(POLICIES, decode, put, drop, held)
