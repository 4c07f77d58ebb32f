"""Counterexamples of the model checker: kills of the wrong one, and images that go too soon.

Each drives the world into the very interleaving that one rule of docs/protocol.md is there for.
With the rule it ends well; without it (see `mutations`) an invariant breaks.
"""

import asyncio

from tests.simulation.lab import Lab
from tests.simulation.stories.handles import (
    fence_host_1,
    freeze_at,
    hold_calls,
    lead,
    libvirt,
    put_on_host_1,
    restart_agent,
    unknown_to_the_next_leader,
    when,
)
from tests.simulation.stories.tell import story

from respawn.model.node import FencePhase


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
    await asyncio.sleep(0.05)  # its write has had its answer by then, and should have lost
    second.thaw()
    await lab.until(lambda: uid not in lab.api.servers, 60, "deleted in the end")
