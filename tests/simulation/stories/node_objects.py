"""Node objects that are deleted while something still rests on them."""

from dataclasses import replace

from tests.simulation.lab import Lab
from tests.simulation.net import Gate
from tests.simulation.stories.handles import (
    ON_1,
    hold_calls,
    hold_watch,
    unknown_to_the_next_leader,
    when,
)
from tests.simulation.stories.tell import running, story

from respawn.model.node import FencePhase
from respawn.model.placement import Phase


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
async def a_node_is_deleted_while_a_placement_has_no_reply(lab: Lab) -> None:
    """The server is placed there, and the operator does not know: its Node stays."""
    await lab.begin()
    replies = lab.net.late[("operator-1", "write_server")] = Gate()
    await _placed_without_a_reply(lab, replies)


@story()
async def a_node_is_deleted_while_a_placement_is_on_its_way(lab: Lab) -> None:
    """Nobody can know that it will be placed there but who has sent it: its Node stays."""
    await lab.begin()
    requests = lab.net.holds[("operator-1", "write_server")] = Gate()
    await _placed_without_a_reply(lab, requests)


async def _placed_without_a_reply(lab: Lab, write: Gate) -> None:
    """`write` keeps the placement, or the reply to it, from its end."""
    when(lab, "operator-1", "read_epoch", write.shut)
    uid = lab.server("web-1", node_selector=ON_1)
    await lab.until(lambda: not write.is_open, 10, "is about to be placed")
    watch = hold_watch(lab, "operator-1", "server")
    reads = hold_calls(lab, "operator-1", "get_server")
    await lab.until(lambda: any("unknown whether" in told for told in lab.trace), 5, "no reply")
    lab.api.apply_node(replace(lab.node("host-1"), deleting=True))
    await lab.rest(5)
    assert "host-1" in lab.api.nodes
    write.open()
    await lab.until(lambda: lab.get(uid).placement.phase is Phase.PLACED, 5, "placed")
    watch.open()
    reads.open()
    await lab.until(lambda: lab.runs(uid), 20, "runs there")
    lab.api.delete_server(uid)
    await lab.until(lambda: "host-1" not in lab.api.nodes, 40, "gone once nothing is there")


@story(operators=2)
async def a_node_is_deleted_while_the_watch_lags(lab: Lab) -> None:
    """The next leader has never heard of the server that is placed there: its Node stays."""
    await lab.begin()
    uid, servers, _ = await unknown_to_the_next_leader(lab)
    lab.api.apply_node(replace(lab.node("host-1"), deleting=True))
    await lab.rest(20)
    assert "host-1" in lab.api.nodes and lab.where(uid) == "host-1"
    servers.open()
    await lab.until(lambda: lab.runs(uid), 20)
    lab.api.delete_server(uid)
    await lab.until(lambda: "host-1" not in lab.api.nodes, 40, "gone once nothing is there")
