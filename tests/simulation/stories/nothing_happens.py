"""What must not stop any server, and must not fence any host; each with a positive control."""

from tests.simulation.lab import Lab
from tests.simulation.stories.tell import epochs, recovers_elsewhere, running, story

from respawn.model.conditions import Reason, Type, find
from respawn.model.node import FencePhase


@story()
async def agent_dead_api_cut_heart_dead(lab: Lab) -> None:
    """Each alone condemns nobody: the same QEMU runs on."""
    (uid,) = await running(lab, "web-1")
    host = lab.hosts[lab.where(uid) or ""]
    host.agent_stays_dead = True
    host.kill_agent()
    await lab.rest(60)
    host.agent_stays_dead = False
    lab.cut(host.name, "management")
    await lab.rest(60)
    lab.heal(host.name)
    assert host.heart_process is not None
    host.heart_process.gate.shut()
    await lab.rest(60)
    host.heart_process.gate.open()
    assert epochs(lab, uid) == [1] and lab.node(host.name).fence.generation == 0
    await lab.rest(5)
    await recovers_elsewhere(lab, uid)


@story()
async def libvirtd_down(lab: Lab) -> None:
    """Its servers run on, and nobody sees how: that is said, and nothing new is put there."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    libvirt = lab.hosts["host-1"].libvirt
    assert libvirt is not None
    libvirt.gate.shut()
    await lab.rest(3)
    assert ready(lab, uid) == ("True", Reason.RUNNING), "one that is restarted is not worth a word"
    await lab.rest(17)
    assert ready(lab, uid) == ("Unknown", Reason.HYPERVISOR_DOWN)
    for kind in (Type.READY, Type.SCHEDULABLE, Type.HYPERVISOR_REACHABLE):
        told = find(lab.node("host-1").conditions, kind)
        assert told is not None and (told.status, told.reason) == ("False", Reason.HYPERVISOR_DOWN)
    other = lab.server("web-2", preferred_nodes=("host-1",))
    await lab.until(lambda: lab.runs(other) and lab.where(other) != "host-1", 10, "elsewhere")
    libvirt.gate.open()
    await lab.until(lambda: lab.runs(uid), 10, "Ready again")
    assert epochs(lab, uid) == [1] and lab.node("host-1").fence.generation == 0
    await recovers_elsewhere(lab, uid)


def ready(lab: Lab, uid: str) -> tuple[str, str]:
    """Status and reason of its Ready."""
    found = find(lab.get(uid).status.conditions, Type.READY)
    assert found is not None
    return found.status, found.reason


@story()
async def heart_down(lab: Lab) -> None:
    """Its agent beats in its stead, and says so."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    heart = lab.hosts["host-1"].heart_process
    assert heart is not None
    heart.gate.shut()
    await lab.rest(20)
    told = find(lab.node("host-1").conditions, Type.STORAGE_REACHABLE)
    assert told is not None and (told.status, told.reason) == ("True", Reason.HEART_DOWN)
    here = find(lab.node("host-1").conditions, Type.READY)
    assert here is not None and here.status == "True" and "start respawn-heart" in here.message
    heart.gate.open()
    await lab.rest(5)
    told = find(lab.node("host-1").conditions, Type.STORAGE_REACHABLE)
    assert told is not None and told.reason == Reason.ALIVE
    assert epochs(lab, uid) == [1]


@story()
async def api_down_and_operator_dead(lab: Lab) -> None:
    """For a minute there is no API, then no operator: no server notices."""
    (uid,) = await running(lab, "web-1")
    lab.api.gate.shut()
    await lab.rest(60)
    lab.api.gate.open()
    await lab.rest(10)
    lab.operators[0].stays_dead = True
    lab.operators[0].kill()
    await lab.rest(60)
    assert epochs(lab, uid) == [1]
    assert all(lab.node(n).fence.generation == 0 for n in lab.hosts)
    lab.operators[0].stays_dead = False
    await lab.rest(10)
    await recovers_elsewhere(lab, uid)


@story()
async def ceph_down(lab: Lab) -> None:
    """Without Ceph every heart is unknown, not stale; nothing is fenced."""
    (uid,) = await running(lab, "web-1")
    lab.ceph.gate.shut()
    await lab.rest(60)
    lab.ceph.gate.open()
    await lab.rest(10)
    assert epochs(lab, uid) == [1]
    await recovers_elsewhere(lab, uid)


@story()
async def brake_holds_when_too_many_fail_at_once(lab: Lab) -> None:
    """Two of three: it holds. One comes back: the other is recovered."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    lab.power_off("host-1")
    lab.power_off("host-2")
    await lab.rest(60)
    assert lab.where(uid) is None and lab.fence("host-1") is FencePhase.OK
    ready = find(lab.node("host-1").conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.TOO_MANY_HOSTS
    lab.power_on("host-2")
    await lab.until(lambda: lab.runs(uid), 20, "one at a time")


@story()
async def last_to_be_heard_after_a_switch_is_not_the_dead_one(lab: Lab) -> None:
    """Every host is cut off for long; they come back one by one, and none of them is fenced."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-3",))
    for host in lab.hosts:
        lab.cut(host)
    await lab.rest(40)
    held = find(lab.node("host-3").conditions, Type.READY)
    assert held is not None and held.reason == Reason.TOO_MANY_HOSTS
    for host in lab.hosts:
        lab.heal(host)
        await lab.rest(3)
    await lab.until(lambda: lab.runs(uid), 20, "runs on")
    assert epochs(lab, uid) == [1]
    assert all(lab.node(n).fence.generation == 0 for n in lab.hosts)
    await lab.rest(10)
    await recovers_elsewhere(lab, uid)


@story()
async def operator_cut_off_doubts_itself(lab: Lab) -> None:
    """The operator loses both planes: it condemns nobody when it is back."""
    (uid,) = await running(lab, "web-1")
    lab.cut("operator-1")
    await lab.rest(40)
    lab.heal("operator-1")
    await lab.rest(30)
    assert epochs(lab, uid) == [1]
    assert all(lab.node(n).fence.generation == 0 for n in lab.hosts)
    await recovers_elsewhere(lab, uid)
