"""Counterexamples of the model checker: how a host comes back, and who says so.

Each drives the world into the very interleaving that one rule of docs/protocol.md is there for.
With the rule it ends well; without it (see `mutations`) an invariant breaks.
"""

import asyncio

from tests.simulation.lab import Lab
from tests.simulation.net import Gate, Process
from tests.simulation.operators import SimOperator
from tests.simulation.stories.handles import (
    blocklisted_by_hand,
    fence_host_1,
    free_to_go,
    hold_calls,
    hold_watch,
    lead,
    libvirt,
    put_on_host_1,
    registered,
    unknown_to_the_next_leader,
    when,
)
from tests.simulation.stories.tell import story

from respawn.decide.election import FAST as FAST_TERMS
from respawn.model.conditions import Reason
from respawn.model.node import FencePhase
from respawn.model.policy import FAST


@story(operators=2)
async def rejoin_with_a_server_still_placed_there(lab: Lab) -> None:
    """Its failover is not written yet; on rejoin it is ended all the same."""
    await lab.begin()
    uid, servers, _ = await unknown_to_the_next_leader(lab)
    await lab.until(lambda: lab.where(uid) == "host-1", 10)
    await fence_host_1(lab)
    libvirt(lab).busy["kill"] = 0.3
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted")
    await lab.rest(5)
    servers.open()
    await lab.until(lambda: lab.runs(uid), 40, "runs again")
    setback = lab.get(uid).status.setback
    assert setback is not None and setback.reason == Reason.HOST_FENCED, setback


@story(operators=2)
async def cut_off_host_stays_fenced(lab: Lab) -> None:
    """While it is cut off there is no proof, so its fence is not lifted."""
    await lab.begin()
    uid, servers, _ = await unknown_to_the_next_leader(lab)
    await lab.until(lambda: lab.where(uid) == "host-1", 10)
    await fence_host_1(lab)
    await lab.rest(30)
    assert lab.fence("host-1") is FencePhase.FENCED
    lab.heal("host-1")
    servers.open()
    await lab.until(lambda: lab.runs(uid), 60, "runs there again")


@story(timings=FAST, terms=FAST_TERMS, operators=2)
async def clean_report_of_an_older_fence(lab: Lab) -> None:
    """The look belongs to fence 1, and its report lands in fence 2, with a server alive."""
    first, second = lab.operators
    await lab.begin()
    await lead(lab, first)
    servers = hold_watch(lab, second.name, "server")
    lab.power_off("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.FENCED, 20, "fence 1")
    lab.power_on("host-1")
    looked = lab.hosts["host-1"].looked = Gate()
    looked.shut()
    lift = hold_calls(lab, first.name, "write_fence")
    await lab.rest(0.5)
    lift.open()
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted: another boot")
    await lab.rest(1)
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10, "runs there")
    first.stays_dead = True
    first.kill()
    await lead(lab, second)
    await fence_host_1(lab)
    libvirt(lab).busy["kill"] = 3.0
    lab.heal("host-1")
    # What its return makes others write about it is written: the late report meets no 409.
    await lab.rest(1)
    looked.open()
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "rejoined")
    servers.open()
    await lab.until(lambda: lab.runs(uid), 40, "runs again")


@story(operators=2)
async def late_removal_hits_the_next_fence(lab: Lab) -> None:
    """A deposed operator's `rm` of fence 1 arrives when the host is fenced again."""
    first, second = lab.operators
    await lab.begin()
    await lead(lab, first)
    removal = hold_calls(lab, first.name, "remove")
    sent = asyncio.Event()
    first.on_step = lambda step: sent.set() if step == "OK" else None
    await fence_host_1(lab)
    lab.heal("host-1")
    await sent.wait()
    await lab.rest(0.1)
    first.freeze()
    await lead(lab, second)
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "taken over and lifted")
    await fenced_again_after(lab, removal)


async def fenced_again_after(lab: Lab, removal: Gate) -> None:
    """The second operator leads; a server lives on host-1; host-1 is fenced again; then `removal`
    of the first operator, if there is one on its way, arrives."""
    second = lab.operators[1]
    await lead(lab, second)
    await lab.rest(1)
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10, "runs there")
    hold_watch(lab, second.name, "server")
    second.kill()
    second.start()
    await lead(lab, second)
    await lab.rest(3)
    await fence_host_1(lab)
    removal.open()
    await lab.rest(5)
    lab.heal("host-1")
    await lab.rest(20)


@story(operators=2)
async def removal_whose_outcome_was_written_unheard(lab: Lab) -> None:
    """`rm` returned, the write of OK took effect, its reply was lost: no second `rm` is sent."""
    first, _ = lab.operators
    removals: list[Gate] = []

    def cut_off_next(point: str) -> bool:
        if point == "rm" and not removals:
            when(lab, first.name, "write_fence", lambda: lab.cut(first.name, "management"))
            removals.append(hold_calls(lab, first.name, "remove"))
        return False

    first.crash_after = cut_off_next
    await lab.begin()
    await lead(lab, first)
    await fence_host_1(lab)
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 30, "lifted")
    await lab.rest(3)
    first.freeze()
    await fenced_again_after(lab, removals[0])


@story(operators=2)
async def removal_whose_outcome_is_written_late(lab: Lab) -> None:
    """The write of OK is still on its way while the node is read again: no second `rm` is sent."""
    first, _ = lab.operators
    gates: list[Gate] = []

    def hold_the_rest(point: str) -> bool:
        if point == "rm" and not gates:
            gates.append(hold_calls(lab, first.name, "remove"))
            gates.append(hold_calls(lab, first.name, "write_fence"))
            gates.append(hold_calls(lab, "agent-host-1", "write_host"))
        return False

    first.crash_after = hold_the_rest
    await lab.begin()
    await lead(lab, first)
    await fence_host_1(lab)
    lab.heal("host-1")
    await lab.until(lambda: bool(gates), 30, "its `rm` returned")
    await lab.rest(2)
    first.freeze()
    gates[1].open()
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 1, "lifted, late")
    gates[2].open()
    await fenced_again_after(lab, gates[0])


async def lose_removal(lab: Lab, first: SimOperator) -> Gate:
    """It leads, fences host-1 and is to let it in: its first `rm` waits at the gate, lost to it."""
    await lab.begin()
    await lead(lab, first)
    removal = hold_calls(lab, first.name, "remove")
    sent = asyncio.Event()
    first.on_step = lambda step: sent.set() if step == "OK" else None
    await fence_host_1(lab)
    lab.heal("host-1")
    await sent.wait()
    await lab.rest(1)
    del lab.net.holds[(first.name, "remove")]
    return removal


@story(operators=2)
async def lost_removal_whose_taint_is_lost_too(lab: Lab) -> None:
    """`rm` timed out, and so did the write of the taint; the second `rm` returned."""
    first, _ = lab.operators
    removal = await lose_removal(lab, first)
    hold_calls(lab, first.name, "write_fence")
    await lab.rest(5.5)
    del lab.net.holds[(first.name, "write_fence")]
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted")
    first.freeze()
    await fenced_again_after(lab, removal)


@story(operators=2)
async def lost_removal_and_a_later_one_that_returned(lab: Lab) -> None:
    """`rm` of fence 1 timed out; that of fence 2, in the other form, returned: 1 may yet arrive."""
    first, _ = lab.operators
    removal = await lose_removal(lab, first)
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 30, "lifted")
    await lab.rest(3)
    await fence_host_1(lab)
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 30, "lifted again")
    await lab.rest(3)
    first.freeze()
    await fenced_again_after(lab, removal)


@story()
async def clean_while_a_hook_is_being_answered(lab: Lab) -> None:
    """The hook has read Placed, its reply is slow; meanwhile the host is fenced and looks clean."""
    await lab.begin()
    guard = "agent-host-1", "get_server"
    reply = Gate()
    reads: list[str] = []

    def spy(who: Process, call: str) -> None:
        if (who.name, call) != guard:
            return
        reads.append(call)
        if len(reads) == 2:  # the first is the agent's own, before it creates
            reply.shut()
            lab.net.late[guard] = reply
            blocklisted_by_hand(lab, "host-1")

    lab.net.spy = spy
    uid = lab.server("web-1", preferred_nodes=("host-1",))
    await lab.until(lambda: len(reads) == 2, 10, "the hook asks")
    await lab.rest(0.7)
    reply.open()
    del lab.net.late[guard]
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted")
    await lab.until(lambda: lab.runs(uid), 20, "runs")
    await lab.rest(5)


@story()
async def a_fence_that_no_watch_has_told_of(lab: Lab) -> None:
    """The watch of its Node died in the cut; a report's Conflict shows the fence."""
    await lab.begin()
    hold_watch(lab, "agent-host-1", "node")
    await fence_host_1(lab)
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 10, "rejoined")


@story()
async def registration_of_a_former_boot_lands_late(lab: Lab) -> None:
    """It waited in a proxy while the host rebooted; it does not make the new boot look dead."""
    await lab.begin()
    lab.net.proxied.add(lab.hosts["host-1"].address)
    late = hold_calls(lab, "agent-host-1", "write_host")
    agent = lab.hosts["host-1"].agent
    assert agent is not None
    agent.state.storage_failing = True
    agent.reporting.due.set()
    await lab.rest(0.1)
    del lab.net.holds[("agent-host-1", "write_host")]
    lab.power_off("host-1")
    lab.power_on("host-1")
    boot = lab.hosts["host-1"].boot_id
    await lab.until(lambda: registered(lab) == boot, 10, "registers its new boot")
    await lab.rest(1)
    libvirt(lab).busy["qemu"] = 5.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.5)
    hold_watch(lab, "agent-host-1", "node")
    hold_calls(lab, "agent-host-1", "write_host")
    free_to_go(lab, uid)
    late.open()
    await lab.rest(10)
    assert lab.where(uid) == "host-1"
