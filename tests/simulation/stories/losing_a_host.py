"""A host is lost, in every way there is, and comes back."""

import asyncio
from dataclasses import replace

from tests.simulation.lab import Lab
from tests.simulation.net import Gate
from tests.simulation.stories.handles import (
    ON_1,
    hold_calls,
    hold_watch,
    registered,
    silence_agent,
    when,
)
from tests.simulation.stories.tell import epochs, reason, recovers_elsewhere, running, story

from respawn.decide.election import FAST as FAST_TERMS
from respawn.model.conditions import Reason, Type, find
from respawn.model.node import FencePhase
from respawn.model.placement import Phase
from respawn.model.policy import FAST
from respawn.model.server import AntiAffinity, RecoveryMode


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


@story()
async def heals_at_the_last_moment(lab: Lab) -> None:
    """Condemned, but the last live look finds it alive: not one of its servers is restarted."""
    uids = await running(lab, "web-1", "web-2", "web-3", preferred_nodes=("host-1",))
    (operator,) = lab.operators
    looks: list[Gate] = []

    def hold_the_look(step: str) -> None:
        if step == "Fencing" and not looks:
            looks.append(hold_calls(lab, operator.name, "get_lease"))
            lab.heal("host-1")

    operator.on_step = hold_the_look
    lab.cut("host-1")
    await lab.until(lambda: bool(looks), 20, "condemned")
    await lab.rest(0.9)
    looks[0].open()
    await lab.rest(10)
    assert lab.node("host-1").fence.generation == 0
    assert [epochs(lab, uid) for uid in uids] == [[1], [1], [1]]
    assert all(lab.runs(uid) for uid in uids)


@story()
async def its_agent_writes_while_it_is_condemned(lab: Lab) -> None:
    """The intent meets a Conflict because the agent has just written: a sign of life."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    (operator,) = lab.operators
    writes: list[Gate] = []

    def let_the_agent_write() -> None:
        node = lab.node("host-1")
        lab.api.write_host(node, replace(node.host, storage_failing=True))

    def hold_the_intent(step: str) -> None:
        if step == "Fencing" and not writes:
            writes.append(hold_calls(lab, operator.name, "write_fence"))
            when(lab, operator.name, "get_node", let_the_agent_write)

    operator.on_step = hold_the_intent
    lab.cut("host-1")
    await lab.until(lambda: bool(writes), 20, "condemned")
    await lab.rest(0.5)
    writes[0].open()
    await lab.rest(0.1)
    lab.heal("host-1")
    await lab.rest(10)
    assert lab.node("host-1").fence.generation == 0 and epochs(lab, uid) == [1]


@story()
async def a_fault_that_wanders_is_held(lab: Lab) -> None:
    """One host each six seconds: the second one stays held, not only for a minute."""
    await running(lab, "web-1", preferred_nodes=("host-1",))
    for host in ("host-1", "host-2"):
        lab.cut(host)
        await lab.rest(6)
    await lab.rest(150)
    assert lab.fence("host-1") is FencePhase.FENCED and lab.fence("host-2") is FencePhase.OK
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-2") is FencePhase.FENCED, 40, "the first one is back")


@story()
async def storage_stays_dead(lab: Lab) -> None:
    """A host without storage is emptied once, and neither let in nor given servers before it is
    back."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    lab.cut(host, "storage")
    await lab.rest(20)
    wants = lab.server("web-2", preferred_nodes=(host,))
    await lab.until(lambda: lab.runs(wants), 20, "runs on another host")
    await lab.until(lambda: lab.where(uid) not in (None, host), 80, "runs elsewhere")
    await lab.rest(100)
    assert (lab.fence(host), lab.node(host).fence.generation) == (FencePhase.FENCED, 1)
    lab.heal(host, "storage")
    await lab.until(lambda: lab.fence(host) is FencePhase.OK, 20, "let in again")
    await lab.rest(30)
    assert lab.node(host).fence.generation == 1 and not lab.node(host).host.storage_failing


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
async def an_agent_that_dies_during_a_cut_pauses_in_time(lab: Lab) -> None:
    """Its successor goes on counting; one that died for the third time as well."""
    (uid,) = await running(lab, "web-1")
    host = lab.hosts[lab.where(uid) or ""]
    at = next(i for i in lab.truth.instances if i.uid == uid)
    lab.cut(host.name)
    begun = lab.now()
    for seconds in (2.5, 4.0):
        await lab.rest(begun + seconds - lab.now())
        host.kill_agent()
    await lab.until(lambda: at.paused, 7 - (lab.now() - begun), "paused before it is replaced")
    await lab.until(lambda: lab.where(uid) not in (None, host.name), 20, "replaced")


@story()
async def agent_and_heart_begin_again_after_a_minute(lab: Lab) -> None:
    """Nobody counted meanwhile: with contact to be had, nothing is paused for a moment."""
    (uid,) = await running(lab, "web-1")
    host = lab.hosts[lab.where(uid) or ""]
    at = next(i for i in lab.truth.instances if i.uid == uid)
    lab.operators[0].stays_dead = True
    lab.operators[0].kill()
    host.agent_stays_dead = True
    host.kill_agent()
    assert host.heart_process is not None
    host.heart_process.gate.shut()
    await lab.rest(60)
    lab.net.slowest = 0.05
    host.start_agent()
    begun = lab.now()
    while lab.now() < begun + 10:
        await asyncio.sleep(0.01)
        assert not at.paused, "paused although nothing is cut"
    assert epochs(lab, uid) == [1]


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
    # its Lease was renewed all the while: what counts is when its storage was last seen well
    seen, missed, decided = record.last_seen, record.suspected, record.decided
    assert seen and missed and decided and seen < missed < decided
    assert (decided - seen).total_seconds() > 55
    lab.heal(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 30, "rejoined")


@story()
async def a_storage_network_that_is_back_costs_no_host(lab: Lab) -> None:
    """All have lost it, and are held; the last to be heard again is not the dead one."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    for host in lab.hosts:
        lab.cut(host, "storage")
    await lab.rest(90)
    assert status(lab, uid) == ("False", Reason.UNREACHABLE)
    for host in ("host-3", "host-2"):
        lab.heal(host, "storage")
    await lab.rest(2)
    lab.heal("host-1", "storage")
    await lab.until(lambda: lab.runs(uid), 20, "Ready again")
    await lab.rest(20)
    assert epochs(lab, uid) == [1] and all(n.fence.generation == 0 for n in lab.api.nodes.values())
    await recovers_elsewhere(lab, uid)


@story()
async def storage_is_back_while_the_intent_is_on_its_way(lab: Lab) -> None:
    """Its agent takes back what alone had condemned the host; the intent meets a Conflict."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    (operator,) = lab.operators
    writes: list[Gate] = []

    def hold_the_intent(step: str) -> None:
        if step == "Fencing" and not writes:
            writes.append(hold_calls(lab, operator.name, "write_fence"))

    operator.on_step = hold_the_intent
    lab.cut("host-1", "storage")
    await lab.until(lambda: bool(writes), 90, "condemned")
    await lab.rest(0.5)
    lab.heal("host-1", "storage")
    await lab.until(lambda: not lab.node("host-1").host.storage_failing, 3, "it says so")
    writes[0].open()
    await lab.rest(10)
    assert lab.node("host-1").fence.generation == 0 and epochs(lab, uid) == [1]
    await recovers_elsewhere(lab, uid)


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


def status(lab: Lab, uid: str, kind: str = Type.READY) -> tuple[str, str]:
    """Status and reason of a condition of the server."""
    condition = find(lab.get(uid).status.conditions, kind)
    assert condition is not None
    return condition.status, condition.reason


@story()
async def nothing_is_called_ready_that_nobody_hears_of(lab: Lab) -> None:
    """A failover that is held: its servers are not Ready, and are again when the host is back."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    for host in ("host-1", "host-2"):
        lab.cut(host)
    await lab.rest(30)
    assert status(lab, uid) == ("False", Reason.DEAD)
    assert status(lab, uid, Type.RUNNING)[0] == "False"
    writes = len(lab.api.writes)
    await lab.rest(60)
    assert len(lab.api.writes) == writes, "it is said once"
    for host in ("host-1", "host-2"):
        lab.heal(host)
    await lab.until(lambda: lab.runs(uid), 15, "Ready again")
    assert epochs(lab, uid) == [1]


@story()
async def server_of_a_host_without_agent_is_unknown(lab: Lab) -> None:
    """Its QEMU runs on, or it does not: nobody is there to say. And a start waits and says so."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    lab.cordon("host-2", "host-3")
    await lab.rest(1)
    silence_agent(lab)
    starting = lab.server("web-2")
    await lab.rest(20)
    assert status(lab, uid) == ("Unknown", Reason.AGENT_DOWN)
    assert status(lab, starting) == ("False", Reason.AGENT_DOWN)
    assert epochs(lab, uid) == [1] and lab.node("host-1").fence.generation == 0
    lab.hosts["host-1"].agent_stays_dead = False
    await lab.until(lambda: lab.runs(uid) and lab.runs(starting), 10, "both are Ready")
    assert epochs(lab, uid) == [1]


@story()
async def placed_on_a_boot_that_no_watch_has_shown_yet(lab: Lab) -> None:
    """The Node is read afresh for a start: an older picture of it does not end that start."""
    await lab.begin()
    operator, host = lab.operators[0], lab.hosts["host-1"]
    gate = hold_watch(lab, operator.name, "node")
    lab.power_off("host-1")
    lab.power_on("host-1")
    await lab.until(lambda: registered(lab) == host.boot_id, 10, "registered anew")
    uid = lab.server("web-1", node_selector=ON_1)
    await lab.rest(2)
    gate.open()
    await lab.until(lambda: lab.runs(uid), 10)
    assert epochs(lab, uid) == [1] and lab.get(uid).placement.epoch == 1


@story()
async def timeline_of_a_loss_survives_a_start_that_fails(lab: Lab) -> None:
    """The first start elsewhere dies at once: it has been down since its host was lost."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    await lab.until(lambda: lab.get(uid).placement.epoch == 2, 20, "Placed elsewhere")
    reports = hold_watch(lab, lab.operators[0].name, "node")
    await lab.until(lambda: lab.where(uid) not in (None, lost), 20, "starts there")
    begun = lab.get(uid).status.recovery
    lab.hosts[lab.where(uid) or ""].kill_qemu(uid)
    await lab.rest(0.5)
    reports.open()
    await lab.until(lambda: epochs(lab, uid) == [1, 2, 3] and lab.runs(uid), 20, "runs at last")
    record = lab.get(uid).status.recovery
    assert record is not None and begun is not None and not record.open
    kept = ("reason", "from_node", "last_seen", "decided", "fenced", "proof")
    for name in kept:
        assert getattr(record, name) == getattr(begun, name) is not None, name
