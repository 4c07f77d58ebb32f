"""A server from apply to delete, and what it leaves behind: on real parts, by kubectl alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import servers
from fleet import NAMESPACE, manifest
from labtool import LabTool, eventually
from servers import Desk

pytestmark = pytest.mark.lab
STATUS = {
    *("observedGeneration", "phase", "node", "addresses", "uuid", "placement", "conditions"),
    *("hardware", "disks"),
}


@pytest.fixture
def desk(servers_lab: LabTool) -> Iterator[Desk]:
    yield from servers.desk(servers_lab)


def table(text: str) -> dict[str, str]:
    """kubectl's table of one object, by column."""
    head, row = (line.split() for line in text.strip().splitlines())
    return dict(zip(head, row, strict=True))


def test_applied_it_is_ready_and_says_what_it_is(desk: Desk) -> None:
    document = desk.guest_server("web")
    desk.apply(document)
    desk.lab.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "vs/web", "--timeout=60s")
    server = desk.get("web")
    uid, status = server["metadata"]["uid"], server["status"]
    assert not status.get("addresses"), "Ready waits for no address"
    domain = desk.domain("web")
    placement = status["placement"]
    assert (domain["uid"], domain["domain"], domain["epoch"]) == (uid, f"vs-{uid}.1", 1)
    assert domain["host"] == status["node"] == placement["node"]
    assert (placement["phase"], placement["epoch"]) == ("Placed", 1)
    assert placement["machineID"] and placement["bootID"]
    assert (status["uuid"], status["observedGeneration"]) == (uid, 1)
    assert {c["observedGeneration"] for c in status["conditions"]} == {1}
    assert {f"vs-{uid}-root", f"vs-{uid}-data"} <= desk.images()
    assert "respawn.dev/protect" in server["metadata"]["finalizers"]

    (address,) = eventually("its address", lambda: desk.status("web").get("addresses"))
    status = desk.status("web")
    assert set(status) == STATUS, "what it says, no more and no less"
    shown = table(desk.lab.kubectl("-n", NAMESPACE, "get", "vs", "web"))
    assert shown.pop("AGE")
    expected = {"NAME": "web", "READY": "True", "PHASE": "Running", "IP": address}
    assert shown == {**expected, "NODE": domain["host"]}
    host = table(desk.lab.kubectl("get", "vnode", domain["host"]))
    assert (host["READY"], host["STATE"], host["SERVERS"]) == ("True", "Ready", "1")
    assert host["CPU-USED"] == "1" and int(host["CPU-FREE"]) > 1
    assert host["MEMORY-USED"].endswith("Mi") and host["MEMORY-FREE"].endswith("Mi")

    told = desk.events("web")
    assert told["Placed"] == [f"starts on {domain['host']} (epoch 1)"]
    assert told["Running"] == [f"runs on {domain['host']} (epoch 1)"]
    _applied_again_nothing_changes(desk, document)
    _its_address_outlives_its_agent(desk, domain["host"], address)


def _applied_again_nothing_changes(desk: Desk, document: dict[str, Any]) -> None:
    before = desk.get("web")["metadata"]
    desk.apply(document)
    after = desk.get("web")["metadata"]
    assert [after[k] for k in ("generation", "resourceVersion")] == [
        before[k] for k in ("generation", "resourceVersion")
    ]
    text = json.dumps(document)
    differs = desk.lab.run("kubectl", "diff", "--server-side", "-f", "-", stdin=text)
    assert (differs.returncode, differs.stdout) == (0, "")


def _its_address_outlives_its_agent(desk: Desk, host: str, address: str) -> None:
    ready = desk.conditions("web")["Ready"]
    desk.lab("agent", "kill", host)
    desk.lab("agent", "start", host)
    lease = ("-n", "respawn", "get", "lease", host, "-o", "jsonpath={.spec.renewTime}")
    before = desk.lab.kubectl(*lease)
    eventually("the agent renews again", lambda: desk.lab.kubectl(*lease) != before)
    desk.await_progress("web")
    assert desk.status("web")["addresses"] == [address]
    assert desk.conditions("web")["Ready"] == ready, "nor is it less Ready in between"


def test_deleted_domain_then_images_then_object(desk: Desk) -> None:
    desk.apply(desk.blank("brief", shutdownGracePeriod="2s"))
    desk.await_ready("brief")
    uid = desk.uid("brief")
    image = f"vs-{uid}-root"
    seen: list[tuple[bool, bool, bool]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            exists = bool(
                desk.lab.kubectl("-n", NAMESPACE, "get", "vs", "brief", "--ignore-not-found")
            )
            stored = image in desk.images()
            # Asked in the order in which they go, each later one may only be gone if this one is.
            seen.append((bool(desk.domains()), stored, exists))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        desk.delete("brief")
    finally:
        over.set()
        watching.join(30)
    assert image in desk.trash() and image not in desk.images()
    assert desk.domains() == {}
    # Looked at from the last to the first: whoever is gone now leaves nobody before it behind.
    for domain, stored, exists in seen:
        assert exists or not stored, "the object went before its image"
        assert stored or not domain, "the image went before its domain"
    told = desk.events("brief")
    assert f"its images go to the trash: ceph/{image}" in told["Deleting"][0]


def test_a_guest_that_still_boots_hears_the_power_button_in_the_end(desk: Desk) -> None:
    """It is deleted before it can listen; asked once, its whole grace would pass."""
    desk.apply(desk.guest_server("early", shutdownGracePeriod="50s"))
    desk.await_ready("early")
    desk.delete("early", "--timeout=45s")


def test_retained_disks_stay_and_are_listed(desk: Desk) -> None:
    desk.apply(desk.blank("kept", runPolicy="Halted", deletion={"policy": "Retain"}))
    desk.await_ready("kept")
    image = f"vs-{desk.uid('kept')}-root"
    desk.delete("kept")
    assert image in desk.images()

    def listed() -> dict[str, str]:
        pool = desk.cluster("storagepool", "ceph")
        assert pool is not None
        return {r["image"]: r["server"] for r in pool["status"].get("retained", [])}

    eventually("the pool lists it", lambda: listed().get(image) == f"{NAMESPACE}/kept")
    desk.lab.ceph("rbd", "rm", "--no-progress", f"vms/{image}")


def test_a_protected_server_is_not_deleted(desk: Desk) -> None:
    desk.apply(desk.blank("safe", runPolicy="Halted", deletion={"protected": True}))
    desk.await_ready("safe")
    refused = desk.lab.run("kubectl", "-n", NAMESPACE, "delete", "vs", "safe")
    assert refused.returncode and "set spec.deletion.protected to false" in refused.stderr
    assert "deletionTimestamp" not in desk.get("safe")["metadata"]
    desk.change("safe", deletion={"protected": False})
    desk.delete("safe")


def test_disks_grow_at_once_while_off_and_at_the_next_start_while_on(desk: Desk) -> None:
    def size(image: str) -> int:
        return int(json.loads(desk.lab.ceph("rbd", "info", image, "--format", "json"))["size"])

    grown = [{"name": "root", "pool": "ceph", "size": "32Mi"}]
    more = [{"name": "root", "pool": "ceph", "size": "48Mi"}]
    desk.apply(desk.blank("grows", runPolicy="Halted"))
    desk.await_ready("grows")
    image = f"vms/vs-{desk.uid('grows')}-root"
    desk.change("grows", disks=grown)
    eventually("it has grown", lambda: size(image) == 32 << 20)
    desk.change("grows", runPolicy="Always")
    desk.await_epoch("grows", 1)
    desk.change("grows", disks=more, memory={"size": "160Mi"})

    def required() -> str | None:
        found = desk.conditions("grows")["RestartRequired"]
        return str(found["message"]) if found["status"] == "True" else None

    told = eventually("it says that it must be restarted", required)
    assert "memory 128Mi -> 160Mi" in told and "disk root 32Mi -> 48Mi" in told
    assert desk.ready("grows")[0] == "True" and size(image) == 32 << 20
    desk.change("grows", runPolicy="Halted")
    eventually("it has grown again", lambda: size(image) == 48 << 20)
    desk.change("grows", runPolicy="Always")
    desk.await_epoch("grows", 2)
    assert required() is None


def test_a_pool_and_an_image_outlive_their_use(desk: Desk) -> None:
    pool, image = (desk.cluster(*what) for what in (("storagepool", "ceph"), LAB_GUEST))
    assert pool is not None and image is not None
    create(desk, pool, "ceph-2", **pool["spec"])
    create(desk, image, "second", **{**image["spec"], "pool": "ceph-2"})
    disks = [{"name": "root", "pool": "ceph-2", "size": "64Mi", "source": {"image": "second"}}]
    desk.apply(desk.blank("tenant", runPolicy="Halted", disks=disks))
    desk.await_ready("tenant")
    golden = f"image-{(desk.cluster('serverimage', 'second') or {})['metadata']['uid']}"
    desk.lab.kubectl("delete", "storagepool", "ceph-2", "--wait=false")

    def why() -> str:
        found = desk.cluster("storagepool", "ceph-2")
        assert found is not None, "it went while a disk was in it"
        ready = {c["type"]: c for c in found["status"]["conditions"]}["Ready"]
        return str(ready["message"]) if ready["reason"] == "Deleting" else ""

    told = eventually("it says what is in it", why)
    assert f"VirtualServer {NAMESPACE}/tenant" in told and "ServerImage second" in told
    desk.lab.kubectl("delete", "serverimage", "second", "--timeout=30s")
    assert golden in desk.trash() and golden not in desk.images()
    assert f"VirtualServer {NAMESPACE}/tenant" in why()
    desk.delete("tenant")
    eventually("it goes", lambda: desk.cluster("storagepool", "ceph-2") is None)


LAB_GUEST = ("serverimage", "lab-guest")


def create(desk: Desk, like: dict[str, Any], name: str, **spec: Any) -> None:
    """Another object of that kind, Ready."""
    document = {k: like[k] for k in ("apiVersion", "kind")}
    document |= {"metadata": {"name": name}, "spec": spec}
    desk.lab.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(document))
    what = f"{like['kind'].lower()}/{name}"
    desk.lab.kubectl("wait", "--for=condition=Ready", what, "--timeout=60s")


def test_a_host_is_removed_once_it_is_empty_and_may_come_back(desk: Desk) -> None:
    desk.apply(desk.blank("last"))
    desk.await_ready("last")
    host = desk.node_of("last")
    node = desk.cluster("vnode", host)
    assert node is not None
    desk.lab.kubectl("delete", "vnode", host, "--wait=false")

    def waits() -> bool:
        found = desk.cluster("vnode", host)
        assert found is not None, "it went while a server was on it"
        conditions = {c["type"]: c for c in found["status"]["conditions"]}
        return "1 servers" in conditions["Schedulable"]["message"]

    eventually("it says what it waits for", waits)
    assert desk.domain("last")["host"] == host
    desk.delete("last")
    eventually("it goes", lambda: desk.cluster("vnode", host) is None)
    again = {k: node[k] for k in ("apiVersion", "kind", "spec")}
    labels = node["metadata"]["labels"]
    desk.lab.kubectl(
        *("apply", "--server-side", "-f", "-"),
        stdin=json.dumps(again | {"metadata": {"name": host, "labels": labels}}),
    )
    desk.lab.kubectl("wait", "--for=condition=Ready", f"vnode/{host}", "--timeout=60s")
    desk.apply(manifest_on(desk, "anew", host))
    desk.await_ready("anew", on=host)


def manifest_on(desk: Desk, name: str, host: str) -> dict[str, Any]:
    selector = {"respawn.dev/host": host}
    return desk.blank(name, placement={"nodeSelector": selector})


def test_a_manifest_of_nothing_but_the_necessary_is_enough(desk: Desk) -> None:
    document = manifest("bare")
    disks = [{"name": "root", "pool": "ceph", "size": "16Mi"}]
    document["spec"] = {"memory": {"size": "64Mi"}, "disks": disks, "shutdownGracePeriod": "1s"}
    desk.apply(document)
    desk.await_ready("bare")
