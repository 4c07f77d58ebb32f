"""Operator processes against a real API server; Ceph is files in a folder, hosts are the test's."""

import asyncio
import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from respawn.adapters.kubernetes import codec_server
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.host_cluster import KubernetesHostCluster
from respawn.adapters.kubernetes.leases import LeaseStore
from respawn.adapters.kubernetes.resources import (
    NODES,
    POLICIES,
    SERVER_IMAGES,
    STORAGE_POOLS,
    VIRTUAL_SERVERS,
)
from respawn.api.kinds import KINDS
from respawn.model.node import Capacity, HostStatus, Registration, ReportState, ServerReport
from respawn.model.placement import Phase
from respawn.model.server import Server
from respawn.ports.cluster import Lease
from respawn.ports.errors import Conflict, NotFound, PortError

pytestmark = pytest.mark.lab

SCRIPT = Path(__file__).with_name("fake_storage.py")
TERMS = ("--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "500ms")
KIND_NAMES = ",".join(f"{kind.plural}.respawn.dev" for kind in KINDS)


class Operators:
    """Operator processes, with one folder for a Ceph."""

    def __init__(self, plane: Any, folder: Path) -> None:
        self.folder, self._plane = folder, plane
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, index: int, **environment: str) -> subprocess.Popen[bytes]:
        kubeconfig = self._plane.kubeconfig(f"operator-{index}", "respawn:operators")
        words = ("--name", f"operator-{index}", "--kubeconfig", str(kubeconfig), *TERMS)
        with (self.folder / f"operator-{index}.log").open("ab") as log:
            self.processes[index] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, SCRIPT, self.folder, *words],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )
        return self.processes[index]

    def log(self, index: int) -> str:
        return (self.folder / f"operator-{index}.log").read_text()

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)


class Host:
    """An agent and a heart, as far as an operator can see them."""

    def __init__(self, folder: Path, name: str = "host-1", boot: str = "boot-1") -> None:
        self.folder, self.name, self.boot = folder, name, boot
        self.addresses = (f"198.51.100.1{name[-1]}",)

    async def live(self, client: Client) -> None:
        """Renew, beat and report, until cancelled; the API may be away for a while."""
        cluster = KubernetesHostCluster(client)
        lease, counter = Lease(self.name), 0
        while True:
            counter += 1
            self._beat(counter)
            try:
                lease = await self._renew(cluster, lease)
                await self._report(client, cluster)
            except PortError:
                lease = Lease(self.name)
            await asyncio.sleep(0.4)

    def _beat(self, counter: int) -> None:
        part = self.folder / f"heart.{self.name}.part"
        part.write_text(f"machine-{self.name} {self.boot} {counter}")
        part.rename(self.folder / f"heart.{self.name}")

    async def _renew(self, cluster: KubernetesHostCluster, lease: Lease) -> Lease:
        if not lease.resource_version:
            with suppress(NotFound):
                lease = await cluster.get_lease(self.name)
        return await cluster.hold_lease(lease, f"{self.name}/{self.boot}", 8.0)

    async def _report(self, client: Client, cluster: KubernetesHostCluster) -> None:
        node = await cluster.get_node(self.name)
        reports = [await self._see(client, body) for body in await self._placed(client)]
        wanted = HostStatus(
            registration=Registration(f"machine-{self.name}", self.boot, self.addresses),
            policy_generation=9,
            capacity=Capacity(cores=4, memory=8 << 30, overhead=64 << 20, machine="pc-q35-7.2"),
            servers=tuple(reports),
        )
        if wanted != node.host:
            with suppress(Conflict):
                await cluster.write_host(node, wanted)

    async def _placed(self, client: Client) -> list[Server]:
        found, _ = await client.list_all(VIRTUAL_SERVERS, fields=f"status.node={self.name}")
        return [codec_server.decode(body) for body in found]

    async def _see(self, client: Client, server: Server) -> ServerReport:
        p = server.placement
        state = ReportState.RUNNING if p.phase is Phase.PLACED else ReportState.ENDED
        return ServerReport(server.uid, p.epoch, state, addresses=("203.0.113.50",))


@pytest.fixture
def operators(control_plane: Any, tmp_path: Path) -> Iterator[Operators]:
    key = base64.b64encode(b"a-cephx-key").decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ceph", "namespace": "respawn"},
        "data": {"key": key},
    }
    control_plane.kubectl("apply", "-f", "-", manifest=secret)
    parts = Operators(control_plane, tmp_path)
    try:
        yield parts
    finally:
        parts.stop()
        _clear_away(control_plane)


def _clear_away(plane: Any) -> None:
    """Finalizers stay when their operator is gone."""
    names = plane.kubectl("get", KIND_NAMES, "-A", "-o", "name").stdout.split()
    for name in names:
        namespace = ("-n", "customer-a") if name.startswith("virtualserver") else ()
        patch = '{"metadata":{"finalizers":null}}'
        plane.kubectl("patch", *namespace, name, "--type=merge", "-p", patch)
    plane.kubectl("delete", KIND_NAMES, "--all", "-A")
    plane.kubectl("-n", "respawn", "delete", "lease,secret", "--all")


@asynccontextmanager
async def alive(plane: Any, host: Host) -> AsyncIterator[Host]:
    user = plane.kubeconfig(f"respawn:host:{host.name}", "respawn:hosts")
    async with plane.client(user) as client:
        task = asyncio.create_task(host.live(client))
        try:
            yield host
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def kubectl(plane: Any, *arguments: str, **more: Any) -> str:
    """Its output; the hosts of the test live on meanwhile."""
    done = await asyncio.to_thread(plane.kubectl, *arguments, **more)
    return str(done.stdout)


async def apply(plane: Any, *manifests: Any) -> None:
    for manifest in manifests:
        await kubectl(plane, "apply", "--server-side", "-f", "-", manifest=manifest)


async def leader(client: Client) -> str:
    lease = await LeaseStore(client, deadline=2).get_lease("operator-leader")
    return lease.holder


async def becomes(
    ask: Callable[[], Awaitable[Any]], good: Callable[[Any], Any], within: float
) -> Any:
    """What `ask` answers once it is good. Fails after `within` seconds."""
    end, last = time.monotonic() + within, None
    while time.monotonic() < end:
        with suppress(PortError):
            last = await ask()
            if good(last):
                return last
        await asyncio.sleep(0.05)
    raise AssertionError(f"not in {within} s: {last}")


def ready(body: dict[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_one_of_two_leads_and_the_other_after_it(control_plane: Any, operators: Operators) -> None:
    async def scenario(client: Client) -> None:
        for index in (1, 2):
            operators.start(index)
        first = await becomes(lambda: leader(client), bool, 15)
        name, _, incarnation = first.partition("/")
        assert name in ("operator-1", "operator-2")
        assert incarnation
        killed = int(name.removeprefix("operator-"))
        for _ in range(10):  # both try all the time; it stays
            assert await leader(client) == first
            await asyncio.sleep(0.2)
        operators.processes[killed].send_signal(signal.SIGKILL)
        begun = time.monotonic()
        other = f"operator-{3 - killed}/"
        await becomes(lambda: leader(client), lambda holder: holder.startswith(other), 8)
        assert time.monotonic() - begun < 3 + 2 * 0.5 + 1
        operators.processes[killed].wait(5)
        operators.start(killed)
        second = operators.processes[3 - killed]
        second.send_signal(signal.SIGTERM)
        # Released last, so the other need not wait for the lease to end.
        again = await becomes(lambda: leader(client), lambda h: h.startswith(name + "/"), 6)
        assert again != first
        assert await asyncio.to_thread(second.wait, 10) == 0

    control_plane.run(scenario)


def cluster(all_samples: Any, folder: Path) -> list[Any]:
    """What a cluster is made of; the golden image is a file here."""
    content = b"a golden image" * 1000
    (folder / "guest.raw").write_bytes(content)
    image = all_samples.altered("ServerImage", "spec.source.file.path", str(folder / "guest.raw"))
    image["spec"]["checksum"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    documents = all_samples.documents
    return [*(documents[kind] for kind in ("Node", "StoragePool", "RespawnPolicy")), image]


async def get_server(client: Client) -> dict[str, Any]:
    return await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")


def condition(body: dict[str, Any], kind: str) -> Any:
    return next(c for c in body["status"]["conditions"] if c["type"] == kind)


async def all_ready(client: Client) -> None:
    for resource, name in ((STORAGE_POOLS, "ceph"), (SERVER_IMAGES, "lab-guest")):
        await becomes(lambda r=resource, n=name: client.get(r, n), ready, 15)
    await becomes(lambda: client.get(NODES, "host-1"), ready, 15)


def test_a_server_from_apply_to_ready_to_gone(
    control_plane: Any, operators: Operators, samples: Any
) -> None:
    server = samples.documents["VirtualServer"]

    async def scenario(client: Client) -> None:
        operators.start(1)
        async with alive(control_plane, Host(operators.folder)):
            await apply(control_plane, *cluster(samples, operators.folder))
            await all_ready(client)
            await apply(control_plane, samples.documents["Namespace"], server)
            body = await becomes(lambda: get_server(client), ready, 15)
            await shows(client, body)
            await delete(client)

    async def shows(client: Client, body: dict[str, Any]) -> None:
        status = body["status"]
        assert status["node"] == status["placement"]["node"] == "host-1"
        assert status["uuid"] == body["metadata"]["uid"]
        assert status["placement"]["epoch"] == 1
        assert status["observedGeneration"] == body["metadata"]["generation"]
        assert status["addresses"] == ["203.0.113.50"]
        await apply(control_plane, server)
        words = ("diff", "--server-side", "-f", "-")
        assert await kubectl(control_plane, *words, manifest=server) == ""
        node = await becomes(
            lambda: client.get(NODES, "host-1"), lambda b: b["status"].get("servers") == 1, 10
        )
        assert node["status"]["state"] == "Ready"
        assert node["status"]["cpu"] == {"used": "1", "free": "3"}
        policy = await client.get(POLICIES, "default")
        assert condition(policy, "Accepted")["status"] == "True"
        assert policy["status"]["worstCaseRecovery"] == "14s"

    async def delete(client: Client) -> None:
        words = ("vs", "-n", "customer-a", "web-1")
        told = await kubectl(control_plane, "describe", *words)
        for sentence in ("on host-1 (epoch 1)", "Placed", "Running"):
            assert sentence in told
        await kubectl(control_plane, "delete", *words, "--timeout=20s")
        with pytest.raises(NotFound):
            await get_server(client)
        assert not list((operators.folder / "images").iterdir())

    control_plane.run(scenario)


def test_a_lost_host_is_fenced_and_its_server_comes_back_elsewhere(
    control_plane: Any, operators: Operators, samples: Any
) -> None:
    other = samples.altered("Node", "metadata.name", "host-2")
    other["metadata"]["labels"]["respawn.dev/host"] = "host-2"
    other["spec"]["addresses"] = {
        "management": ["192.0.2.12"],
        "storage": ["198.51.100.12"],
    }
    policy = samples.altered("RespawnPolicy", "spec.timings.leaseRenew", "1s")
    policy["spec"]["timings"] |= {"heartbeat": "500ms", "pauseAfter": "2500ms", "fenceAfter": "3s"}
    server = samples.altered("VirtualServer", "spec.placement.preferredNodes", ["host-1"])

    async def scenario(client: Client) -> None:
        operators.start(1)
        folder = operators.folder
        async with alive(control_plane, Host(folder, "host-2")):
            async with alive(control_plane, Host(folder)):
                await apply(control_plane, *cluster(samples, folder), other, policy)
                await all_ready(client)
                await apply(control_plane, samples.documents["Namespace"], server)
                await becomes(lambda: get_server(client), ready, 15)
            lost = time.monotonic()
            body = await becomes(lambda: get_server(client), on_host_2, 20)
            print(f"\nback after {time.monotonic() - lost:.1f} s with fenceAfter 3 s")
            await told(client, body)
            async with alive(control_plane, Host(folder, boot="boot-2")):
                await becomes(lambda: client.get(NODES, "host-1"), unfenced, 20)
        assert (folder / "blocklist").read_text() == ""

    def on_host_2(body: dict[str, Any]) -> bool:
        return ready(body) and body["status"]["node"] == "host-2"

    def unfenced(body: dict[str, Any]) -> bool:
        return ready(body) and body["status"]["fence"]["phase"] == "OK"

    async def told(client: Client, body: dict[str, Any]) -> None:
        status = body["status"]
        assert status["placement"]["epoch"] == 2
        record = status["lastRecovery"]
        assert (record["fromNode"], record["toNode"]) == ("host-1", "host-2")
        assert (record["reason"], record["proof"]) == ("HostLost", "Fenced")
        moments = [record[k] for k in ("lastSeen", "suspected", "decided", "fenced", "placed")]
        assert moments == sorted(moments)
        node = await client.get(NODES, "host-1")
        assert node["status"]["fence"]["phase"] == "Fenced"
        assert node["status"]["fence"]["addresses"] == ["198.51.100.11"]
        words = ("describe", "vs", "-n", "customer-a", "web-1")
        text = await becomes(lambda: kubectl(control_plane, *words), lambda t: "Recovered" in t, 5)
        print(text[text.index("Events:") :])
        assert "HostLost" in text
        print(await kubectl(control_plane, "describe", "vnode", "host-1"))

    control_plane.run(scenario)


def test_a_frozen_api_server_costs_nobody_anything(
    control_plane: Any, operators: Operators, samples: Any
) -> None:
    api_server = control_plane.processes["kube-apiserver"]

    async def scenario(client: Client) -> None:
        for index in (1, 2):
            operators.start(index)
        async with alive(control_plane, Host(operators.folder)):
            await apply(control_plane, *cluster(samples, operators.folder))
            await all_ready(client)
            await apply(
                control_plane, *(samples.documents[k] for k in ("Namespace", "VirtualServer"))
            )
            before = await becomes(lambda: get_server(client), ready, 15)
            api_server.send_signal(signal.SIGSTOP)
            await asyncio.sleep(10)
            assert [process.poll() for process in operators.processes.values()] == [None, None]
            api_server.send_signal(signal.SIGCONT)
            await becomes(lambda: leader(client), bool, 5)
            await becomes(lambda: client.get(NODES, "host-1"), ready, 10)
            after = await becomes(lambda: get_server(client), ready, 10)
            assert after["status"]["placement"] == before["status"]["placement"]
            node = await client.get(NODES, "host-1")
            assert node["status"]["fence"] == {"phase": "OK", "generation": 0}
            # And what changes now is seen, by whoever leads.
            words = ("patch", "vs", "-n", "customer-a", "web-1", "--type=merge", "-p")
            await kubectl(control_plane, *words, '{"spec":{"runPolicy":"Halted"}}')
            await becomes(lambda: get_server(client), halted, 15)

    def halted(body: dict[str, Any]) -> bool:
        return ready(body) and body["status"]["phase"] == "Halted"

    try:
        control_plane.run(scenario)
    finally:
        api_server.send_signal(signal.SIGCONT)
