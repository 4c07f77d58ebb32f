"""Who may do what, with client certificates as a cluster issues them."""

from collections.abc import Awaitable
from typing import Any

import pytest

from respawn.adapters.kubernetes import errors
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.leases import LeaseStore
from respawn.adapters.kubernetes.resources import EVENTS, LEASES, NODES, SECRETS, VIRTUAL_SERVERS
from respawn.ports.cluster import Lease

pytestmark = pytest.mark.lab


async def refused(call: Awaitable[Any], message: str | None = None) -> None:
    with pytest.raises(errors.Refused, match=message) as caught:
        await call
    assert caught.value.status in (403, 422)


def test_an_agent_writes_its_own_host_status_and_lease_and_nothing_else(
    control_plane: Any, samples: Any, applied: None
) -> None:
    other = samples.altered("Node", "metadata.name", "host-2")
    control_plane.kubectl("apply", "--server-side", "-f", "-", manifest=other)
    agent = control_plane.kubeconfig("respawn:host:host-1", "respawn:hosts")

    async def scenario(client: Client) -> None:
        node = await client.get(NODES, "host-1")
        version = node["metadata"]["resourceVersion"]
        registration = {"machineID": "m1", "bootID": "b1", "addresses": ["198.51.100.11"]}
        node = await client.patch_status(
            NODES, "host-1", {"host": {"registration": registration}}, resource_version=version
        )
        assert node["status"]["host"]["registration"] == registration
        version = node["metadata"]["resourceVersion"]

        fence = {"phase": "OK", "generation": 0}
        for stolen in (
            {"fence": fence},
            {"host": {"cleanGeneration": 1}, "fence": fence},
            {"observedGeneration": 7},
            {"state": "Ready"},
        ):
            write = client.patch_status(NODES, "host-1", stolen, resource_version=version)
            await refused(write, "may only write status.host")

        foreign = await client.get(NODES, "host-2")
        foreign_version = foreign["metadata"]["resourceVersion"]
        await refused(
            client.patch_status(NODES, "host-2", {"host": {}}, resource_version=foreign_version),
            "may only write the Node of its own name, not host-2",
        )
        await refused(client.patch(NODES, "host-1", {"spec": {}}, resource_version=version))
        await refused(client.delete(NODES, "host-1", uid=node["metadata"]["uid"]))
        await refused(client.create(NODES, {"metadata": {"name": "host-3"}}))

        store = LeaseStore(client, deadline=3)
        own = await store.hold_lease(Lease("host-1"), "host-1", 8)
        await store.hold_lease(own, "host-1", 8)
        for name in ("host-2", "operator-leader-2"):
            await refused(store.hold_lease(Lease(name), "host-1", 8), "the Lease of its own name")
        generated = {"metadata": {"generateName": "host-"}}
        await refused(client.create(LEASES, generated, namespace="respawn"))
        await refused(client.create(LEASES, {"metadata": {"name": "host-1"}}, namespace="default"))

        server = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")
        await refused(
            client.patch_status(
                VIRTUAL_SERVERS,
                "web-1",
                {"node": "host-1"},
                resource_version=server["metadata"]["resourceVersion"],
                namespace="customer-a",
            )
        )
        await refused(client.get(SECRETS, "ceph", namespace="respawn"))
        event = {"metadata": {"name": "e"}, "involvedObject": {}}
        await refused(client.create(EVENTS, event, namespace="default"))

    control_plane.run(scenario, user=agent)


def test_a_host_cannot_unfence_itself(control_plane: Any, applied: None) -> None:
    agent = control_plane.kubeconfig("respawn:host:host-1", "respawn:hosts")

    async def fence(client: Client) -> str:
        node = await client.get(NODES, "host-1")
        fence = {"phase": "Fencing", "generation": 1, "addresses": ["198.51.100.11"]}
        status = {"fence": fence, "state": "Fencing"}
        node = await client.patch_status(
            NODES, "host-1", status, resource_version=node["metadata"]["resourceVersion"]
        )
        return str(node["metadata"]["resourceVersion"])

    version = control_plane.run(fence)

    async def scenario(client: Client) -> None:
        attempts: list[tuple[dict[str, Any], str]] = [
            ({"fence": {"phase": "Fenced"}}, "may only write status.host"),
            ({"fence": {"reason": "None"}}, "may only write status.host"),
            ({"fence": None}, "cannot be dropped"),
            ({"state": None}, "may only write status.host"),
        ]
        for attempt, refusal in attempts:
            write = client.patch_status(NODES, "host-1", attempt, resource_version=version)
            await refused(write, refusal)

    control_plane.run(scenario, user=agent)


def test_the_operator_writes_statuses_and_finalizers_and_never_a_spec(
    control_plane: Any, applied: None
) -> None:
    operator = control_plane.kubeconfig("respawn:operator:1", "respawn:operators")

    async def scenario(client: Client) -> None:
        server = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")

        async def patch(change: dict[str, Any], part: str = "") -> None:
            nonlocal server
            server = await client.patch(
                VIRTUAL_SERVERS,
                "web-1",
                change,
                resource_version=server["metadata"]["resourceVersion"],
                namespace="customer-a",
                part=part,
            )

        await patch({"metadata": {"finalizers": ["respawn.dev/protect"]}})
        await patch({"status": {"phase": "Pending", "observedGeneration": 1}}, "status")
        await refused(patch({"spec": {"runPolicy": "Halted"}}), "never a spec")
        await patch({"metadata": {"finalizers": []}})
        with pytest.raises(errors.NotFound):
            await client.get(SECRETS, "ceph", namespace="respawn")
        await refused(client.get(SECRETS, "ceph", namespace="default"))
        store = LeaseStore(client, deadline=3)
        await store.hold_lease(Lease("operator-standby"), "operator-1", 5)
        assert (await client.list_all(LEASES, namespace="respawn"))[0]

    control_plane.run(scenario, user=operator)


def test_who_deletes_the_policy_is_told_that_it_stays_in_force(
    control_plane: Any, applied: None
) -> None:
    told = control_plane.kubectl("delete", "respawnpolicy", "default").stderr
    assert told.startswith("Warning: ") and "stays in force without its object" in told


def test_a_protected_server_cannot_be_deleted_not_even_in_bulk(
    control_plane: Any, samples: Any, applied: None
) -> None:
    manifest = samples.altered(
        "VirtualServer", "spec.deletion", {"policy": "Delete", "protected": True}
    )
    control_plane.kubectl("apply", "--server-side", "-f", "-", manifest=manifest)
    for words in (("web-1",), ("--all",)):
        result = control_plane.kubectl("delete", "vs", "-n", "customer-a", *words, check=False)
        assert result.returncode == 1
        assert "web-1 is protected: set spec.deletion.protected to false" in result.stderr
    control_plane.kubectl("get", "vs", "-n", "customer-a", "web-1")
    control_plane.kubectl("apply", "--server-side", "-f", str(samples.folder / "web-1.yaml"))
    control_plane.kubectl("delete", "vs", "-n", "customer-a", "web-1")
