"""Nobody starts a server but Respawn where it is placed, and nothing of Respawn stops one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import servers
from fleet import NAMESPACE
from labtool import LabTool, eventually
from servers import Desk

pytestmark = pytest.mark.lab


@pytest.fixture
def desk(servers_lab: LabTool) -> Iterator[Desk]:
    yield from servers.desk(servers_lab)


class Stranger:
    """A person with virsh, and with the XML of a running server."""

    def __init__(self, desk: Desk, name: str) -> None:
        self.desk = desk
        self.domain = desk.domain(name)
        self.here = self.domain["host"]
        self.elsewhere = next(h for h in ("host-1", "host-2", "host-3") if h != self.here)
        self.xml = desk.xml(name)
        self.uid = self.domain["uid"]

    def virsh(
        self, host: str, *words: str, xml: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.desk.lab.run("host", "exec", host, "--", "virsh", *words, stdin=xml)

    def refused(self, host: str, xml: str, why: str) -> None:
        done = self.virsh(host, "create", "/dev/stdin", xml=xml)
        assert done.returncode and f"Respawn: {why}" in done.stderr, done.stderr

    def boot_of(self, host: str) -> str:
        node = self.desk.cluster("vnode", host)
        assert node is not None
        return str(node["status"]["host"]["registration"]["bootID"])

    def for_boot(self, host: str, epoch: int) -> str:
        """As if it had been placed on that host, at that epoch."""
        xml = re.sub(r'bootID="[^"]+"', f'bootID="{self.boot_of(host)}"', self.xml)
        xml = re.sub(r'epoch="\d+"', f'epoch="{epoch}"', xml)
        return xml.replace(f"<name>vs-{self.uid}.1<", f"<name>vs-{self.uid}.{epoch}<")

    def disguised(self) -> str:
        """The same disks in a domain of another name and UUID that says nothing of Respawn."""
        xml = re.sub(r"<metadata>.*?</metadata>", "", self.xml, flags=re.DOTALL)
        xml = xml.replace(f"{self.uid}<", "deadbeef-0000-4000-8000-000000000001<")
        return re.sub(r"<name>.*?</name>", "<name>mine</name>", xml)


@pytest.fixture
def stranger(desk: Desk) -> Stranger:
    desk.apply(desk.blank("guarded"))
    desk.await_ready("guarded")
    return Stranger(desk, "guarded")


def test_a_start_by_hand_is_refused_whatever_its_xml_says(stranger: Stranger) -> None:
    other, here = stranger.elsewhere, stranger.here
    stranger.refused(other, stranger.xml, "the domain is for boot")
    stranger.refused(other, stranger.for_boot(other, 1), "epoch 1 is not placed here: Placed 1 on")
    stranger.refused(other, stranger.for_boot(other, 7), "epoch 7 is not placed here")
    for host in (other, here):
        stranger.refused(host, stranger.disguised(), "it uses vms/vs-")
    twice = stranger.virsh(here, "create", "/dev/stdin", xml=stranger.xml)
    assert twice.returncode, "the same once more, where it runs"
    (only,) = stranger.desk.domains().values()
    assert only["pid"] == stranger.domain["pid"] and only["state"] == "running"


def test_a_definition_by_hand_starts_neither_by_order_nor_by_itself(stranger: Stranger) -> None:
    host, desk = stranger.elsewhere, stranger.desk
    assert stranger.virsh(host, "define", "/dev/stdin", xml=stranger.disguised()).returncode == 0
    try:
        started = stranger.virsh(host, "start", "mine")
        assert started.returncode and "Respawn: it uses vms/vs-" in started.stderr
        assert stranger.virsh(host, "autostart", "mine").returncode == 0
        # libvirt starts such domains once per boot: where it has not done so, it would now.
        desk.lab.on(host, "rm", "-f", "/run/libvirt/qemu/autostarted")
        desk.lab("libvirtd", "stop", host)
        desk.lab("libvirtd", "start", host)
        asked = eventually("it has been tried", lambda: autostart_refused(desk, host))
        assert "Respawn" in asked
        assert "shut off" in stranger.virsh(host, "domstate", "mine").stdout
    finally:
        stranger.virsh(host, "undefine", "mine")
    assert len(desk.domains()) == 1


def test_a_definition_by_hand_is_in_nobodys_way(stranger: Stranger) -> None:
    """Of a server's own domain: here the server returns all the same, there it can be started."""
    here, elsewhere, desk = stranger.here, stranger.elsewhere, stranger.desk
    name = f"vs-{stranger.uid}.1"
    for host in (here, elsewhere):
        assert stranger.virsh(host, "define", "/dev/stdin", xml=stranger.xml).returncode == 0
    assert stranger.virsh(elsewhere, "start", name).returncode, "the hook says no"
    assert stranger.virsh(here, "destroy", name).returncode == 0
    desk.await_epoch("guarded", 2)
    assert name not in stranger.virsh(here, "list", "--all", "--name").stdout
    assert desk.domain("guarded")["host"] == here

    desk.change("guarded", runPolicy="Halted")
    eventually("it rests", lambda: desk.status("guarded")["phase"] == "Halted")
    desk.change("guarded", runPolicy="Always", placement={"preferredNodes": [elsewhere]})
    desk.await_epoch("guarded", 3)
    assert desk.domain("guarded")["host"] == elsewhere
    assert name not in stranger.virsh(elsewhere, "list", "--all", "--name").stdout


def test_a_lease_that_somebody_deletes_is_made_again(desk: Desk) -> None:
    host = "host-1"
    desk.lab.kubectl("-n", "respawn", "delete", "lease", host)
    eventually(f"the agent of {host} holds it again", lambda: renewed_if_there(desk, host))
    well_again(desk, host)


def renewed_if_there(desk: Desk, host: str) -> str:
    words = ("-n", "respawn", "get", "lease", host, "--ignore-not-found")
    return desk.lab.kubectl(*words, "-o", "jsonpath={.spec.renewTime}")


def autostart_refused(desk: Desk, host: str) -> str:
    """What libvirtd says of it in its log."""
    log = desk.lab("logs", f"{host}/libvirtd")
    return next((line for line in log.splitlines() if "autostart" in line.lower()), "")


# Times and counts are taken on the host itself: the lab's own command takes longer than the hook.
START_BY_HAND = r"""
now() { echo $(($(date +%s%N) / 1000000)); }
hooks() { ps -eo args | grep -c '[h]ooks/qemu'; }
cat > /tmp/by-hand.xml
begun=$(now)
virsh create /tmp/by-hand.xml 2>&1 &
until [ "$(hooks)" -gt 0 ] || [ "$(now)" -gt $((begun + 30000)) ]; do sleep 0.05; done
virsh nodeinfo > /dev/null && echo "served $(hooks)"
wait
echo "took $(($(now) - begun))"
virsh list --all > /dev/null && echo "left $(hooks)"
"""


def test_a_frozen_agent_costs_three_seconds_and_no_libvirtd(stranger: Stranger) -> None:
    host, lab = stranger.elsewhere, stranger.desk.lab
    lab("agent", "freeze", host)
    try:
        said = lab.on(host, "sh", "-c", START_BY_HAND, stdin=stranger.xml)
    finally:
        lab("agent", "thaw", host)
    assert "its agent cannot be asked" in said
    numbers = {
        words[0]: int(words[1]) for line in said.splitlines() if len(words := line.split()) == 2
    }
    assert 2500 <= numbers["took"] <= 6000, "2.8 s, and what virsh and the hook need to start"
    assert numbers["served"] >= 1, "others are served while the hook waits"
    assert numbers["left"] == 0, "the hook leaves no child"


def renewed(desk: Desk, host: str) -> str:
    lease = ("-n", "respawn", "get", "lease", host, "-o", "jsonpath={.spec.renewTime}")
    return desk.lab.kubectl(*lease)


def well_again(desk: Desk, host: str) -> None:
    before = renewed(desk, host)
    eventually(f"the agent of {host} renews", lambda: renewed(desk, host) != before)
    desk.lab.kubectl("wait", "--for=condition=Ready", f"vnode/{host}", "--timeout=60s")


def test_nothing_of_respawn_stops_a_server(desk: Desk) -> None:
    """Agent, heart, libvirtd, API server and operator, one by one and all together (S5)."""
    desk.apply(desk.guest_server("stays"), desk.blank("too", placement={"nodeSelector": {}}))
    desk.await_writing("stays")
    desk.await_ready("too")
    pids, lab = desk.pids(), desk.lab
    host = desk.node_of("stays")
    for service in ("agent", "heart", "libvirtd"):
        lab(service, "kill", host)
        assert desk.pids() == pids, f"{service} was killed"
    well_again(desk, host)
    for service in ("agent", "libvirtd", "heart"):
        lab(service, "stop", host)
    lab("operator", "kill", "1")
    lab("api", "stop")
    desk.await_progress("stays")
    assert pids_by_lab(desk) == pids
    for service in ("libvirtd", "heart", "agent"):
        lab(service, "start", host)
    lab("api", "start")
    well_again(desk, host)
    desk.await_progress("stays")
    assert desk.pids() == pids, "all were away at once"
    assert {name: desk.epoch(name) for name in pids} == {"stays": 1, "too": 1}
    assert desk.guest("stays")["pauses"] == []
    lab("guest", "kill", f"{NAMESPACE}/stays")  # the positive control: somebody is in charge
    status = desk.await_epoch("stays", 2)
    assert status["node"] == host
    desk.check_disks("stays")


def pids_by_lab(desk: Desk) -> dict[str, int]:
    """As the process tables say, while nobody can be asked who they are."""
    return {
        domain["name"]: domain["pid"]
        for domain in json.loads(desk.lab("domains", "-o", "json"))["domains"]
        if domain["namespace"] == NAMESPACE
    }
