"""Respawn itself in the lab: its objects in the API, its operators, agents and hearts.

What a cluster administrator does by hand or by GitOps, done for the lab.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from labkit import ceph, controlplane, names
from labkit.errors import LabError
from labkit.guest import build
from labkit.host import PROJECT, Host
from labkit.lab import Lab
from labkit.namespaces import in_network, nice
from labkit.product import RESPAWN
from labkit.progress import say, step

NICE = -5
#: where the operators find the golden image (the lab's own /run)
IMAGE_FOLDER = "/run/images"
READY_PATIENCE_S = 60.0
#: seconds for one request, and for a whole command, which asks more than once
REQUEST_PATIENCE_S = 25.0
KUBECTL_PATIENCE_S = 60.0
NODE_PATIENCE_S = 90.0

TIMINGS = {
    "default": {
        "leaseRenew": "2s", "heartbeat": "1s", "pauseAfter": "5s", "fenceAfter": "8s",
        "unresponsiveAfter": "60s", "storageLostAfter": "60s",
    },
    "fast": {
        "leaseRenew": "1s", "heartbeat": "500ms", "pauseAfter": "2500ms", "fenceAfter": "3s",
        "unresponsiveAfter": "45s", "storageLostAfter": "60s",
    },
}  # fmt: skip
#: lease, renew deadline, retry of the leader's election
ELECTION = {"default": ("5s", "3.5s", "1s"), "fast": ("3s", "2s", "500ms")}


def kubectl(lab: Lab, *words: str, stdin: str | None = None, check: bool = True) -> str:
    """kubectl as the lab's administrator; raises LabError with what it said."""
    command = [
        str(controlplane.kubectl_path()), "--kubeconfig", str(lab.folder.kubeconfig),
        f"--request-timeout={REQUEST_PATIENCE_S:.0f}s", *words,
    ]  # fmt: skip
    environment = {**os.environ, **lab.folder.kubectl_environment()}
    try:
        done = subprocess.run(
            command, text=True, capture_output=True, input=stdin, env=environment,
            timeout=KUBECTL_PATIENCE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LabError(
            f"kubectl {' '.join(words[:3])}: no answer within {KUBECTL_PATIENCE_S:.0f} s"
        ) from None
    if check and done.returncode:
        raise LabError(f"kubectl {' '.join(words[:3])}: {done.stderr.strip()}")
    return done.stdout


def apply(lab: Lab, objects: list[dict]) -> None:
    text = yaml.safe_dump_all(objects, sort_keys=False)
    kubectl(lab, "apply", "--server-side", "-f", "-", stdin=text)


def guest_image(lab: Lab) -> tuple[Path, str]:
    """The golden image on the machine, and its checksum; built if it is not there."""
    image = build.ensure()
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    target = f"{IMAGE_FOLDER}/lab-guest.raw"
    lab.inside.script(f"mkdir -p {IMAGE_FOLDER}; ln -sf {image} {target}")
    return Path(target), f"sha256:{digest}"


def install(lab: Lab) -> None:
    """CRDs, access, pool, image, policy, nodes; then the operators."""
    with step("Respawn: CRDs and access"):
        _apply_manifests(lab)
    with step("Respawn: pool, image, policy, nodes"):
        apply(lab, [_secret(lab), _pool(lab), _image(lab), _policy(lab)])
        apply(lab, [node(host) for host in lab.hosts()])
    with step(f"Respawn: {lab.state.operators} operators"):
        define_operators(lab)
        for index in range(1, lab.state.operators + 1):
            lab.supervisor.start(f"operator-{index}")


def _apply_manifests(lab: Lab) -> None:
    kubectl(lab, "apply", "--server-side", "-f", str(PROJECT / "crds"))
    kubectl(
        lab, "wait", "--for=condition=Established", "--timeout=20s", "-f", str(PROJECT / "crds")
    )
    manifests = PROJECT / "manifests"
    kubectl(lab, "apply", "--server-side", "-f", str(manifests / "namespace.yaml"))
    for file in sorted(manifests.glob("*.yaml")):
        kubectl(lab, "apply", "--server-side", "-f", str(file))


def _secret(lab: Lab) -> dict:
    key = (lab.folder.ceph / f"client.{ceph.OPERATOR_CLIENT}.key").read_text()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ceph", "namespace": names.NAMESPACE},
        "stringData": {"key": key},
    }


def _pool(lab: Lab) -> dict:
    return {
        **_kind("StoragePool", "ceph"),
        "spec": {
            "ceph": {
                "fsid": lab.state.fsid,
                "monitors": [f"{names.CEPH_ADDRESS}:3300"],
                "pool": names.POOL,
                "clientName": ceph.OPERATOR_CLIENT,
                "credentialsSecret": {"namespace": names.NAMESPACE, "name": "ceph"},
            }
        },
    }


def _image(lab: Lab) -> dict:
    path, checksum = guest_image(lab)
    return {
        **_kind("ServerImage", "lab-guest"),
        "spec": {"pool": "ceph", "source": {"file": {"path": str(path)}}, "checksum": checksum},
    }


def _policy(lab: Lab) -> dict:
    return {**_kind("RespawnPolicy", "default"), "spec": {"timings": TIMINGS[lab.state.profile]}}


def node(host: Host) -> dict:
    """The Node object of one host."""
    address = {p: names.host_address(p, host.index) for p in names.PLANE_NETS}
    labels = {"rack": "a", "respawn.dev/host": host.name}
    return {
        **_kind("Node", host.name, labels=labels),
        "spec": {
            "libvirt": {"uri": f"qemu+tls://{address['management']}/system"},
            "addresses": {plane: [a] for plane, a in address.items()},
            "scheduling": {"mode": "Enabled"},
        },
    }


def _kind(kind: str, name: str, **metadata: object) -> dict:
    return {
        "apiVersion": "respawn.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
    }


# --- processes


def define_operators(lab: Lab) -> None:
    """One process per operator, in a network of its own with two planes."""
    authority = lab.authority()
    libvirt = authority.issue("operator", common_name="operator", organizations=["respawn-lab"])
    pki = lab.folder / "operators/pki"
    pki.mkdir(parents=True, exist_ok=True)
    for target, source in {
        "cacert.pem": authority.certificate_path,
        "clientcert.pem": libvirt[0],
        "clientkey.pem": libvirt[1],
    }.items():
        (pki / target).write_bytes(source.read_bytes())
        (pki / target).chmod(0o600)
    for index in range(1, lab.state.operators + 1):
        define_operator(lab, index, {})


def define_operator(lab: Lab, index: int, environment: dict[str, str]) -> None:
    """How its next process is started; one that runs is left alone."""
    name = f"operator-{index}"
    kubeconfig = lab.folder / f"operators/{name}.kubeconfig"
    if not kubeconfig.exists():
        user = lab.authority().issue(
            name, common_name=f"respawn:{name}", organizations=["respawn:operators"]
        )
        controlplane.write_kubeconfig(lab.folder, kubeconfig, controlplane.plane_url(), name, user)
    lease, deadline, retry = ELECTION[lab.state.profile]
    lab.supervisor.define(
        name,
        [
            *in_network(f"op-{index}"), *nice(NICE), str(RESPAWN), "operator", "--name", name,
            "--kubeconfig", str(kubeconfig), "--namespace", names.NAMESPACE,
            "--libvirt-pki", str(lab.folder / "operators/pki"), "--lease-duration", lease,
            "--renew-deadline", deadline, "--retry-period", retry,
        ],
        env={**lab.state.environment, **environment},
    )  # fmt: skip


# --- waiting


def wait_ready(lab: Lab, timeout: float = READY_PATIENCE_S) -> None:
    """Until every object of the lab says Ready; raises LabError that names those which do not."""
    deadline = time.monotonic() + timeout
    while True:
        waiting = not_ready(lab)
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise LabError(f"not Ready after {timeout:.0f} s: {'; '.join(waiting)}")
        time.sleep(0.2)


def not_ready(lab: Lab) -> list[str]:
    """`kind/name: why` of each object that is not Ready."""
    kinds = "storagepools,serverimages,respawnpolicies,nodes.respawn.dev"
    found = json.loads(kubectl(lab, "get", kinds, "-o", "json"))["items"]
    waiting = []
    for item in found:
        if "deletionTimestamp" in item["metadata"]:
            continue  # of a host that was removed: it goes when nothing can run there any more
        conditions = {c["type"]: c for c in item.get("status", {}).get("conditions", [])}
        condition = conditions.get("Ready")
        if condition is None or condition["status"] != "True":
            why = "no status yet" if condition is None else condition.get("message", "")
            waiting.append(f"{item['kind']}/{item['metadata']['name']}: {why}")
    return waiting


# --- hosts that come and go


def add_nodes(lab: Lab, hosts: Sequence[Host]) -> None:
    """Declare each host that has no Node. One that is still being removed has to go first.

    What is there is left as it is: its spec is the administrator's by now.
    """
    waits_for = {host.name: host for host in hosts}
    deadline = time.monotonic() + NODE_PATIENCE_S
    while True:
        there = _nodes(lab)
        absent = [host for name, host in waits_for.items() if name not in there]
        if absent:
            apply(lab, [node(host) for host in absent])
        waits_for = {name: host for name, host in waits_for.items() if there.get(name)}
        if not waits_for:
            return
        if time.monotonic() > deadline:
            raise LabError(f"still being removed: Node {', '.join(waits_for)}: see its conditions")
        time.sleep(0.2)


def _nodes(lab: Lab) -> dict[str, bool]:
    """Name of each Node -> whether it is being removed."""
    found = json.loads(kubectl(lab, "get", "nodes.respawn.dev", "-o", "json"))["items"]
    return {n["metadata"]["name"]: "deletionTimestamp" in n["metadata"] for n in found}


def remove_node(lab: Lab, name: str) -> None:
    """Ask for the Node's deletion; it goes when nothing can run there any more."""
    said = kubectl(lab, "delete", "nodes.respawn.dev", name, "--wait=false", "--ignore-not-found")
    if said:
        say(said.strip())


def require_api(lab: Lab) -> None:
    """Raises LabError if the API server does not answer, before anything is begun."""
    if not lab.state.bare and not controlplane.api_state(lab.folder, lab.state):
        raise LabError("the API server does not answer: hack/lab api start, or thaw")
