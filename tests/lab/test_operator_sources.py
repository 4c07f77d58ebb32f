"""What feeds an operator, against a real API server: kopf, the sweep, the watch of Leases."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from respawn.adapters.clock import SystemClock
from respawn.adapters.kubernetes import config
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.leases import LeaseStore
from respawn.adapters.kubernetes.resources import NODES, VIRTUAL_SERVERS
from respawn.model.base import Now, Owner
from respawn.ports.cluster import Lease
from respawn.runtime.feed import Feed
from respawn.runtime.intakes import Aside, intakes
from respawn.runtime.kopf_source import KopfSource
from respawn.runtime.lease_watch import LeaseWatch
from respawn.runtime.store import Store
from respawn.runtime.sweep import Sweep
from respawn.runtime.threads import LoopThread

pytestmark = pytest.mark.lab


async def until(good: Callable[[], Any], within: float = 10.0) -> Any:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if found := good():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not in {within} s")


class Watched:
    """A store that kopf and a sweep feed."""

    def __init__(self, plane: Any) -> None:
        user = plane.kubeconfig("operator-9", "respawn:operators")
        endpoint = config.from_kubeconfig(user)
        loop = asyncio.get_running_loop()
        self.store = Store(Owner("operator-9", "x"))
        kinds = intakes(self.store, Aside(), lambda: datetime.now(UTC))
        self.feed = Feed(kinds, loop)
        self.kopf = LoopThread("kopf", KopfSource(self.feed, endpoint, identity="test").run)
        self.deaf = 0
        self.sweep = Sweep(
            self.feed, loop, lambda: Client(endpoint), deaf=self._deaf, every=0.1, patience=0.5
        )

    def _deaf(self) -> None:
        self.deaf += 1

    def server(self) -> Any:
        return next(iter(self.store.servers.values()), None)


@asynccontextmanager
async def watched(plane: Any) -> AsyncIterator[Watched]:
    parts = Watched(plane)
    parts.kopf.start()
    try:
        yield parts
    finally:
        await asyncio.to_thread(parts.kopf.stop, 10)


def test_kopf_brings_every_change_and_writes_nothing(control_plane: Any, applied: None) -> None:
    async def scenario(client: Client) -> None:
        async with watched(control_plane) as parts:
            server = await until(parts.server)
            await until(lambda: parts.store.nodes and parts.store.pools and parts.store.images)
            for n in range(3):
                body = await change(client, n)
                version = body["metadata"]["resourceVersion"]
                await until(lambda v=version: parts.server().resource_version == v)
            await asyncio.sleep(3)  # whatever it might want to write, it would have by now
            body = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")
            assert body["metadata"]["resourceVersion"] == version
            writers = {entry["manager"] for entry in body["metadata"]["managedFields"]}
            assert writers == {"kubectl", "respawn-test"}
            assert "finalizers" not in body["metadata"]
            assert "annotations" not in body["metadata"]
            await client.delete(VIRTUAL_SERVERS, "web-1", uid=server.uid, namespace="customer-a")
            await until(lambda: not parts.store.servers)

    control_plane.run(scenario)


async def change(client: Client, n: int) -> Any:
    body = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")
    return await client.patch_status(
        VIRTUAL_SERVERS,
        "web-1",
        {"phase": f"Turn{n}"},
        resource_version=body["metadata"]["resourceVersion"],
        namespace="customer-a",
    )


def test_the_sweep_finds_what_was_deleted_while_nobody_watched(
    control_plane: Any, applied: None
) -> None:
    async def scenario(client: Client) -> None:
        parts = Watched(control_plane)
        await parts.sweep.once(client)
        server = parts.server()
        assert set(parts.store.nodes) == {"host-1"}
        await client.delete(VIRTUAL_SERVERS, "web-1", uid=server.uid, namespace="customer-a")
        node = parts.store.nodes["host-1"]
        await client.delete(NODES, "host-1", uid=node.uid)
        assert parts.server() == server
        await parts.sweep.once(client)
        assert not parts.store.servers
        assert not parts.store.nodes
        # And what comes late of it does not bring it back.
        body = {"metadata": {"uid": server.uid, "name": "web-1", "resourceVersion": "1"}}
        parts.feed.offer(parts.feed.intakes[-1], "MODIFIED", body)
        await asyncio.sleep(0.05)
        assert not parts.store.servers

    control_plane.run(scenario)


def test_watches_that_do_not_hear_are_begun_anew(control_plane: Any, applied: None) -> None:
    async def scenario(client: Client) -> None:
        enough = asyncio.Event()
        parts = Watched(control_plane)  # its kopf is not running: as deaf as can be
        task = asyncio.create_task(parts.sweep.run(enough))
        await until(lambda: parts.deaf)
        assert parts.server() is not None
        enough.set()
        await task
        async with watched(control_plane) as hearing:
            await until(hearing.server)
            enough.clear()
            task = asyncio.create_task(hearing.sweep.run(enough))
            await change(client, 7)
            await until(lambda: hearing.server().status.phase == "Turn7")
            await asyncio.sleep(2)  # three sweeps
            assert hearing.deaf == 0
            enough.set()
            await task

    control_plane.run(scenario)


def test_a_restarted_kopf_goes_on(control_plane: Any, applied: None) -> None:
    async def scenario(client: Client) -> None:
        async with watched(control_plane) as parts:
            await until(parts.server)
            parts.kopf.restart()
            parts.feed.heard.clear()
            await until(lambda: parts.feed.heard)
            await change(client, 5)
            await until(lambda: parts.server().status.phase == "Turn5")

    control_plane.run(scenario)


def test_leases_are_told_as_they_change_and_vanish(control_plane: Any) -> None:
    async def scenario(client: Client) -> None:
        told: list[tuple[str, str, float]] = []

        def saw(name: str, token: str, now: Now) -> None:
            if name == "host-7":
                told.append((name, token, now.mono))

        endpoint = config.from_kubeconfig(control_plane.admin)
        clock = SystemClock()
        source = LeaseWatch(lambda: Client(endpoint), clock, saw, renew=lambda: 1.0)
        thread = LoopThread("leases", source.run)
        thread.start()
        try:
            store = LeaseStore(client, deadline=2)
            lease = await store.hold_lease(Lease("host-7"), "host-7/boot", 8)
            for _ in range(3):
                await until(lambda token=lease.token: told and told[-1][1] == token)  # type: ignore[misc]
                assert clock.now().mono - told[-1][2] < 1.0
                lease = await store.hold_lease(lease, "host-7/boot", 8)
            control_plane.kubectl("-n", "respawn", "delete", "lease", "host-7")
            await until(lambda: told[-1][1] == "")
        finally:
            await asyncio.to_thread(thread.stop, 5)

    control_plane.run(scenario)
