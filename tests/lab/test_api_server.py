"""Our client against a real API server: it conflicts, freezes, restarts and forgets."""

import asyncio
import copy
import signal
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from respawn.adapters.kubernetes import errors
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.events import Teller
from respawn.adapters.kubernetes.leases import LeaseStore
from respawn.adapters.kubernetes.resources import LEASES, NODES, VIRTUAL_SERVERS
from respawn.adapters.kubernetes.watch import Change, Interrupted, Snapshot, watch
from respawn.ports import errors as ports
from respawn.ports.cluster import Lease

pytestmark = pytest.mark.lab

PROJECT = Path(__file__).parents[2]


def test_a_write_spares_fields_of_a_newer_version(control_plane: Any, applied: None) -> None:
    """A newer version's CRD has a field that this one's writes know nothing of."""
    crd = yaml.safe_load((PROJECT / "crds" / "respawn.dev_nodes.yaml").read_text())
    newer = copy.deepcopy(crd)
    schema = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["status"]["properties"]["newer"] = {"type": "string"}
    host = schema["status"]["properties"]["host"]
    host["properties"]["newer"] = {"type": "string"}
    control_plane.kubectl("apply", "-f", "-", manifest=newer)

    async def scenario(client: Client) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:  # the API server takes a moment to serve the changed schema
                node = await client.get(NODES, "host-1")
                version = node["metadata"]["resourceVersion"]
                status = {"newer": "kept", "host": {"newer": "kept", "cleanGeneration": 1}}
                node = await client.patch_status(NODES, "host-1", status, resource_version=version)
                if "newer" in node["status"]:
                    break
                await asyncio.sleep(0.1)
        version = node["metadata"]["resourceVersion"]
        mine = {"state": "Ready", "host": {"cleanGeneration": None, "policyGeneration": 1}}
        written = await client.patch_status(NODES, "host-1", mine, resource_version=version)
        return dict(written["status"])

    try:
        status = control_plane.run(scenario)
    finally:
        control_plane.kubectl("apply", "-f", "-", manifest=crd)
    assert status["newer"] == "kept"
    assert status["state"] == "Ready"
    assert status["host"] == {"newer": "kept", "policyGeneration": 1}


def test_of_two_writers_that_read_the_same_the_second_conflicts(
    control_plane: Any, applied: None
) -> None:
    async def scenario(client: Client) -> str:
        node = await client.get(NODES, "host-1")
        version = node["metadata"]["resourceVersion"]
        first = await client.patch_status(
            NODES, "host-1", {"state": "Ready"}, resource_version=version
        )
        with pytest.raises(errors.Conflict):
            await client.patch_status(NODES, "host-1", {"state": "No"}, resource_version=version)
        with pytest.raises(errors.Conflict):
            await client.delete(
                NODES, "host-1", uid=node["metadata"]["uid"], resource_version=version
            )
        with pytest.raises(errors.Conflict):
            await client.delete(NODES, "host-1", uid="another")
        now = await client.get(NODES, "host-1")
        assert now == first
        return str(now["status"]["state"])

    assert control_plane.run(scenario) == "Ready"


def test_what_is_not_there_is_not_found(control_plane: Any) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(errors.NotFound):
            await client.get(NODES, "nowhere")
        with pytest.raises(errors.NotFound):
            await client.patch_status(NODES, "nowhere", {}, resource_version="1")

    control_plane.run(scenario)


def test_the_revision_is_never_behind_an_object(control_plane: Any, applied: None) -> None:
    async def scenario(client: Client) -> None:
        node = await client.get(NODES, "host-1")
        for n in range(5):
            node = await client.patch_status(
                NODES,
                "host-1",
                {"servers": n + 1},
                resource_version=node["metadata"]["resourceVersion"],
            )
            assert await client.revision() >= int(node["metadata"]["resourceVersion"])

    control_plane.run(scenario)


def test_an_event_is_told_once(control_plane: Any, applied: None) -> None:
    async def scenario(client: Client) -> list[Any]:
        teller = Teller(client, component="respawn-operator", instance="1/abc")
        server = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")
        node = await client.get(NODES, "host-1")
        first = await teller.tell(server, reason="HostLost", message="gone", warning=True, key="1")
        again = await teller.tell(server, reason="HostLost", message="gone!", key="1")
        later = await teller.tell(server, reason="HostLost", message="gone", key="2")
        about_node = await teller.tell(node, reason="Fenced", message="fenced", key="1")
        return [first, again, later, about_node]

    assert control_plane.run(scenario) == [True, False, True, True]
    described = control_plane.kubectl("describe", "vs", "-n", "customer-a", "web-1").stdout
    assert described.count("HostLost") == 2
    assert "Fenced" in control_plane.kubectl("describe", "vnode", "host-1").stdout


def test_a_lease_is_taken_renewed_lost_and_released(control_plane: Any) -> None:
    async def scenario(client: Client) -> None:
        store = LeaseStore(client, deadline=3)
        with pytest.raises(errors.NotFound):
            await store.get_lease("operator-leader")
        made = await store.hold_lease(Lease("operator-leader"), "a", 5)
        with pytest.raises(errors.AlreadyExists):
            await store.hold_lease(Lease("operator-leader"), "b", 5)
        renewed = await store.hold_lease(made, "a", 5)
        assert renewed.token != made.token
        assert (renewed.holder, renewed.transitions, renewed.duration) == ("a", 0, 5)
        with pytest.raises(errors.Conflict):
            await store.hold_lease(made, "b", 5)
        taken = await store.hold_lease(await store.get_lease("operator-leader"), "b", 3.5)
        assert (taken.holder, taken.transitions, taken.duration) == ("b", 1, 4)
        released = await store.hold_lease(taken, "", 1)
        assert (released.holder, released.duration) == ("", 0)
        assert released == await store.get_lease("operator-leader")
        control_plane.kubectl("-n", "respawn", "delete", "lease", "operator-leader")
        with pytest.raises(ports.Conflict):  # who held it reads it first, and makes it again
            await store.hold_lease(released, "a", 5)
        again = await store.hold_lease(Lease("operator-leader"), "a", 5)
        assert again.holder == "a"
        await store.hold_lease(again, "", 1)  # nobody leads: others come after this test

    control_plane.run(scenario)


def names(snapshot: Snapshot) -> set[str]:
    return {item["metadata"]["name"] for item in snapshot.objects}


async def make_lease(client: Client, name: str) -> None:
    await client.create(LEASES, {"metadata": {"name": name}}, namespace="respawn")


def test_a_watch_survives_an_api_server_that_freezes(control_plane: Any) -> None:
    """Frozen it sends nothing and closes nothing: only silence tells."""
    api_server = control_plane.processes["kube-apiserver"]

    async def scenario(client: Client) -> None:
        stream = watch(client, LEASES, silence=1.0, list_deadline=1.0, namespace="respawn")
        async with aclosing(stream):
            assert isinstance(await anext(stream), Snapshot)
            await make_lease(client, "before-freeze")
            change = await anext(stream)
            assert isinstance(change, Change)
            api_server.send_signal(signal.SIGSTOP)
            try:
                begun = time.monotonic()
                assert isinstance(await anext(stream), Interrupted)
                assert time.monotonic() - begun < 3
            finally:
                api_server.send_signal(signal.SIGCONT)
            await make_lease(client, "after-freeze")
            async for event in stream:
                if isinstance(event, Snapshot):
                    assert names(event) >= {"before-freeze", "after-freeze"}
                    return

    control_plane.run(scenario)


def test_a_request_to_a_frozen_api_server_costs_its_deadline(control_plane: Any) -> None:
    api_server = control_plane.processes["kube-apiserver"]

    async def scenario(client: Client) -> None:
        await client.list_all(NODES)
        api_server.send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            with pytest.raises(errors.Unavailable):
                await client.get(NODES, "host-1", deadline=0.5)
            assert time.monotonic() - begun < 1.5
        finally:
            api_server.send_signal(signal.SIGCONT)
        await client.list_all(NODES)

    control_plane.run(scenario)


def test_a_version_from_before_a_restart_is_expired(control_plane: Any) -> None:
    async def scenario(client: Client) -> None:
        await make_lease(client, "newer-than-1")
        control_plane.stop_process("kube-apiserver")
        control_plane.start_api_server()
        stream = client.events_since(LEASES, "1", silence=5, lifetime=5, namespace="respawn")
        async with aclosing(stream):
            with pytest.raises(errors.Expired):
                await anext(stream)

    control_plane.run(scenario)


def test_a_watch_survives_a_restarted_api_server_and_tells_what_vanished(
    control_plane: Any,
) -> None:
    async def scenario(client: Client) -> None:
        await make_lease(client, "vanishing")
        stream = watch(client, LEASES, silence=2, list_deadline=2, namespace="respawn")
        async with aclosing(stream):
            snapshot = await anext(stream)
            assert isinstance(snapshot, Snapshot)
            assert "vanishing" in names(snapshot)
            control_plane.stop_process("kube-apiserver")
            control_plane.start_api_server()
            lease = await client.get(LEASES, "vanishing", namespace="respawn")
            await client.delete(
                LEASES, "vanishing", uid=lease["metadata"]["uid"], namespace="respawn"
            )
            async for event in stream:
                if isinstance(event, Snapshot) and "vanishing" not in names(event):
                    return

    control_plane.run(scenario)


def test_an_agent_watches_only_the_servers_of_its_own_host(
    control_plane: Any, applied: None
) -> None:
    agent = control_plane.kubeconfig("respawn:host:host-1", "respawn:hosts")

    async def set_node(client: Client, node: str | None) -> None:
        server = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")
        version = server["metadata"]["resourceVersion"]
        await client.patch_status(
            VIRTUAL_SERVERS,
            "web-1",
            {"node": node},
            resource_version=version,
            namespace="customer-a",
        )

    async def scenario(client: Client) -> list[str]:
        seen: list[str] = []
        async with control_plane.client(agent) as watcher:
            stream = watch(watcher, VIRTUAL_SERVERS, silence=10, fields="status.node=host-1")
            async with aclosing(stream):
                first = await anext(stream)
                assert isinstance(first, Snapshot)
                assert first.objects == ()
                for node in ("host-2", "host-1", "host-2"):
                    await set_node(client, node)
                while len(seen) < 2:
                    event = await anext(stream)
                    assert isinstance(event, Change)
                    seen.append(event.type)
        return seen

    assert control_plane.run(scenario) == ["ADDED", "DELETED"]
