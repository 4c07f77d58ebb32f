"""What the executor of a node's steps asks itself right before it sends a command to Ceph."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.decide.builders import ME, fenced, node, world

from respawn.model import actions
from respawn.model.actions import Outlook
from respawn.model.node import Fence, FencePhase, Form, Node
from respawn.model.storage import Entry
from respawn.ports.errors import PortError, Refused, Unavailable
from respawn.runtime.fence_record import FenceRecord
from respawn.runtime.lifting import Lifting
from respawn.runtime.node_executor import NodeExecutor
from respawn.runtime.settling import Outdated
from respawn.runtime.store import Store
from respawn.runtime.warrant import Deposed

APPLY = actions.ApplyFence("host-1", 1, "the fence was begun")
RESTORE = actions.RestoreFence("host-1", 1, "entries are gone")


class Ceph:
    """A blocklist, and what was sent to it."""

    def __init__(self) -> None:
        self.entries: frozenset[Entry] = frozenset()
        self.sent: list[frozenset[Entry]] = []

    async def add(self, entries: frozenset[Entry]) -> None:
        self.sent.append(entries)
        self.entries |= entries

    async def listing(self) -> frozenset[Entry]:
        return self.entries


class Api:
    """One Node, as it is by now."""

    def __init__(self, live: Node, *, occupied: bool = False) -> None:
        self.live, self.full = live, occupied
        self.gone = False

    async def occupied(self, name: str) -> bool:
        return self.full

    async def protect_node(self, read: Node, on: bool) -> None:
        self.gone = not on

    async def get_node(self, name: str) -> Node:
        return self.live

    async def write_fence(self, read: Node, fence: Fence, conditions: Any) -> Node:
        self.live = replace(read, fence=fence, conditions=conditions)
        return self.live


def run(step: actions.NodeStep, known: Node, live: Node, **more: Any) -> tuple[Ceph, Api]:
    """What came of `step`, decided on `known`. Raises what the executor raises."""
    ceph, api = Ceph(), Api(live, occupied=more.pop("occupied", False))
    ceph.entries = frozenset(more.pop("listed", ()))
    ports: dict[str, Any] = dict.fromkeys(("leases", "images", "witness", "vitals", "spawn"))
    clock = SimpleNamespace(now=lambda: SimpleNamespace(mono=0.0, wall=None))
    executor = NodeExecutor(
        store=Store(ME), cluster=api, fence=ceph, clock=clock, point=lambda name: None, **ports
    )  # type: ignore[arg-type]
    picture = world(nodes=(known,), **{"protected": frozenset(), **more})
    try:
        asyncio.run(executor.run(step, Outlook(), picture))
    except (PortError, Outdated):
        assert ceph.sent == [], "it was refused after it had been done"
        raise
    return ceph, api


FENCING = node(fence=fenced(FencePhase.FENCING))
FENCED = node(fence=fenced(FencePhase.FENCED))
LIFTED = node(fence=Fence(FencePhase.OK, 1))


def test_a_fence_is_applied_and_read_back() -> None:
    ceph, api = run(APPLY, FENCING, FENCING)
    assert [e.address for e in ceph.entries] == ["198.51.100.11"]
    assert api.live.fence.phase is FencePhase.FENCED


def test_a_form_that_is_given_up_leaves_no_entry_behind() -> None:
    """A person's entry for one of two addresses is too new for the picture."""
    two = fenced(FencePhase.FENCING, addresses=("198.51.100.11", "198.51.100.99"), form=Form.IP)
    theirs = Entry("198.51.100.99", Form.IP, brief=True)
    ceph, api = run(APPLY, node(fence=two), node(fence=two), blocklist=frozenset(), listed={theirs})
    assert ceph.sent == [] and api.live.fence.form is Form.RANGE
    ceph, api = run(APPLY, api.live, api.live, listed={theirs})
    assert api.live.fence.phase is FencePhase.FENCED
    assert {e.address for e in ceph.entries if e.form is Form.RANGE} == set(two.addresses)
    assert {e for e in ceph.entries if e.form is Form.IP} == {theirs}


@pytest.mark.parametrize(
    ("step", "known"), [(APPLY, FENCING), (RESTORE, FENCED)], ids=["apply", "restore"]
)
def test_a_host_that_was_let_in_meanwhile_is_not_shut_out(
    step: actions.NodeStep, known: Node
) -> None:
    """The picture is old: another leader has fenced it, and lifted the fence, since."""
    with pytest.raises(Outdated):
        run(step, known, LIFTED)


def test_nothing_is_fenced_while_ceph_s_own_addresses_are_unknown() -> None:
    with pytest.raises(Unavailable, match="never fenced, are unknown"):
        run(APPLY, FENCING, FENCING, protected=None)


def test_an_address_of_ceph_itself_is_never_fenced() -> None:
    with pytest.raises(Refused, match=r"198\.51\.100\.11"):
        run(APPLY, FENCING, FENCING, protected=frozenset({"198.51.100.11"}))


def test_a_node_goes_only_when_the_api_knows_of_nobody_on_it() -> None:
    """The picture shows none; what another leader has placed may not be in it yet."""
    unprotect = actions.UnprotectNode("host-1", 0, "nothing is placed or fenced there")
    deleted = node(deleting=True)
    _, api = run(unprotect, deleted, deleted)
    assert api.gone
    with pytest.raises(Outdated, match="placed there"):
        run(unprotect, deleted, deleted, occupied=True)


def test_a_removal_that_was_never_sent_taints_nothing() -> None:
    """Leadership ended right before it: nothing of it can arrive."""
    lifting = node(fence=fenced(FencePhase.LIFTING, owner=ME))

    class NoWarrant(Ceph):
        async def remove(self, entries: frozenset[Entry]) -> None:
            raise Deposed("this process leads no more")

    api, store = Api(lifting), Store(ME)
    clock: Any = SimpleNamespace(now=lambda: SimpleNamespace(mono=0.0, wall=None))
    record = FenceRecord(store=store, cluster=api, fence=NoWarrant(), clock=clock)  # type: ignore[arg-type]
    lifts = Lifting(
        record=record,
        store=store,
        cluster=api,
        fence=NoWarrant(),
        vitals=None,
        point=lambda name: None,
    )  # type: ignore[arg-type]
    finish = actions.FinishLift("host-1", 1, "the lift was begun")
    with pytest.raises(Deposed):
        asyncio.run(lifts.finish(finish, lifting, Outlook(), world(nodes=(lifting,))))
    assert api.live.fence == lifting.fence and not store.me.removals_lost
