"""Newer readings only, no ghosts, and nothing that runs is forgotten for a typing error."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from respawn.adapters.kubernetes.resources import NODES, POLICIES, STORAGE_POOLS, VIRTUAL_SERVERS
from respawn.model.base import Owner
from respawn.model.policy import Timings
from respawn.runtime.feed import Feed, read
from respawn.runtime.intakes import Aside, intakes
from respawn.runtime.store import Store


class Fed:
    """A store and its feed."""

    def __init__(self) -> None:
        self.store, self.aside = Store(Owner("operator-1", "a")), Aside()
        kinds = intakes(self.store, self.aside, lambda: datetime.now(UTC))
        self.feed = Feed(kinds, asyncio.get_running_loop())
        self._by_resource = {intake.resource: intake for intake in kinds}

    def take(self, resource: Any, body: dict[str, Any]) -> None:
        self.feed.take(read(self._by_resource[resource], body))

    def listed(self, resource: Any, uids: list[str], version: int) -> list[str]:
        return self.feed.listed(self._by_resource[resource], uids, version)

    async def offer(self, resource: Any, change: str | None, body: dict[str, Any]) -> None:
        self.feed.offer(self._by_resource[resource], change, body)
        await asyncio.sleep(0)


def run(scenario: Callable[[Fed], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Fed())

    asyncio.run(main())


def server(version: int, *, uid: str = "u", memory: str = "1Gi") -> dict[str, Any]:
    metadata = {"name": "x", "namespace": "n", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"memory": {"size": memory}}}


def node(version: int, *, uid: str = "n", name: str = "host-1") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}}


def test_an_older_reading_changes_nothing() -> None:
    async def scenario(fed: Fed) -> None:
        await fed.offer(VIRTUAL_SERVERS, "ADDED", server(7, memory="2Gi"))
        await fed.offer(VIRTUAL_SERVERS, None, server(6))
        fed.take(VIRTUAL_SERVERS, server(6))
        assert fed.store.servers["u"].spec.memory == 2 << 30
        assert fed.feed.heard == {"u": 7}
        await fed.offer(VIRTUAL_SERVERS, "MODIFIED", server(8))
        assert fed.store.servers["u"].spec.memory == 1 << 30

    run(scenario)


def test_what_is_deleted_does_not_come_back() -> None:
    async def scenario(fed: Fed) -> None:
        await fed.offer(VIRTUAL_SERVERS, "ADDED", server(7))
        await fed.offer(VIRTUAL_SERVERS, "DELETED", server(9))
        assert not fed.store.servers
        await fed.offer(VIRTUAL_SERVERS, "MODIFIED", server(8))
        fed.take(VIRTUAL_SERVERS, server(10))
        assert not fed.store.servers

    run(scenario)


def test_a_list_tells_what_is_gone_but_nothing_of_what_came_after_it() -> None:
    async def scenario(fed: Fed) -> None:
        for uid, version in (("old", 5), ("there", 6), ("new", 12)):
            fed.take(VIRTUAL_SERVERS, server(version, uid=uid))
        assert fed.listed(VIRTUAL_SERVERS, ["there"], 10) == ["x"]
        assert set(fed.store.servers) == {"there", "new"}
        assert fed.listed(NODES, [], 100) == []

    run(scenario)


def test_a_node_of_the_same_name_is_not_dropped_for_its_forerunner() -> None:
    async def scenario(fed: Fed) -> None:
        await fed.offer(NODES, "ADDED", node(3, uid="first"))
        await fed.offer(NODES, "ADDED", node(9, uid="second"))
        await fed.offer(NODES, "DELETED", node(8, uid="first"))
        assert fed.store.nodes["host-1"].uid == "second"
        await fed.offer(NODES, "DELETED", node(11, uid="second"))
        assert not fed.store.nodes

    run(scenario)


def test_a_misfit_is_set_apart_and_what_was_known_of_it_stays() -> None:
    async def scenario(fed: Fed) -> None:
        fed.take(VIRTUAL_SERVERS, server(7, memory="2Gi"))
        await fed.offer(VIRTUAL_SERVERS, "MODIFIED", server(8, memory="lots"))
        assert fed.store.servers["u"].spec.memory == 2 << 30
        assert fed.feed.misfits["u"].complaint.startswith("spec.memory.size: ")
        await fed.offer(VIRTUAL_SERVERS, "MODIFIED", server(9, memory="3Gi"))
        assert not fed.feed.misfits
        assert fed.store.servers["u"].spec.memory == 3 << 30
        fed.take(NODES, {**node(4), "status": "ill"})
        assert set(fed.feed.misfits) == {"n"}
        fed.listed(NODES, [], 20)
        assert not fed.feed.misfits

    run(scenario)


def test_unsafe_timings_are_not_used() -> None:
    def policy(version: int, fence_after: str, uid: str = "p") -> dict[str, Any]:
        metadata = {"name": "default", "uid": uid, "resourceVersion": str(version)}
        return {
            "metadata": {**metadata, "generation": version},
            "spec": {"timings": {"fenceAfter": fence_after}},
        }

    async def scenario(fed: Fed) -> None:
        fed.take(POLICIES, policy(1, "10s"))
        fed.take(POLICIES, policy(2, "5s"))
        assert fed.store.policy.timings == Timings(fence_after=10.0)
        assert fed.aside.policy is not None
        assert fed.aside.policy.timings.fence_after == 5.0
        fed.listed(POLICIES, [], 9)  # hosts still obey it
        assert fed.store.policy.timings.fence_after == 10.0
        fed.take(POLICIES, policy(3, "12s", uid="another"))
        assert fed.store.policy.earlier[1] == Timings(fence_after=10.0)

    run(scenario)


def test_a_pool_tells_when_it_comes_and_goes() -> None:
    async def scenario(fed: Fed) -> None:
        told: list[str] = []
        fed.store.pool_changed = told.append
        ceph = {
            "fsid": "f",
            "pool": "vms",
            "clientName": "respawn",
            "credentialsSecret": {"namespace": "respawn", "name": "ceph"},
        }
        body = {
            "metadata": {"name": "ceph", "uid": "q", "resourceVersion": "3"},
            "spec": {"ceph": ceph},
        }
        fed.take(STORAGE_POOLS, body)
        assert fed.store.pools["ceph"].pool == "vms"
        fed.listed(STORAGE_POOLS, [], 9)
        assert not fed.store.pools
        assert told == ["ceph", "ceph"]

    run(scenario)
