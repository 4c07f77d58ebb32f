"""A real etcd and kube-apiserver on loopback, with RBAC and client certificates, in a temp folder.

They take 3 s to start and 300 MB.
"""

import asyncio
import base64
import copy
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import STANDING, Fleet
from labnet import Inside, inside, operator_network
from labtool import LabTool, keep_logs, running

from labkit.binaries import control_plane as control_plane_binaries
from labkit.lab import Lab
from labkit.pki import Authority, service_account_keys
from respawn.adapters.kubernetes import config
from respawn.adapters.kubernetes.client import Client
from respawn.api.kinds import KINDS

SHARED = ("lab", "control_plane", "ceph_lab", "failover_lab", "servers_lab")
"""Fixtures of a whole session that are too large to stay beside those of other tests."""
PROJECT = Path(__file__).parents[2]
SAMPLES = PROJECT / "manifests" / "samples"
ADMIN = ("admin", "system:masters")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a lab come one after another, at the place of the first of them."""
    first: dict[object, int] = {}
    for number, item in enumerate(items):
        for shared in shared_by(item) or [item]:
            first.setdefault(shared, number)
    items.sort(key=lambda item: min(first[shared] for shared in shared_by(item) or [item]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A lab that the next test does not use goes: its guests would take the time of the others."""
    yield
    for fixture in shared_by(item):
        if nextitem is not None and fixture not in shared_by(nextitem):
            fixture.finish(item._request)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What the lab's parts said until a test failed, before the next test makes them say more."""
    if report.failed:
        keep_logs(report.nodeid.split("/")[-1])


def shared_by(item: pytest.Item) -> list[pytest.FixtureDef[Any]]:
    """What a test uses, by itself or by its other fixtures, of SHARED and for a whole session."""
    information = getattr(item, "_fixtureinfo", None)
    known: dict[str, Sequence[pytest.FixtureDef[Any]]]
    known = information.name2fixturedefs if information else {}
    found = [known[name][-1] for name in SHARED if name in known]
    return [fixture for fixture in found if fixture.scope == "session"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ControlPlane:
    """etcd and kube-apiserver, each a process of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binaries = control_plane_binaries()
        self.authority = Authority(folder)
        self.etcd_url = f"http://127.0.0.1:{free_port()}"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.serving = self.authority.issue("serving", addresses=["127.0.0.1"])
        self.accounts = service_account_keys(folder)
        self.admin = self.kubeconfig(*ADMIN)

    def _spawn(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        # They end with us, whatever ends us.
        command = ["setpriv", "--pdeathsig", "KILL", str(self.binaries / name), *arguments]
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def start(self) -> None:
        """Start both and wait until the API server says it is ready."""
        peers = f"http://127.0.0.1:{free_port()}"
        self._spawn(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        )
        self.start_api_server()

    def start_api_server(self) -> None:
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers={self.etcd_url}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--client-ca-file={self.authority.certificate_path}",
            f"--tls-cert-file={self.serving[0]}",
            f"--tls-private-key-file={self.serving[1]}",
            f"--service-account-key-file={self.accounts[1]}",
            f"--service-account-signing-key-file={self.accounts[0]}",
            "--service-account-issuer=https://respawn.test",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--disable-admission-plugins=ServiceAccount",
        )
        self._await_ready(deadline=time.monotonic() + 120)

    def _await_ready(self, deadline: float) -> None:
        while self.kubectl("get", "--raw=/readyz", check=False).stdout != "ok":
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                pytest.fail(f"control plane not ready, ended: {ended}\n{self.log_tail()}")
            time.sleep(0.2)

    def await_admission(self) -> None:
        """Wait until the policies act (about a second); the one asked about was applied last."""
        stranger = self.kubeconfig("respawn:host:stranger", "respawn:hosts")
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        probe = {**lease, "metadata": {"name": "another", "namespace": "respawn"}}
        words = ("create", "--dry-run=server", "--validate=false", "-f", "-")
        deadline = time.monotonic() + 30
        while not self.kubectl(*words, manifest=probe, kubeconfig=stranger, check=False).returncode:
            if time.monotonic() > deadline:
                pytest.fail("the admission policies do not act")
            time.sleep(0.1)

    def log_tail(self) -> str:
        logs = (self.folder / f"{name}.log" for name in self.processes)
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs)

    def stop_process(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(30)

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            self.stop_process(name)

    def kubeconfig(self, user: str, *groups: str) -> Path:
        """A kubeconfig with a client certificate of `user` in `groups`."""
        name = user.replace(":", "-")
        certificate, key = self.authority.issue(name, common_name=user, organizations=groups)

        def data(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        cluster = {
            "server": self.url,
            "certificate-authority-data": data(self.authority.certificate_path),
        }
        identity = {
            "client-certificate-data": data(certificate),
            "client-key-data": data(key),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": identity}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    @asynccontextmanager
    async def client(self, user: Path | None = None) -> AsyncIterator[Client]:
        """A client of `user`, a kubeconfig; of the admin, unless told."""
        endpoint = config.from_kubeconfig(user or self.admin)
        async with Client(endpoint, manager="respawn-test", deadline=5) as client:
            yield client

    def run(self, scenario: Callable[[Client], Awaitable[Any]], *, user: Path | None = None) -> Any:
        """What `scenario` returns with a client of `user`, within a minute."""

        async def main() -> Any:
            async with self.client(user) as client, asyncio.timeout(60):
                return await scenario(client)

        return asyncio.run(main())

    def kubectl(
        self,
        *arguments: str,
        manifest: object = None,
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, `manifest` (one object, or text) on its standard input."""
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        result = subprocess.run(
            [self.binaries / "kubectl", "--request-timeout=20s", *arguments],
            input=text if manifest is not None else None,
            env={
                "KUBECONFIG": str(kubeconfig or self.admin),
                "HOME": str(self.folder),
                "PATH": os.environ["PATH"],
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and result.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {result.stderr}")
        return result


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with our CRDs and manifests applied."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        plane.kubectl("apply", "-f", str(PROJECT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "-f", str(PROJECT / "crds"))
        plane.kubectl("apply", "-f", str(PROJECT / "manifests"))
        plane.await_admission()
        yield plane
    finally:
        plane.stop()


class Samples:
    """The documents of manifests/samples, by kind."""

    folder = SAMPLES

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {
            document["kind"]: document
            for path in sorted(SAMPLES.glob("*.yaml"))
            for document in yaml.safe_load_all(path.read_text())
        }

    def altered(self, kind: str, path: str, value: Any) -> dict[str, Any]:
        """The sample of `kind` with `value` at the dotted `path`; None removes what is there."""
        document = copy.deepcopy(self.documents[kind])
        *steps, last = (int(word) if word.isdigit() else word for word in path.split("."))
        place: Any = document
        for step in steps:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
        return document


@pytest.fixture(scope="session")
def samples() -> Samples:
    """The samples, as they lie there."""
    return Samples()


@pytest.fixture
def applied(control_plane: ControlPlane) -> Iterator[None]:
    """The samples, freshly applied; afterwards they are gone (but for their namespace)."""
    control_plane.kubectl("apply", "--server-side", "-f", str(SAMPLES))
    yield
    kinds = ",".join(f"{kind.plural}.respawn.dev" for kind in KINDS)
    control_plane.kubectl("delete", kinds, "--all", "-A")


@pytest.fixture(scope="session")
def ceph_lab() -> Iterator[LabTool]:
    """Two hosts and a Ceph without Respawn's own processes, shared by all tests of the adapters."""
    name = os.environ.get("RESPAWN_TEST_LAB", "adapters")
    with running(name, "--hosts", "2", "--operators", "1", "--bare") as tool:
        yield tool


@pytest.fixture(scope="session")
def ceph_insides(ceph_lab: LabTool) -> Lab:
    """The same lab by its code: its keys, its networks."""
    return Lab.open(ceph_lab.name)


@pytest.fixture(scope="session")
def operator(ceph_insides: Lab) -> Iterator[Inside]:
    """The network of operator 1."""
    with inside(operator_network(ceph_insides)) as there:
        yield there


@pytest.fixture(scope="session")
def failover_lab() -> Iterator[LabTool]:
    """Four hosts, so that the loss of one or two is no matter for the brake, and two operators."""
    name = os.environ.get("RESPAWN_TEST_LAB", "failover")
    options = ("--hosts", "4", "--operators", "2", "--profile", "fast")
    with running(name, *options) as tool:
        yield tool


@pytest.fixture
def fleet(failover_lab: LabTool) -> Iterator[Fleet]:
    """That lab, repaired, with the standing servers Ready; afterwards nothing is lost or foreign.

    One writer per image at all times is watched for by the tests that break something.
    """
    failover_lab("up")
    fleet = Fleet(failover_lab)
    fleet.await_peace()
    fleet.stand()
    yield fleet
    for name in STANDING:
        fleet.check_disks(name)


@pytest.fixture(scope="session")
def servers_lab() -> Iterator[LabTool]:
    """A whole lab, shared by the tests about the life of servers; each leaves it empty."""
    name = os.environ.get("RESPAWN_TEST_LAB", "servers")
    with running(name, "--hosts", "3", "--operators", "1") as tool:
        yield tool
