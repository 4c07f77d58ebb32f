"""Bad input: refused at apply where it can be, and otherwise a condition that says what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import servers
from fleet import NAMESPACE
from labtool import LabTool, eventually
from servers import Desk

pytestmark = pytest.mark.lab

RETRY = 20
"""Seconds until a waiting object goes on: 5 until it is looked at, an import, and its start."""


@pytest.fixture
def desk(servers_lab: LabTool) -> Iterator[Desk]:
    yield from servers.desk(servers_lab)


ROOT = {"name": "root", "pool": "ceph", "size": "16Mi"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "quantity": ({"memory": {"size": "2 gigs"}}, "such as 512Mi, 20Gi or 1Ti"),
    "duration": ({"shutdownGracePeriod": "soon"}, "such as 500ms, 8s, 5m or 1h30m"),
    "no memory": ({"memory": None}, "set spec.memory.size"),
    "two disks": ({"disks": [ROOT, ROOT]}, "Duplicate value"),
    "no bridge": ({"networks": [{"name": "a"}]}, "set exactly one of bridge and network"),
    "typing error": ({"memoory": {"size": "1Gi"}}, "memoory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_at_apply_and_told_what_to_do(desk: Desk, case: str) -> None:
    wrong, told = REFUSED[case]
    document = desk.blank("wrong", **wrong)
    document["spec"] = {k: v for k, v in document["spec"].items() if v is not None}
    done = desk.lab.run("kubectl", "create", "-f", "-", stdin=json.dumps(document))
    assert done.returncode and told in done.stderr, done.stderr


def test_what_may_not_change_is_refused_when_it_does(desk: Desk) -> None:
    disk = {**ROOT, "source": {"image": "lab-guest"}, "size": "64Mi"}
    desk.apply(desk.blank("fixed", runPolicy="Halted", disks=[disk]))
    for change, told in (
        ({"size": "32Mi"}, "cannot shrink"),
        ({"source": {"image": "other"}}, "source is immutable"),
        ({"pool": "other"}, "pool is immutable"),
    ):
        patch = json.dumps({"spec": {"disks": [{**disk, **change}]}})
        words = ("kubectl", "-n", NAMESPACE, "patch", "vs", "fixed", "--type=merge", "-p", patch)
        done = desk.lab.run(*words)
        assert done.returncode and told in done.stderr, done.stderr
    unsafe = json.dumps({"spec": {"timings": {"pauseAfter": "9s"}}})
    done = desk.lab.run("kubectl", "patch", "vpolicy", "default", "--type=merge", "-p", unsafe)
    assert done.returncode and "set fenceAfter to at least" in done.stderr


def test_what_only_the_cluster_can_know_is_a_condition_until_the_world_changes(
    desk: Desk,
) -> None:
    lab_guest = desk.cluster("serverimage", "lab-guest")
    pool = desk.cluster("storagepool", "ceph")
    assert lab_guest is not None and pool is not None
    image = {**ROOT, "size": "64Mi", "source": {"image": "later"}}
    small = {**ROOT, "source": {"image": "lab-guest"}}
    desk.apply(
        desk.blank("no-pool", runPolicy="Halted", disks=[{**ROOT, "pool": "later"}]),
        desk.blank("no-image", runPolicy="Halted", disks=[image]),
        desk.blank("too-small", runPolicy="Halted", disks=[small]),
        desk.blank("too-big", memory={"size": "64Gi"}),
        desk.blank("no-rack", placement={"nodeSelector": {"rack": "z"}}),
    )
    assert "create it" in desk.await_reason("no-pool", "UnknownPool")
    assert "create it" in desk.await_reason("no-image", "UnknownImage")
    assert "16Mi are less than the 40Mi" in desk.await_reason("too-small", "ImageLargerThanDisk")
    for name, why in (("too-big", "65696Mi are needed"), ("no-rack", "the label rack=z")):
        told = desk.await_reason(name, "NoHostFits")
        assert all(f"{host} has" in told for host in ("host-1", "host-2", "host-3")), told
        assert told.count(why) == 3, told
    stalled = desk.conditions("too-small")["Stalled"]
    assert stalled["status"] == "True", "only the user can change that"
    assert desk.conditions("no-rack")["Reconciling"]["status"] == "True"
    assert desk.events("no-pool")["UnknownPool"] == [
        "disk root: there is no StoragePool later; create it, or delete the server and apply it "
        "with another pool"
    ]
    try:
        create(desk, pool, "later", pool["spec"])
        create(desk, lab_guest, "later", lab_guest["spec"])
        desk.lab.kubectl("label", "vnode", "host-3", "rack=z", "--overwrite")
        desk.change("too-small", disks=[{**small, "size": "64Mi"}])
        desk.change("too-big", memory={"size": "64Mi"})
        desk.await_ready("too-small", timeout=10)  # its own change is seen at once
        desk.await_ready("too-big", timeout=15)
        desk.await_ready("no-rack", on="host-3", timeout=RETRY)
        desk.await_ready("no-image", timeout=RETRY)
        desk.await_ready("no-pool", timeout=RETRY)
    finally:
        desk.lab.kubectl("label", "vnode", "host-3", "rack=a", "--overwrite")
        desk.remove()
        desk.lab.kubectl("delete", "serverimage,storagepool", "later", "--ignore-not-found")


def create(desk: Desk, like: dict[str, Any], name: str, spec: dict[str, Any]) -> None:
    document = {k: like[k] for k in ("apiVersion", "kind")}
    document |= {"metadata": {"name": name}, "spec": spec}
    desk.lab.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(document))


def test_a_wrong_checksum_is_told_with_the_right_one(desk: Desk) -> None:
    right = desk.cluster("serverimage", "lab-guest")
    assert right is not None
    wrong = {**right["spec"], "checksum": f"sha256:{'0' * 64}"}
    create(desk, right, "forged", wrong)

    def failed() -> str:
        found = desk.cluster("serverimage", "forged") or {}
        conditions = {c["type"]: c for c in found.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {})
        return str(ready["message"]) if ready.get("reason") == "ChecksumMismatch" else ""

    try:
        told = eventually("it is found out", failed)
        assert right["spec"]["checksum"].removeprefix("sha256:") in told
        create(desk, right, "forged", right["spec"])
        desk.lab.kubectl("wait", "--for=condition=Ready", "serverimage/forged", "--timeout=60s")
    finally:
        desk.lab.kubectl("delete", "serverimage", "forged", "--timeout=30s")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"monitors": ["198.51.100.99:3300"]}, "Unreachable"),
        ({"clientName": "nobody"}, "client.nobody"),
    ],
    ids=["monitors", "client"],
)
def test_a_pool_to_which_its_own_words_do_not_lead_is_not_ready(
    desk: Desk, wrong: dict[str, Any], why: str
) -> None:
    """Although another pool leads to the same cluster: hosts go the way that this one names."""
    pool = desk.cluster("storagepool", "ceph")
    assert pool is not None
    ceph = pool["spec"]["ceph"]

    def ready() -> tuple[str, str]:
        found = desk.cluster("storagepool", "astray") or {}
        conditions = {c["type"]: c for c in found.get("status", {}).get("conditions", [])}
        return conditions.get("Ready", {}).get("status", ""), str(conditions.get("Ready", {}))

    try:
        create(desk, pool, "astray", {"ceph": {**ceph, **wrong}})
        told = eventually("it is told", lambda: (said := ready())[0] == "False" and said[1])
        assert why in told
        create(desk, pool, "astray", {"ceph": ceph})
        eventually("it is Ready", lambda: ready()[0] == "True")
    finally:
        desk.lab.kubectl("delete", "storagepool", "astray", "--timeout=30s")


def test_who_waits_costs_at_most_two_looks_a_minute(desk: Desk) -> None:
    """Whatever goes on around it: here another server comes and goes."""
    desk.apply(desk.blank("waits", memory={"size": "64Gi"}))
    desk.await_reason("waits", "NoHostFits")
    begun, versions = time.monotonic(), set()
    while time.monotonic() - begun < 12:
        desk.apply(desk.blank("busy"))
        desk.await_ready("busy")
        versions.add(desk.get("waits")["metadata"]["resourceVersion"])  # memory free is in it
        desk.delete("busy")
        versions.add(desk.get("waits")["metadata"]["resourceVersion"])
    assert len(versions) <= 2, versions
