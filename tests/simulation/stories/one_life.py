"""One server's life: start, stop, delete, restart, back-off, and waits that say why."""

from dataclasses import replace

from tests.simulation.lab import ROOT, Lab
from tests.simulation.stories.tell import epochs, reason, running, story

from respawn.model.conditions import Reason
from respawn.model.server import RunPolicy


@story()
async def start_stop_delete(lab: Lab) -> None:
    """Applied it runs; Halted it ends orderly and is Ready; deleted nothing of it is left."""
    (uid,) = await running(lab, "web-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid) and lab.ready(uid), 10, "halted and Ready")
    assert lab.where(uid) is None and reason(lab, uid) == Reason.HALTED
    assert lab.truth.deaths[-1][3] == Reason.GUEST_SHUTDOWN
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: lab.runs(uid), 10, "runs again")
    assert epochs(lab, uid) == [1, 2]
    lab.api.delete_server(uid)
    await lab.until(lambda: uid not in lab.api.servers, 10, "deleted")
    assert lab.ceph.trashed == [f"vs-{uid}-root"] and not lab.ceph.images


@story()
async def guest_that_ignores_acpi_is_ended_after_its_grace(lab: Lab) -> None:
    """Grace is honoured, then the QEMU is killed, and its client is banned."""
    (uid,) = await running(lab, "web-1", shutdown_grace=5.0)
    host = lab.hosts[lab.where(uid) or ""]
    assert host.libvirt is not None
    host.libvirt.guest_ignores_acpi = True
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    took = await lab.until(lambda: lab.where(uid) is None, 15, "ended")
    assert 5.0 <= took < 8.0, took
    await lab.until(lambda: lab.free(uid), 5, "Free")
    assert any(e.form is None for e in lab.ceph.entries)


@story()
async def killed_qemu_returns_in_place_then_elsewhere_then_backs_off(lab: Lab) -> None:
    """First on its host, then on another, then later and later; and its status says so."""
    (uid,) = await running(lab, "web-1")
    home = lab.where(uid)
    lab.hosts[home or ""].kill_qemu(uid)
    assert await lab.until(lambda: lab.runs(uid), 5, "back in place") < 3
    assert lab.where(uid) == home and epochs(lab, uid) == [1, 2]
    lab.hosts[home or ""].kill_qemu(uid)
    await lab.until(lambda: lab.runs(uid), 5, "back elsewhere")
    second = lab.where(uid)
    assert second != home
    lab.hosts[second or ""].kill_qemu(uid)
    await lab.until(lambda: reason(lab, uid) == Reason.BACK_OFF, 5, "backs off")
    assert 7 < await lab.until(lambda: lab.runs(uid), 20, "back after the back-off") < 13
    record = lab.get(uid).status.recovery
    assert record is not None and record.proof == "Ended", "its wait has not lost the proof"


@story()
async def guest_that_powers_off(lab: Lab) -> None:
    """Always: it is started again. RerunOnFailure: that was it, until somebody wants it."""
    (one, two) = await running(lab, "always", "once")
    lab.api.edit_server(two, run_policy=RunPolicy.RERUN_ON_FAILURE)
    await lab.until(lambda: lab.runs(two), 5)
    for uid in (one, two):
        lab.hosts[lab.where(uid) or ""].kill_qemu(uid, Reason.GUEST_SHUTDOWN, orderly=True)
    await lab.until(lambda: lab.runs(one) and lab.free(two), 10, "one back, two at rest")
    await lab.rest(20)
    assert reason(lab, two) == Reason.COMPLETED and lab.ready(two)
    lab.api.edit_server(two, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: lab.runs(two), 10, "wanted again")


@story()
async def how_it_ended_is_told_after_it_is_gone(lab: Lab) -> None:
    """A look misses the domain before libvirt's event comes: nothing is guessed meanwhile."""
    (off, died) = await running(lab, "off", "died", run_policy=RunPolicy.RERUN_ON_FAILURE)
    for uid, why in ((off, Reason.GUEST_SHUTDOWN), (died, Reason.QEMU_DIED)):
        host = lab.hosts[lab.where(uid) or ""]
        assert host.libvirt is not None
        host.libvirt.word_delay = 0.6
        host.kill_qemu(uid, why)
        host.libvirt.written.clear()
    await lab.until(lambda: lab.free(off) and lab.runs(died), 10, "each as its ending wants it")
    assert reason(lab, off) == Reason.COMPLETED
    assert ending_of(lab, died) == Reason.QEMU_DIED


@story()
async def endings_while_no_agent_looks(lab: Lab) -> None:
    """libvirt's log tells a guest's own power-off; of what died without a word, nobody saw how."""
    (off, died) = await running(lab, "off", "died", run_policy=RunPolicy.RERUN_ON_FAILURE)
    hosts = {lab.hosts[lab.where(uid) or ""] for uid in (off, died)}
    ends = ((off, Reason.GUEST_SHUTDOWN), (died, Reason.QEMU_DIED))
    for host in hosts:
        host.agent_stays_dead = True
        host.kill_agent()
    for uid, why in ends:
        lab.hosts[lab.where(uid) or ""].kill_qemu(uid, why)
    await lab.rest(2)
    for host in hosts:
        host.agent_stays_dead = False
    await lab.until(lambda: lab.free(off) and lab.runs(died), 15, "each as its ending wants it")
    assert reason(lab, off) == Reason.COMPLETED and ending_of(lab, off) == Reason.GUEST_SHUTDOWN
    assert ending_of(lab, died) == Reason.VANISHED


def ending_of(lab: Lab, uid: str) -> str:
    """Why its last instance ended."""
    setback = lab.get(uid).status.setback
    return setback.reason if setback is not None else ""


@story()
async def protected_server_is_not_deleted(lab: Lab) -> None:
    """A deletion of a protected server changes nothing until the protection is taken off."""
    (uid,) = await running(lab, "web-1", protected=True)
    lab.api.delete_server(uid)
    await lab.rest(10)
    assert lab.where(uid) is not None and reason(lab, uid) == Reason.PROTECTED
    lab.api.edit_server(uid, protected=False)
    await lab.until(lambda: uid not in lab.api.servers, 10, "deleted")


@story()
async def waits_say_why(lab: Lab) -> None:
    """Unknown image, no room, a selector that fits nothing: a reason, and quiet until it ends."""
    await lab.begin()
    lost = lab.server("no-image", disks=(replace(ROOT[0], image="absent"),))
    large = lab.server("large", memory=2**50)
    picky = lab.server("picky", node_selector={"rack": "z"})
    await lab.rest(5)
    assert reason(lab, lost) == Reason.UNKNOWN_IMAGE
    assert reason(lab, large) == Reason.NO_HOST_FITS == reason(lab, picky)
    writes = len(lab.api.writes)
    await lab.rest(120)
    assert len(lab.api.writes) == writes, "waiting servers are written about"
    node = lab.node("host-2")
    lab.api.apply_node(replace(node, labels={**node.labels, "rack": "z"}))
    await lab.until(lambda: lab.runs(picky), 35, "a host fits now")
    assert lab.where(picky) == "host-2"
