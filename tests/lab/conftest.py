"""A real etcd and kube-apiserver on loopback, with RBAC and client certificates, in a temp folder.

They take 3 s to start and 300 MB. Binaries: $KUBEBUILDER_ASSETS, else what `hack/lab up` cached.
"""

import asyncio
import base64
import copy
import datetime
import ipaddress
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from respawn.adapters.kubernetes import config
from respawn.adapters.kubernetes.client import Client
from respawn.api.kinds import KINDS

VERSION = "v1.36.3"
PROJECT = Path(__file__).parents[2]
SAMPLES = PROJECT / "manifests" / "samples"
ADMIN = ("admin", "system:masters")


def binaries() -> Path:
    """The folder of etcd, kube-apiserver and kubectl."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = os.environ.get("KUBEBUILDER_ASSETS") or cache / "respawn/controlplane" / VERSION
    if not (Path(folder) / "kube-apiserver").exists():
        pytest.fail(f"no kube-apiserver in {folder}: set KUBEBUILDER_ASSETS, or run hack/lab up")
    return Path(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Authority:
    """A certificate authority: serving and client certificates, as a cluster issues them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        built = self._builder(self.name, self.key.public_key()).add_extension(constraints, True)
        self.certificate = self._write("ca", built, self.key)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def _write(
        self, name: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey
    ) -> Path:
        certificate = builder.sign(self.key, hashes.SHA256())
        path = self.folder / f"{name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / f"{name}.key").write_bytes(secret)
        return path

    def issue(self, name: str, user: str, *groups: str, serving: bool = False) -> Path:
        """The certificate of `user` in `groups`; its key lies beside it."""
        parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, user)]
        parts += [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group) for group in groups]
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name(parts), key.public_key())
        if serving:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), False)
        return self._write(name, builder, key)


class ControlPlane:
    """etcd and kube-apiserver, each a process of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binaries = binaries()
        self.authority = Authority(folder)
        self.etcd_url = f"http://127.0.0.1:{free_port()}"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.authority.issue("serving", "kube-apiserver", serving=True)
        self.authority.issue("accounts", "accounts")
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
        certificates = self.folder
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers={self.etcd_url}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--client-ca-file={certificates}/ca.crt",
            f"--tls-cert-file={certificates}/serving.crt",
            f"--tls-private-key-file={certificates}/serving.key",
            f"--service-account-key-file={certificates}/accounts.crt",
            f"--service-account-signing-key-file={certificates}/accounts.key",
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
        certificate = self.authority.issue(name, user, *groups)

        def data(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        cluster = {
            "server": self.url,
            "certificate-authority-data": data(self.authority.certificate),
        }
        identity = {
            "client-certificate-data": data(certificate),
            "client-key-data": data(certificate.with_suffix(".key")),
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
