"""A real etcd and kube-apiserver on loopback, with RBAC and client certificates, in a temp folder.

They take 3 s to start and 300 MB. Binaries: $KUBEBUILDER_ASSETS, else what `hack/lab up` cached.
"""

import base64
import datetime
import ipaddress
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VERSION = "v1.36.3"
PROJECT = Path(__file__).parents[2]
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
        self.processes[name] = subprocess.Popen(
            [self.binaries / name, *arguments], stdout=log, stderr=log
        )

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

    def compact(self) -> None:
        """Make etcd forget every revision but the present one."""
        status = self._etcd("maintenance/status", b"{}")
        self._etcd("kv/compaction", f'{{"revision": {status}, "physical": true}}'.encode())

    def _etcd(self, path: str, body: bytes) -> str:
        request = urllib.request.Request(f"{self.etcd_url}/v3/{path}", data=body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(yaml.safe_load(answer.read())["header"]["revision"])


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with our CRDs and manifests applied."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        plane.kubectl("apply", "-f", str(PROJECT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "-f", str(PROJECT / "crds"))
        plane.kubectl("apply", "-f", str(PROJECT / "manifests"))
        yield plane
    finally:
        plane.stop()
