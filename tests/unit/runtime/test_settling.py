"""Proofs and R7, as the executor of a server's steps carries them out."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.decide.builders import ME, T0, WALL, beat, node, now, placed, revoked, server, world

from respawn.model.conditions import Reason
from respawn.model.node import Node
from respawn.model.placement import Locker, Proof, ProofKind
from respawn.model.sight import Beat
from respawn.model.storage import Entry, ImageClients
from respawn.ports.errors import Refused
from respawn.runtime.heart_watch import told
from respawn.runtime.settling import Evidence, Outdated, Settled, Settler
from respawn.runtime.store import Store
from respawn.runtime.vitals import Vitals

IT = server(placement=revoked())
QEMU = Locker("client.7", "auto 1", "198.51.100.11:0/7")
STRANGER = Locker("client.66", "auto 6", "192.0.2.66:0/66")
POOLS = world().pools


class Outside:
    """API, Ceph and heart; `sent` is what was done to the blocklist."""

    def __init__(self, host: Node, listing: Collection[Entry] = (), heart: Beat | None = None):
        self.host, self.entries, self.heart = host, frozenset(listing), heart
        self.live = IT
        self.sent: list[str] = []

    async def get_node(self, name: str) -> Node:
        return self.host

    async def get_server(self, namespace: str, name: str) -> Any:
        return self.live

    async def get_lease(self, name: str) -> Any:
        return SimpleNamespace(token="")

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        return self.heart, self.heart

    async def listing(self) -> frozenset[Entry]:
        return self.entries

    async def own_addresses(self) -> frozenset[str]:
        return frozenset()

    async def add(self, entries: Collection[Entry]) -> None:
        self.sent.append("add")
        self.entries |= frozenset(entries)

    async def remove(self, entries: Collection[Entry]) -> None:
        self.sent.append("rm")

    async def read_epoch(self, pool: Any, image: str) -> None:
        return None

    async def clients(self, pool: Any, image: str) -> ImageClients:
        return ImageClients((QEMU,), (replace(QEMU, client="", cookie=""),))

    async def break_lock(self, pool: Any, image: str, locker: Locker) -> None:
        self.sent.append("break")


def settler(outside: Outside, store: Store) -> Settler:
    ports: Any = outside
    clock: Any = SimpleNamespace(now=now)
    vitals = Vitals(store=store, leases=ports, heart=ports, clock=clock)
    return Settler(
        cluster=ports, images=ports, fence=ports, heart=ports, vitals=vitals, clock=clock,
        point=lambda name: None,
    )  # fmt: skip


def settle(outside: Outside) -> Settled:
    evidence = Evidence(Proof(ProofKind.ENDED), outside.host, outside.entries)
    return asyncio.run(settler(outside, Store(ME)).settle(IT, evidence, POOLS))


def test_an_old_client_is_banned_before_its_lock_is_broken() -> None:
    outside = Outside(node())
    assert settle(outside) == Settled((QEMU,))
    assert outside.sent == ["add", "break"] and Entry(QEMU.address) in outside.entries


class Held(Outside):
    """Somebody who is at no address of the old host."""

    watches = True

    async def clients(self, pool: Any, image: str) -> ImageClients:
        watchers = (replace(STRANGER, client="", cookie=""),) if self.watches else ()
        return ImageClients((STRANGER,), watchers)


@pytest.mark.parametrize("watches", [True, False])
def test_who_is_foreign_is_waited_for_and_a_lock_that_is_left_is_named(watches: bool) -> None:
    """A dead one's lock stays for ever: a person has to know what is to be removed."""
    outside = Held(node())
    outside.watches = watches
    with pytest.raises(Refused) as refused:
        settle(outside)
    assert refused.value.reason == Reason.FOREIGN_CLIENT and outside.sent == []
    assert STRANGER.address in str(refused.value)
    order = f"ceph osd blocklist add {STRANGER.address} 31536000"
    assert (order in str(refused.value)) is not watches
    # and that is all it takes
    outside.entries = frozenset({Entry(STRANGER.address)})
    assert settle(outside) == Settled((STRANGER,)) and outside.sent == ["break"]


def test_an_entry_that_ends_soon_is_neither_relied_on_nor_removed() -> None:
    """A late `rm` of it would take away the one that is for good."""
    outside = Outside(node(), {Entry(QEMU.address, brief=True)})
    with pytest.raises(Refused, match="ceph osd blocklist rm") as refused:
        settle(outside)
    assert refused.value.reason == Reason.BANNED_BRIEFLY and outside.sent == []


def test_nobody_is_banned_for_a_server_that_is_placed_again() -> None:
    outside = Outside(node())
    outside.live = replace(IT, status=replace(IT.status, placement=placed()))
    with pytest.raises(Outdated):
        settle(outside)
    assert outside.sent == []


@pytest.mark.parametrize(("beats", "proven"), [(1, True), (2, False)])
def test_a_persons_word_is_weighed_against_a_fresh_look(beats: int, proven: bool) -> None:
    """In the picture its heart has long been silent; by now it may have beaten again."""
    named = node(spec=replace(node().spec, ended_boots=("boot-1",)))
    outside = Outside(named, heart=beat(counter=beats))
    store = Store(ME)
    store.put_node(named)
    store.saw_lease("host-1", "", T0 - 60, WALL)
    store.saw_heart("host-1", *told((beat(), beat())), T0 - 60, WALL)
    finding = settler(outside, store).evidence(IT, world(nodes=(named,)))
    if not proven:
        with pytest.raises(Outdated):
            asyncio.run(finding)
        return
    found = asyncio.run(finding).proof
    assert found is not None and found.kind is ProofKind.CONFIRMED
