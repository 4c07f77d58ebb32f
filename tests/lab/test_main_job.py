"""The main job on real parts, in one lab and in order; how it loses its host is test_failover_*.

Each test goes on from where the one before left the lab, as a day in a data centre does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from labtool import ROOT, LabTool, eventually, running

pytestmark = pytest.mark.lab
SAMPLE = str(ROOT / "manifests/samples/web-1.yaml")
WEB = "customer-a/web-1"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabTool]:
    with running("mainjob", "--hosts", "3", "--operators", "2", "--profile", "fast") as tool:
        yield tool


def web(lab: LabTool) -> dict:
    return dict(json.loads(lab.kubectl("-n", "customer-a", "get", "vs", "web-1", "-o", "json")))


def test_a_sample_is_applied_and_runs(lab: LabTool) -> None:
    lab.kubectl("apply", "--server-side", "-f", SAMPLE)
    lab.kubectl("-n", "customer-a", "wait", "--for=condition=Ready", "vs/web-1", "--timeout=60s")
    server = web(lab)
    status, uid = server["status"], server["metadata"]["uid"]
    assert status["node"] == status["placement"]["node"] == "host-2"  # its wish
    assert (status["uuid"], status["placement"]["epoch"]) == (uid, 1)
    (row,) = [d for d in lab.domains() if d["uid"] == uid]
    assert (row["domain"], row["host"], row["state"]) == (f"vs-{uid}.1", "host-2", "running")
    images = lab.ceph("rbd", "ls", "vms").split()
    assert {f"vs-{uid}-root", f"vs-{uid}-data"} <= set(images)
    assert lab.writers(f"vms/vs-{uid}-data")["active"] == 1


def test_a_second_apply_changes_nothing(lab: LabTool) -> None:
    before = web(lab)["metadata"]["generation"]
    lab.kubectl("apply", "--server-side", "-f", SAMPLE)
    assert web(lab)["metadata"]["generation"] == before
    assert lab.run("kubectl", "diff", "--server-side", "-f", SAMPLE).returncode == 0


def test_its_address_is_shown_and_answers(lab: LabTool) -> None:
    (address,) = eventually("its address is seen", lambda: web(lab)["status"].get("addresses"))
    assert address in lab.kubectl("-n", "customer-a", "get", "vs", "web-1")
    ping = lab.json("ping", WEB, "--seconds", "2")
    assert ping["sent"] >= 150 and ping["lost"] <= 5


def test_a_killed_qemu_is_back_on_the_same_host(lab: LabTool) -> None:
    eventually("it writes", lambda: lab.guest(WEB)["lastSeq"])
    lab("guest", "kill", WEB)
    eventually("it runs in a new epoch", lambda: web(lab)["status"]["placement"]["epoch"] == 2)
    assert web(lab)["status"]["node"] == "host-2"
    proof = eventually(
        "it writes again", lambda: len((g := lab.guest(WEB))["boots"] or []) == 2 and g
    )
    assert (proof["lost"], proof["foreign"]) == ([], [])


def test_halted_stops_it_and_always_starts_it(lab: LabTool) -> None:
    def policy(word: str) -> None:
        patch = json.dumps({"spec": {"runPolicy": word}})
        lab.kubectl("-n", "customer-a", "patch", "vs", "web-1", "--type=merge", "-p", patch)

    policy("Halted")
    eventually("no QEMU is left", lambda: lab.domains() == [])
    halted = eventually("it is Free", lambda: "node" not in (s := web(lab)["status"]) and s)
    assert halted["placement"]["phase"] == "Free"
    lab.kubectl("-n", "customer-a", "wait", "--for=condition=Ready", "vs/web-1", "--timeout=30s")
    policy("Always")
    eventually("it runs again", lambda: web(lab)["status"].get("node") and lab.domains())


def test_nobody_else_can_start_it(lab: LabTool) -> None:
    (row,) = lab.domains()
    xml = lab.on(row["host"], "virsh", "dumpxml", row["domain"])
    other = next(h for h in ("host-1", "host-3") if h != row["host"])
    refused = lab.run("host", "exec", other, "--", "virsh", "-q", "create", "/dev/stdin", stdin=xml)
    assert refused.returncode != 0 and "hook" in refused.stderr, refused.stderr
    assert [d["pid"] for d in lab.domains()] == [row["pid"]]


def test_deleting_it_leaves_its_disks_in_the_trash(lab: LabTool) -> None:
    uid = web(lab)["metadata"]["uid"]
    lab.kubectl("delete", "-f", SAMPLE, "--timeout=60s")
    assert lab.domains() == []
    assert f"vs-{uid}" not in lab.ceph("rbd", "ls", "vms")
    trash = lab.ceph("rbd", "trash", "ls", "vms")
    assert f"vs-{uid}-root" in trash and f"vs-{uid}-data" in trash
