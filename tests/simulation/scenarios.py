"""Scripted runs: each function is one story; its docstring says what must come of it.

Every story in which nothing may happen ends with a positive control.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.simulation.lab import ROOT, Lab

from respawn.decide.election import FAST as FAST_TERMS
from respawn.model.conditions import Reason, Type, find
from respawn.model.host import Incarnation
from respawn.model.node import FencePhase, Form
from respawn.model.placement import Phase
from respawn.model.policy import FAST, Policy
from respawn.model.server import AntiAffinity, RecoveryMode, RunPolicy
from respawn.model.storage import Entry
from respawn.ports.errors import PortError

Story = Callable[[Lab], Awaitable[None]]

STORIES: dict[str, tuple[Story, dict[str, object]]] = {}


def story(**lab: object) -> Callable[[Story], Story]:
    """Register a story, with the lab that it plays in."""

    def add(function: Story) -> Story:
        STORIES[function.__name__] = (function, lab)
        return function

    return add


async def running(lab: Lab, *names: str, **spec: object) -> list[str]:
    """Servers of those names, up and Ready."""
    await lab.begin()
    uids = [lab.server(name, **spec) for name in names]
    await lab.until(lambda: all(lab.runs(uid) for uid in uids), 20, "servers run")
    return uids


def epochs(lab: Lab, uid: str) -> list[int]:
    """Epochs that ever opened its image, in order."""
    return [epoch for _, u, epoch, _ in lab.truth.starts if u == uid]


def reason(lab: Lab, uid: str, kind: str = Type.READY) -> str:
    """The reason of a condition of the server."""
    condition = find(lab.get(uid).status.conditions, kind)
    return condition.reason if condition else ""


async def recovers_elsewhere(lab: Lab, uid: str, limit: float = 20) -> float:
    """The positive control: its host loses power, and it runs on another one."""
    lost = lab.where(uid)
    assert lost is not None, f"{uid} runs nowhere"
    lab.power_off(lost)
    await lab.until(lambda: lab.where(uid) not in (None, lost), limit, "runs elsewhere")
    return await lab.until(lambda: lab.runs(uid), 5, "is Ready elsewhere")


# One server's life.


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


# Losing a host.


@story()
async def power_off(lab: Lab) -> None:
    """Fenced at fenceAfter, running elsewhere half a second later; three status writes."""
    (uid,) = await running(lab, "web-1")
    await lab.rest(3)
    writes = len(lab.api.writes)
    begun = lab.now()
    lost = lab.where(uid)
    await recovers_elsewhere(lab, uid)
    record = lab.get(uid).status.recovery
    assert record and record.decided and record.last_seen and record.placed and record.fenced
    assert (record.decided - record.last_seen).total_seconds() <= 8.0 + 0.5
    assert (record.placed - record.decided).total_seconds() <= 0.3
    assert lab.now() - begun < 10.5 and record.proof == "Fenced" and record.from_node == lost
    assert len(lab.api.writes) - writes == 3, lab.api.writes[writes:]
    assert lab.fence(lost or "") is FencePhase.FENCED
    lab.power_on(lost or "")
    await lab.until(lambda: lab.fence(lost or "") is FencePhase.OK, 10, "lifted")
    await lab.until(lambda: len(lab.hosts) == 3 and lab.node(lost or "").fence.generation == 1, 1)
    assert not [e for e in lab.ceph.entries if e.form is not None], "exactly our entries went"


@story(timings=FAST, terms=FAST_TERMS)
async def power_off_with_fast_timings(lab: Lab) -> None:
    """The fast profile: decided 3 s after the last sign of life."""
    (uid,) = await running(lab, "web-1")
    await recovers_elsewhere(lab, uid, 8)
    record = lab.get(uid).status.recovery
    assert record and record.decided and record.last_seen
    assert (record.decided - record.last_seen).total_seconds() <= 3.0 + 0.5


@story(hosts=4)
async def priority_and_spread(lab: Lab) -> None:
    """Higher priority starts first; servers of one group do not meet."""
    await lab.begin()
    rule = (AntiAffinity("fronts"),)
    uids = [
        lab.server(f"web-{n}", priority=100 * n, preferred_nodes=("host-1",)) for n in (1, 2, 3)
    ]
    fronts = [lab.server(f"front-{n}", anti_affinity=rule) for n in (1, 2)]
    await lab.until(lambda: all(lab.runs(u) for u in uids + fronts), 20)
    assert {lab.where(u) for u in uids} == {"host-1"}
    assert lab.where(fronts[0]) != lab.where(fronts[1])
    lab.power_off("host-1")
    await lab.until(lambda: all(lab.runs(u) for u in uids + fronts), 20, "all back")
    order = [uid for _, uid, epoch, _ in lab.truth.starts if uid in uids and epoch > 1]
    assert order == list(reversed(uids)), order
    assert len({lab.where(u) for u in uids}) > 1, "spread"
    assert lab.where(fronts[0]) != lab.where(fronts[1])


@story(hosts=4)
async def twenty_servers_on_one_host(lab: Lab) -> None:
    """All are Placed within 1.5 s of the decision, the first running within 500 ms."""
    await lab.begin()
    lab.cordon("host-2", "host-3", "host-4")
    uids = [lab.server(f"web-{n}") for n in range(20)]
    await lab.until(lambda: all(lab.runs(u) for u in uids), 90)
    assert {lab.where(u) for u in uids} == {"host-1"}
    lab.cordon()
    await lab.rest(3)
    lab.power_off("host-1")
    await lab.until(lambda: all(lab.runs(u) for u in uids), 30, "all back")
    records = [lab.get(u).status.recovery for u in uids]
    decided = min(r.decided for r in records if r and r.decided)
    placed = [(r.placed - decided).total_seconds() for r in records if r and r.placed]
    assert len(placed) == 20 and max(placed) <= 1.5, placed
    started = [(r.started - decided).total_seconds() for r in records if r and r.started]
    assert min(started) <= 0.5, started


@story()
async def cut_off_host_pauses_is_fenced_and_rejoins(lab: Lab) -> None:
    """Both planes cut: it pauses first, is replaced, and on return ends its copy and is let in."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    at = next(i for i in lab.truth.instances if i.uid == uid)
    lab.cut(lost)
    await lab.until(lambda: at.paused, 7, "paused before it is replaced")
    await lab.until(lambda: lab.where(uid) not in (None, lost), 20, "replaced")
    await lab.rest(30)
    lab.heal(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 30, "rejoined")
    assert at not in lab.truth.instances and lab.node(lost).host.clean_generation == 1
    await lab.rest(1)
    again = lab.server("web-2", preferred_nodes=(lost,))
    await lab.until(lambda: lab.where(again) == lost, 10, "used again")


@story()
async def short_cut_is_a_pause_and_nothing_else(lab: Lab) -> None:
    """A switch that reboots costs a pause: the same QEMU runs on."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    at = next(i for i in lab.truth.instances if i.uid == uid)
    lab.cut(host)
    await lab.until(lambda: at.paused, 7)
    lab.heal(host, "storage")
    await lab.until(lambda: not at.paused, 5, "runs on with Ceph alone")
    await lab.rest(30)
    assert lab.fence(host) is FencePhase.OK and epochs(lab, uid) == [1]
    lab.heal(host)
    await lab.rest(5)
    await recovers_elsewhere(lab, uid)


@story()
async def reboot_behind_a_cut_management_network(lab: Lab) -> None:
    """Its heart beats again, with another boot: its servers are dead, and restart elsewhere."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.cut(lost, "management")
    lab.power_off(lost)
    lab.power_on(lost)
    await lab.until(lambda: lab.where(uid) not in (None, lost), 30, "restarted elsewhere")
    record = lab.get(uid).status.recovery
    assert record is not None and record.proof == "NewBoot"
    assert lab.fence(lost) is FencePhase.OK, "no fence was needed"


@story()
async def quick_reboot_needs_no_fence(lab: Lab) -> None:
    """A host that is back before it is missed: another boot of the same machine is the proof."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    lab.power_off(host)
    lab.power_on(host)
    await lab.until(lambda: lab.runs(uid) and epochs(lab, uid) == [1, 2], 10, "started again")
    assert lab.node(host).fence.generation == 0


@story()
async def frozen_host_is_fenced_late_and_never_writes_again(lab: Lab) -> None:
    """Only its kernel answers: nothing for unresponsiveAfter, then its watches decide."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.hosts[lost].freeze()
    await lab.rest(40)
    assert lab.get(uid).placement.phase is Phase.PLACED
    await lab.until(lambda: lab.where(uid) not in (None, lost), 40, "replaced")
    lab.hosts[lost].thaw()
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 40, "rejoined")


@story()
async def host_without_storage_is_fenced_late(lab: Lab) -> None:
    """Its agent says so itself: nothing for storageLostAfter, then fenced and restarted."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.cut(lost, "storage")
    await lab.rest(30)
    lab.heal(lost, "storage")
    await lab.rest(30)
    assert epochs(lab, uid) == [1] and lab.node(lost).fence.generation == 0
    lab.cut(lost, "storage")
    took = await lab.until(lambda: lab.where(uid) not in (None, lost), 90, "runs elsewhere")
    assert 58 < took < 65, took
    record = lab.get(uid).status.recovery
    assert record is not None and record.reason == Reason.STORAGE_LOST
    lab.heal(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 30, "rejoined")


@story()
async def server_without_recovery_waits_for_its_host(lab: Lab) -> None:
    """recovery None: it is not started elsewhere, and starts when its host is back."""
    (uid,) = await running(lab, "web-1", recovery=RecoveryMode.NONE)
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    await lab.until(lambda: reason(lab, uid) == Reason.WAITING_FOR_OWN_HOST, 20)
    await lab.rest(20)
    assert lab.where(uid) is None
    lab.power_on(lost)
    await lab.until(lambda: lab.runs(uid), 40, "back with its host")
    assert lab.where(uid) == lost


# Nothing happens.


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


# Strange things.


@story()
async def starts_that_nobody_ordered_are_refused(lab: Lab) -> None:
    """virsh start elsewhere, of an old epoch, of this very epoch again: the hook says no."""
    (uid,) = await running(lab, "web-1")
    home = lab.where(uid)
    images = (f"vs-{uid}-root",)
    for host in lab.hosts.values():
        for epoch in (1, 2):
            assert host.libvirt is not None
            who = Incarnation(uid, epoch, host.boot_id, "customer-a", "web-1")
            if host.name != home:
                await refused(host.libvirt.start(who, images))
    lab.hosts[home or ""].kill_agent()
    lab.hosts[home or ""].agent_stays_dead = True
    lab.hosts[home or ""].kill_qemu(uid)
    lab.hosts[home or ""].agent_stays_dead = False
    await lab.rest(1.2)
    libvirt = lab.hosts[home or ""].libvirt
    assert libvirt is not None
    await refused(libvirt.start(Incarnation(uid, 1, libvirt.boot, "customer-a", "web-1"), images))
    await lab.until(lambda: lab.runs(uid), 10, "back under a new epoch")


async def refused(start: Awaitable[object]) -> None:
    """That start must fail."""
    try:
        await start
    except PortError:
        return
    raise AssertionError("a start that nobody ordered succeeded")


@story()
async def no_object_is_no_order_to_kill(lab: Lab) -> None:
    """404 and an older epoch (a restored API): the agent holds."""
    (one, two) = await running(lab, "web-1", "web-2")
    for uid in (one, two):
        lab.hosts[lab.where(uid) or ""].kill_qemu(uid)
    await lab.until(lambda: lab.runs(one) and lab.runs(two), 10)
    lab.operators[0].stays_dead = True
    lab.operators[0].kill()
    gone = lab.get(one)
    lab.api._remove(gone)
    old = lab.get(two)
    placement = replace(old.placement, epoch=1, phase=Phase.REVOKED)
    lab.api.apply_server(replace(old, status=replace(old.status, placement=placement)))
    for host in lab.hosts.values():
        host.kill_agent()
    await lab.rest(30)
    assert lab.where(one) and lab.where(two), "killed without an order"


@story()
async def restored_control_plane_starts_nothing(lab: Lab) -> None:
    """The image has been written under a newer resourceVersion than the API has: hold."""
    (uid,) = await running(lab, "web-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 10)
    image = lab.ceph.images[f"vs-{uid}-root"]
    assert image.mark is not None
    image.mark = replace(image.mark, resource_version=10**9)
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: reason(lab, uid) == Reason.EPOCH_BEHIND_IMAGE, 10)
    await lab.rest(60)
    assert epochs(lab, uid) == [1]


@story()
async def foreign_client_holds_the_start(lab: Lab) -> None:
    """Somebody else has the disk open: it waits with a reason, and starts when they are gone."""
    (uid,) = await running(lab, "web-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 10)
    stranger = "192.0.2.99:0/7"
    lab.ceph.open(f"vs-{uid}-root", stranger)
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: reason(lab, uid) == Reason.FOREIGN_CLIENT, 10)
    assert Entry(stranger) not in lab.ceph.entries
    lab.ceph.close(stranger)
    await lab.until(lambda: lab.runs(uid), 10, "they are gone")


@story()
async def blocklisted_while_ok_becomes_a_fence(lab: Lab) -> None:
    """A late `add` of a deposed operator, or a person's: fenced properly, cleaned and lifted."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    lab.ceph.add({Entry(lab.hosts[host].address, Form.RANGE)})
    await lab.until(lambda: lab.node(host).fence.generation == 1, 15, "noticed")
    await lab.until(lambda: lab.runs(uid), 20, "runs again")
    await lab.until(lambda: lab.fence(host) is FencePhase.OK, 20, "lifted")
    assert not [e for e in lab.ceph.entries if e.form is not None]


@story()
async def node_object_stays_while_it_matters(lab: Lab) -> None:
    """Deleted while fenced, the Node stays until the fence is lifted and nothing is there."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.FENCED, 15)
    lab.api.apply_node(replace(lab.node(lost), deleting=True))
    await lab.rest(20)
    assert lost in lab.api.nodes
    lab.power_on(lost)
    await lab.until(lambda: lost not in lab.api.nodes, 20, "gone once it is unfenced")


@story()
async def other_hardware_under_the_same_name_proves_nothing(lab: Lab) -> None:
    """A new machine with the old name: the old one may be alive, so nothing is started."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.hosts[lost].machine_id = "another-machine"
    lab.power_off(lost)
    lab.power_on(lost)
    await lab.rest(60)
    assert lab.where(uid) is None and lab.get(uid).placement.phase is Phase.REVOKED
    assert lab.node(lost).fence.generation == 0


# Two operators.


@story(operators=2)
async def leader_and_host_die_together(lab: Lab) -> None:
    """The standby has watched all along: leader lease + fenceAfter + 2 s at most."""
    (uid,) = await running(lab, "web-1")
    await lab.rest(5)
    leader = next(o for o in lab.operators if o.leads)
    leader.stays_dead = True
    leader.kill()
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    took = await lab.until(lambda: lab.where(uid) not in (None, lost), 30, "recovered")
    assert took <= 5.0 + 8.0 + 2.0, took


@story(operators=2)
async def deposed_leader_wakes_up_in_the_middle(lab: Lab) -> None:
    """Frozen right after Fencing, for a minute; the other finishes, it changes nothing."""
    (uid,) = await running(lab, "web-1")
    leader = next(o for o in lab.operators if o.leads)
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    await lab.until(lambda: "Fencing" in leader.points, 15)
    assert leader.process is not None
    leader.process.gate.shut()
    await lab.until(lambda: lab.runs(uid), 30, "the other recovers it")
    await lab.rest(30)
    told = (lab.get(uid).placement, lab.node(lost).fence.phase)
    leader.process.gate.open()
    await lab.rest(30)
    assert (lab.get(uid).placement, lab.node(lost).fence.phase) == told
    lab.power_on(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 20)


@story()
async def policy_binds_a_host_once_its_agent_obeys(lab: Lab) -> None:
    """New, faster timings: a host whose agent has not heard of them has the old ones' time."""
    (uid,) = await running(lab, "web-1")
    store = lab.operators[0].core
    assert store is not None
    store.store.put_policy(Policy(timings=FAST, generation=2))
    lost = lab.where(uid) or ""
    begun = lab.now()
    lab.power_off(lost)
    await lab.until(lambda: lab.fence(lost) is not FencePhase.OK, 20)
    assert lab.now() - begun > 5.5, "judged by timings it never heard of"
    await asyncio.sleep(0)
