"""Counterexamples of the model checker: starts, and what is taken for a proof.

Each drives the world into the very interleaving that one rule of docs/protocol.md is there for.
With the rule it ends well; without it (see `mutations`) an invariant breaks.
"""

from tests.simulation.lab import Lab
from tests.simulation.net import Gate
from tests.simulation.stories.handles import (
    ON_1,
    fence_host_1,
    free_to_go,
    freeze_at,
    hold_calls,
    hold_watch,
    lead,
    libvirt,
    put_on_host_1,
    registered,
    restart_agent,
    unknown_to_the_next_leader,
    when,
)
from tests.simulation.stories.tell import (
    story,
)

from respawn.model.node import FencePhase
from respawn.model.placement import Phase
from respawn.model.server import RunPolicy


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
    libvirt(lab).busy["hook"] = 0.05  # `until` looks every 10 ms, and is not to miss it
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
