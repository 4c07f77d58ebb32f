"""The model checker's counterexamples, played against the product.

Each story drives the world into the very interleaving that one rule of docs/protocol.md is there
for. With the rule it ends well; without it (see `mutations`) an invariant breaks.
"""

import asyncio
from collections.abc import Callable

from tests.simulation.lab import Lab
from tests.simulation.libvirt import FakeLibvirt
from tests.simulation.machines import SimHost, SimOperator
from tests.simulation.net import Gate, Process
from tests.simulation.scenarios import Story

from respawn.decide.election import FAST as FAST_TERMS
from respawn.model.node import FencePhase
from respawn.model.placement import Phase
from respawn.model.policy import FAST
from respawn.model.server import RunPolicy

ON_1 = {"respawn.dev/host": "host-1"}

STORIES: dict[str, tuple[Story, dict[str, object]]] = {}


def story(**lab: object) -> Callable[[Story], Story]:
    """Register a story, with the lab that it plays in."""

    def add(function: Story) -> Story:
        STORIES[function.__name__] = (function, lab)
        return function

    return add


# Handles.


def libvirt(lab: Lab, host: str = "host-1") -> FakeLibvirt:
    """Its libvirt, now."""
    found = lab.hosts[host].libvirt
    assert found is not None
    return found


def restart_agent(lab: Lab, host: str = "host-1") -> None:
    """At once, with nothing remembered."""
    lab.hosts[host].kill_agent()
    lab.hosts[host].start_agent()


def silence_agent(lab: Lab, host: str = "host-1") -> SimHost:
    """It dies and stays dead."""
    it = lab.hosts[host]
    it.agent_stays_dead = True
    it.kill_agent()
    return it


def hold_watch(lab: Lab, process: str, kind: str) -> Gate:
    """Its watch shows nothing new of that kind until the gate opens."""
    gate = lab.api.held[(process, kind)] = Gate()
    gate.shut()
    return gate


def hold_calls(lab: Lab, process: str, call: str) -> Gate:
    """Such requests of it wait on their way until the gate opens."""
    gate = lab.net.holds[(process, call)] = Gate()
    gate.shut()
    return gate


def freeze_at(operator: SimOperator, point: str) -> asyncio.Event:
    """It stands still right after that step; the event says when."""
    reached = asyncio.Event()

    def stop(name: str) -> bool:
        if name == point and not reached.is_set():
            reached.set()
            operator.freeze()
        return False

    operator.crash_after = stop
    return reached


def when(lab: Lab, process: str, call: str, then: Callable[[], None]) -> None:
    """Once, as the first such request of that process takes effect."""
    done: list[bool] = []

    def spy(who: Process, label: str) -> None:
        if (who.name, label) == (process, call) and not done:
            done.append(True)
            then()

    lab.net.spy = spy


async def put_on_host_1(lab: Lab, name: str = "web-1", **spec: object) -> str:
    """A server that may be on host-1 only, until it is placed there."""
    uid = lab.server(name, node_selector=ON_1, shutdown_grace=0.0, **spec)
    await lab.until(lambda: lab.get(uid).placement.phase is Phase.PLACED, 10, "placed")
    return uid


def free_to_go(lab: Lab, uid: str) -> None:
    """It may run on any host from now on."""
    lab.api.edit_server(uid, node_selector={})


async def lead(lab: Lab, operator: SimOperator) -> None:
    """Wait until it leads."""
    await lab.until(lambda: operator.leads, 20, "leads")


async def unknown_to_the_next_leader(lab: Lab) -> tuple[str, Gate, SimOperator]:
    """A server on host-1 that the operator which leads from now on has never heard of."""
    first, second = lab.operators
    await lead(lab, first)
    gate = hold_watch(lab, second.name, "server")
    uid = await put_on_host_1(lab)
    first.stays_dead = True
    first.kill()
    await lead(lab, second)
    return uid, gate, second


async def fence_host_1(lab: Lab) -> None:
    """Cut off until it is Fenced."""
    lab.cut("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.FENCED, 40, "Fenced")


# Start and proof.


@story()
async def late_create_after_it_was_replaced(lab: Lab) -> None:
    """libvirtd carries a create out long after its caller is gone and the server is elsewhere."""
    await lab.begin()
    libvirt(lab).busy["create"] = 20.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.2)
    restart_agent(lab)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED, node_selector={})
    await lab.until(lambda: lab.free(uid), 15, "Free")
    lab.cordon("host-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: lab.runs(uid), 15, "runs elsewhere")
    await lab.rest(20)
    assert lab.runs(uid) and lab.where(uid) != "host-1"


@story()
async def hook_asked_while_the_watch_lags(lab: Lab) -> None:
    """The agent's watch still shows the revoked epoch when the late create asks."""
    await lab.begin()
    libvirt(lab).busy["create"] = 15.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.2)
    hold_watch(lab, "agent-host-1", "server")
    lab.cordon("host-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED, node_selector={})
    await lab.until(lambda: lab.free(uid), 20, "Free")
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: lab.runs(uid), 15, "runs elsewhere")
    await lab.rest(20)
    assert lab.where(uid) != "host-1"


@story()
async def old_create_under_a_newer_epoch(lab: Lab) -> None:
    """Epoch 2 is Placed on the same host, its QEMU just died, and epoch 1's create arrives."""
    await lab.begin()
    libvirt(lab).busy["create"] = 25.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.2)
    restart_agent(lab)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 15, "Free")
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: lab.where(uid) == "host-1", 15, "runs as epoch 2")
    lab.operators[0].stays_dead = True
    lab.operators[0].kill()
    lab.hosts["host-1"].kill_qemu(uid)
    await lab.rest(30)
    lab.operators[0].stays_dead = False
    await lab.until(lambda: lab.runs(uid), 30, "back by itself")


@story()
async def placed_on_a_boot_that_is_over(lab: Lab) -> None:
    """The host reboots between the operator's read of its boot and the placement."""
    await lab.begin()
    frozen = freeze_at(lab.operators[0], "epoch")
    uid = lab.server("web-1", node_selector=ON_1)
    await frozen.wait()
    lab.power_off("host-1")
    lab.power_on("host-1")
    libvirt(lab).busy["qemu"] = 4.0
    boot = lab.hosts["host-1"].boot_id
    await lab.until(lambda: registered(lab) == boot, 10, "registers its new boot")
    held: list[Gate] = []
    hold = lambda: held.append(hold_calls(lab, "operator-1", "write_server"))  # noqa: E731
    when(lab, "operator-1", "write_server", hold)
    lab.operators[0].thaw()
    await lab.until(lambda: bool(held), 5, "placed, and not revoked yet")
    await lab.rest(0.3)
    held[0].open()
    lab.cordon("host-1")
    free_to_go(lab, uid)
    await lab.until(lambda: lab.runs(uid), 30, "runs")
    await lab.rest(10)


def registered(lab: Lab) -> str:
    """host-1's registered boot."""
    known = lab.node("host-1").registration
    return known.boot_id if known else ""


@story(operators=2)
async def start_on_a_fenced_host_after_its_clean_report(lab: Lab) -> None:
    """A slow operator places on a host that is clean but not lifted yet; an agent kills there."""
    first, second = lab.operators
    await lab.begin()
    await lead(lab, first)
    hold_watch(lab, second.name, "server")
    frozen = freeze_at(first, "epoch")
    uid = lab.server("web-1", node_selector=ON_1, shutdown_grace=0.0)
    await frozen.wait()
    await lead(lab, second)
    await fence_host_1(lab)
    lift = hold_calls(lab, second.name, "write_fence")
    libvirt(lab).busy["qemu"] = 4.0
    lab.heal("host-1")
    clean = lambda: lab.node("host-1").host.clean_generation == 1  # noqa: E731
    await lab.until(clean, 10, "reports clean")
    first.thaw()
    await lab.until(lambda: lab.get(uid).placement.phase is Phase.PLACED, 5, "placed late")
    await lab.rest(0.5)
    restart_agent(lab)
    await lab.rest(1.0)
    lift.open()
    await lab.until(lambda: lab.where(uid) == "host-1", 30, "runs once the fence is lifted")
    await lab.rest(10)


@story(operators=2)
async def fence_begun_used_and_lifted_between_two_reads(lab: Lab) -> None:
    """The hook stalls between its reads, while the operator revokes, proves, frees and lifts."""
    await lab.begin()
    libvirt(lab).busy["create"] = 45.0
    uid, servers, second = await unknown_to_the_next_leader(lab)
    lab.cordon("host-1")
    await fence_host_1(lab)
    lift = hold_calls(lab, second.name, "write_fence")
    lab.heal("host-1")
    clean = lambda: lab.node("host-1").host.clean_generation == 1  # noqa: E731
    await lab.until(clean, 10, "reports clean")
    agent = lab.hosts["host-1"].agent_process
    assert agent is not None

    def stall() -> None:
        agent.gate.shut()
        servers.open()

    when(lab, "agent-host-1", "get_server", stall)
    await lab.until(lambda: uid in libvirt(lab).domains, 60, "the create arrives")
    await lab.until(lambda: uid not in libvirt(lab).domains or lab.free(uid), 5, "a verdict")
    servers.open()
    await lab.until(lambda: lab.free(uid), 20, "freed")
    lift.open()
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 5, "lifted")
    agent.gate.open()
    await lab.rest(5)
    lab.cordon()
    await lab.until(lambda: lab.runs(uid), 60, "runs again")
    await lab.rest(5)


@story()
async def freed_while_its_qemu_is_about_to_open(lab: Lab) -> None:
    """The hook has said yes, QEMU is not up yet, and the server is halted."""
    await lab.begin()
    libvirt(lab).busy["qemu"] = 6.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.5)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 30, "Free")
    await lab.rest(10)


@story()
async def looked_for_while_its_qemu_is_about_to_open(lab: Lab) -> None:
    """The same, and the agent that ordered the start is a new one that remembers nothing."""
    await lab.begin()
    libvirt(lab).busy["qemu"] = 6.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.5)
    restart_agent(lab)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 30, "Free")
    await lab.rest(10)


# Fence and nonces.


@story()
async def the_intent_is_not_the_fence(lab: Lab) -> None:
    """Fencing is written, `add` is slow, and the cut host's QEMU is about to open its image."""
    await lab.begin()
    libvirt(lab).busy["qemu"] = 2.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.3)
    free_to_go(lab, uid)
    lab.cut("host-1")
    lab.ceph.command = 2.2
    await lab.until(lambda: lab.fence("host-1") is FencePhase.FENCING, 40, "Fencing")
    await lab.rest(2)
    lab.heal("host-1", "storage")
    await lab.until(lambda: lab.runs(uid), 40, "runs")
    await lab.rest(5)


@story()
async def last_write_of_a_killed_qemu(lab: Lab) -> None:
    """A guest is ended after its grace; its last write is still in the host's sockets."""
    await lab.begin()
    libvirt(lab).writes_in_flight = True
    libvirt(lab).guest_ignores_acpi = True
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 20, "Free")
    await lab.rest(5)


@story()
async def last_write_after_the_lift(lab: Lab) -> None:
    """A QEMU died on a cut host; its last write arrives once the address is let in again."""
    await lab.begin()
    libvirt(lab).writes_in_flight = True
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10)
    free_to_go(lab, uid)
    lab.cut("host-1")
    lab.hosts["host-1"].kill_qemu(uid)
    await lab.until(lambda: lab.runs(uid), 40, "runs elsewhere")
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted")
    await lab.rest(5)


@story()
async def address_taken_between_hook_and_open(lab: Lab) -> None:
    """The host is renumbered, to a declared address, before its QEMU opens the image."""
    await lab.begin()
    host, new = lab.hosts["host-1"], "198.51.100.111"
    lab.declare("host-1", host.address, new)
    libvirt(lab).busy["qemu"] = 2.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.5)
    free_to_go(lab, uid)
    lab.cut("host-1")
    lab.net.switch.cut(new, "storage")
    lab.net.switch.cut(new, "management")
    host.kernel.address = new
    await lab.until(lambda: lab.where(uid) not in (None, "host-1"), 40, "runs elsewhere")
    lab.net.switch.heal(new, "storage")
    lab.heal("host-1", "storage")
    await lab.rest(10)
    assert lab.where(uid) != "host-1"


# Rejoin and lift.


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
    looked.open()
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "rejoined")
    servers.open()
    await lab.until(lambda: lab.runs(uid), 40, "runs again")


@story(operators=2)
async def late_removal_hits_the_next_fence(lab: Lab) -> None:
    """A deposed operator's `rm` of fence 1 arrives when the host is fenced again."""
    first, second = lab.operators
    await lab.begin()
    await lead(lab, first)
    frozen = freeze_at(first, "Lifting")
    await fence_host_1(lab)
    lab.heal("host-1")
    await frozen.wait()
    await lead(lab, second)
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "taken over and lifted")
    await lab.rest(1)
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10, "runs there")
    hold_watch(lab, second.name, "server")
    second.kill()
    second.start()
    await lead(lab, second)
    await lab.rest(3)
    await fence_host_1(lab)
    first.thaw()
    await lab.rest(5)
    lab.heal("host-1")
    await lab.rest(20)


@story()
async def registration_of_a_former_boot_lands_late(lab: Lab) -> None:
    """It waited in a proxy while the host rebooted; it does not make the new boot look dead."""
    await lab.begin()
    lab.net.proxied.add(lab.hosts["host-1"].address)
    late = hold_calls(lab, "agent-host-1", "write_host")
    agent = lab.hosts["host-1"].agent
    assert agent is not None
    agent.state.storage_failing = True
    agent._reporting.set()
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


# Kill.


@story()
async def kill_on_an_old_picture(lab: Lab) -> None:
    """A new agent's watch begins with its Node as it was when it was fenced."""
    await lab.begin()
    await fence_host_1(lab)
    old = lab.node("host-1")
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted")
    await lab.rest(1)
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10, "runs there")
    host = lab.hosts["host-1"]
    host.stale_list, host.watch_begins_after = old, 2.0
    for call in ("write_host", "get_node"):
        hold_calls(lab, "agent-host-1", call)
    restart_agent(lab)
    await lab.rest(5)
    assert lab.where(uid) == "host-1"


@story(operators=2)
async def kill_races_with_the_hook(lab: Lab) -> None:
    """The agent has decided to kill a half-started domain; the lift and the hook come meanwhile."""
    await lab.begin()
    libvirt(lab).busy["create"] = 45.0
    libvirt(lab).busy["hook"] = 4.0
    uid, _, second = await unknown_to_the_next_leader(lab)
    await fence_host_1(lab)
    lift = hold_calls(lab, second.name, "write_fence")
    lab.heal("host-1")
    clean = lambda: lab.node("host-1").host.clean_generation == 1  # noqa: E731
    await lab.until(clean, 10, "reports clean")
    await lab.until(lambda: uid in libvirt(lab).domains, 60, "the create arrives")
    restart_agent(lab)
    await lab.rest(1.0)
    lift.open()
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 3, "lifted")
    await lab.until(lambda: lab.where(uid) == "host-1", 60, "runs")
    await lab.rest(5)


# Delete.


@story(operators=2)
async def placed_while_it_is_being_deleted(lab: Lab) -> None:
    """A slow operator places what another is about to delete: one of the two writes loses."""
    first, second = lab.operators
    await lab.begin()
    await lead(lab, first)
    first.on_step = lambda step: first.freeze() if step == "Placed" else None
    uid = lab.server("web-1", shutdown_grace=0.0)
    await lab.until(lambda: first.process is not None and not first.process.gate.is_open, 5)
    lab.api.delete_server(uid)
    first.on_step = lambda step: None
    frozen = freeze_at(first, "epoch")
    first.thaw()
    await frozen.wait()
    when(lab, second.name, "get_server", second.freeze)
    await lab.until(lambda: second.process is not None and not second.process.gate.is_open, 20)
    first.thaw()
    await lab.until(lambda: lab.get(uid).placement.phase is not Phase.FREE, 5, "somebody wins")
    second.thaw()
    await lab.until(lambda: uid not in lab.api.servers, 60, "deleted in the end")
