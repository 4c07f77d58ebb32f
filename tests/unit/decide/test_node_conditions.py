from tests.unit.decide.builders import node, now, placed, server, world

from respawn.decide import node_conditions
from respawn.model.conditions import Reason, Type, find
from respawn.model.node import NodeSpec


def test_a_drain_says_what_it_does_not_do_yet() -> None:
    host = node(spec=NodeSpec(storage=("198.51.100.11",), drain=True))
    w = world(server(placement=placed()), nodes=(host, node("host-2")))
    told = node_conditions.outlook(w, host, now()).conditions
    found = find(told, Type.SCHEDULABLE)
    assert found is not None and found.status == "False"
    assert found.reason == Reason.DRAIN_COMES_LATER and "the 1 on it stay" in found.message
    ready = find(told, Type.READY)
    assert ready is not None and ready.status == "True"
