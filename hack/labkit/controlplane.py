"""etcd, kube-apiserver and kube-controller-manager of the lab, and the kubeconfigs for them."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from labkit import names, pki
from labkit.binaries import control_plane
from labkit.errors import LabError
from labkit.namespaces import in_network, nice
from labkit.pki import Authority
from labkit.state import Folder, LabState
from labkit.supervise import Gone, Supervisor, init_pid

SERVICES = ("etcd", "kube-apiserver", "kube-controller-manager", "relay")
NICE = -5


def public_url(state: LabState) -> str:
    return f"https://127.0.0.1:{state.port}"


def plane_url() -> str:
    """The API server as hosts and operators reach it, over the management plane."""
    return f"https://{names.API_ADDRESS}:{names.API_PORT}"


def open_listener() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1, for the relay."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.set_inheritable(True)
    return listener


def write_kubeconfig(
    folder: Folder, path: Path, server: str, user: str, certificate: tuple[Path, Path]
) -> None:
    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": folder.name,
        "clusters": [
            {
                "name": folder.name,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": inline(folder.pki / "ca.pem"),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": inline(certificate[0]),
                    "client-key-data": inline(certificate[1]),
                },
            }
        ],
        "contexts": [{"name": folder.name, "context": {"cluster": folder.name, "user": user}}],
    }
    pki.write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


def define(folder: Folder, state: LabState, authority: Authority, supervisor: Supervisor) -> None:
    """Write certificates and kubeconfigs, and tell the lab's supervisor the four services."""
    serving = authority.issue(
        "apiserver",
        common_name="kube-apiserver",
        addresses=["127.0.0.1", names.API_ADDRESS, "10.96.0.1"],
        hostnames=["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
    )
    admin = authority.issue("admin", common_name="lab-admin", organizations=["system:masters"])
    controller = authority.issue(
        "kube-controller-manager",
        common_name="system:kube-controller-manager",
        # its controllers have no service accounts here; they delete whatever a namespace holds
        organizations=["system:masters"],
    )
    sa_private, sa_public = pki.service_account_keys(folder.pki)
    write_kubeconfig(folder, folder.kubeconfig, public_url(state), "lab-admin", admin)
    controller_config = folder.pki / "kube-controller-manager.kubeconfig"
    write_kubeconfig(folder, controller_config, plane_url(), "kcm", controller)
    programs = control_plane()
    api = [*in_network("api"), *nice(NICE)]
    supervisor.define("etcd", [*api, *_etcd(programs, folder)])
    supervisor.define(
        "kube-apiserver",
        [*api, *_apiserver(programs, folder, serving, sa_private, sa_public)],
        stop_patience=1.0,  # it would wait a minute for watches to end
    )
    supervisor.define(
        "kube-controller-manager",
        [
            *api,
            str(programs / "kube-controller-manager"),
            f"--kubeconfig={controller_config}",
            "--leader-elect=false",
            "--controllers=garbage-collector-controller,namespace-controller,"
            "validatingadmissionpolicy-status-controller",
            "--bind-address=127.0.0.1",
            "--concurrent-gc-syncs=2",
        ],
    )
    relay = Path(__file__).resolve().parent / "relay.py"
    supervisor.define(
        "relay",
        [*api, "/usr/bin/python3", "-SE", str(relay), names.API_ADDRESS, str(names.API_PORT)],
        pass_listener=True,
    )


def _etcd(programs: Path, folder: Folder) -> list[str]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        str(programs / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(
    programs: Path, folder: Folder, serving: tuple[Path, Path], sa_private: Path, sa_public: Path
) -> list[str]:
    return [
        # Its heap is small, and it lives on two cores with all the rest: collecting garbage a
        # quarter as often gives back a third of its processor time (https://go.dev/doc/gc-guide).
        *("/usr/bin/env", "GOGC=400"),
        str(programs / "kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--cert-dir={folder.pki / 'generated'}",
        f"--tls-cert-file={serving[0]}",
        f"--tls-private-key-file={serving[1]}",
        f"--client-ca-file={folder.pki / 'ca.pem'}",
        f"--bind-address={names.API_ADDRESS}",
        f"--advertise-address={names.API_ADDRESS}",
        f"--secure-port={names.API_PORT}",
        f"--service-account-key-file={sa_public}",
        f"--service-account-signing-key-file={sa_private}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        "--anonymous-auth=false",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
        "--profiling=false",
    ]


class Silent(LabError):
    """The API server does not answer, or not as one that is well."""


def _fetch(folder: Folder, state: LabState, path: str, timeout: float) -> bytes:
    """GET as the lab's administrator. Raises HTTPError for a refusal, OSError for silence."""
    context = ssl.create_default_context(cafile=str(folder.pki / "ca.pem"))
    context.load_cert_chain(folder.pki / "admin.pem", folder.pki / "admin.key")
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
    )
    with opener.open(f"{public_url(state)}{path}", timeout=timeout) as answer:
        return bytes(answer.read())


def api_state(folder: Folder, state: LabState, timeout: float = 2.0) -> bool:
    """Whether /readyz says ok to the lab's administrator."""
    try:
        return _fetch(folder, state, "/readyz", timeout) == b"ok"
    except (OSError, http.client.HTTPException):
        return False


def get(folder: Folder, state: LabState, path: str, timeout: float = 3.0) -> dict | None:
    """The object at PATH of the API; None when there is none. Raises Silent.

    No kubectl in between: whether nobody answers or nothing is there must be told apart.
    """
    try:
        found: dict = json.loads(_fetch(folder, state, path, timeout))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise Silent(f"the API server says {error.code} to GET {path}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Silent(
            f"the API server does not answer: {getattr(error, 'reason', error)}"
        ) from error
    return found


def wait_ready(folder: Folder, state: LabState, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not api_state(folder, state):
        if init_pid(folder.socket) is None:
            raise Gone(f"lab {state.name} has gone away")
        if time.monotonic() > deadline:
            log = folder.logs / "kube-apiserver.log"
            tail = log.read_text(errors="replace")[-1500:] if log.exists() else "(no log)"
            raise LabError(f"the API server is not ready after {timeout:.0f} s:\n{tail}")
        time.sleep(0.05)


def start(supervisor: Supervisor) -> None:
    for name in SERVICES:
        supervisor.start(name)


def kubectl_path() -> Path:
    return control_plane() / "kubectl"
