"""A host that leaves the cluster with servers on it, and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import servers
from fleet import one_writer
from labtool import LabTool, eventually
from servers import Desk

pytestmark = [pytest.mark.lab, pytest.mark.extended]
HOST, ADDRESS = "host-4", "198.51.100.14"
#: what fences a whole host, in either form; its dead clients stay listed one by one
ENTRIES = (f"{ADDRESS}:0/0 ", f"cidr:{ADDRESS}:0/32 ")


@pytest.fixture
def desk(servers_lab: LabTool) -> Iterator[Desk]:
    yield from servers.desk(servers_lab)


def add(lab: LabTool) -> str:
    """Add the host, and wait until servers can run there; the UID of its Node."""
    lab("host", "add", HOST, timeout=180)
    lab.kubectl("wait", "--for=condition=Ready", f"vnode/{HOST}", "--timeout=60s")
    return lab.kubectl("get", "vnode", HOST, "-o", "jsonpath={.metadata.uid}")


def cordon(lab: LabTool, nodes: list[str], mode: str) -> None:
    for node in nodes:
        patch = json.dumps({"spec": {"scheduling": {"mode": mode}}})
        lab.kubectl("patch", "vnode", node, "--type=merge", "-p", patch)


def is_fenced(lab: LabTool) -> bool:
    listed = lab.ceph("ceph", "osd", "blocklist", "ls").splitlines()
    return any(line.startswith(ENTRIES) for line in listed)


def test_a_host_that_is_removed_with_a_server_on_it_can_be_added_again(desk: Desk) -> None:
    lab = desk.lab
    before = add(lab)
    try:
        others = [node for node in desk.nodes() if node != HOST]
        cordon(lab, others, "Cordoned")  # a wish would not do: it never blocks
        desk.apply(desk.blank("moves"))
        desk.await_ready("moves", on=HOST)
        cordon(lab, others, "Enabled")
        with one_writer(lab):
            lab("host", "remove", HOST)
            assert HOST not in [h["name"] for h in lab.json("status")["hosts"]]
            assert desk.await_epoch("moves", 2)["node"] != HOST
        assert is_fenced(lab)
        assert add(lab) != before  # another Node of the same name
        assert not is_fenced(lab)
    finally:
        cordon(lab, [node for node in desk.nodes() if node != HOST], "Enabled")
        lab("host", "remove", HOST)
    eventually("its Node is gone", lambda: desk.cluster("vnode", HOST) is None)
