from dataclasses import replace

import pytest
from tests.unit.decide.builders import (
    GIB,
    WALL,
    beat,
    fenced,
    node,
    now,
    placed,
    server,
    sight,
    world,
)

from respawn.decide import capacity, placement
from respawn.model.conditions import Condition, Reason
from respawn.model.node import Capacity, FencePhase, Node, NodeSpec
from respawn.model.server import AntiAffinity, Hardware, Nic, Server


def choose(it: Server, *others: Server, nodes=None, **more):
    only, avoid = more.pop("only", None), more.pop("avoid", None)
    w = world(it, *others, nodes=nodes, **more)
    return placement.choose(w, it, now(), only=only, avoid=avoid)


def roomy(name: str, memory: int = 16, **capacity) -> Node:
    host = node(name)
    has = Capacity(cores=8, memory=memory * GIB, **capacity)
    return replace(host, host=replace(host.host, capacity=has))


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (node("host-2", spec=NodeSpec(cordoned=True)), "is cordoned"),
        (node("host-2", spec=NodeSpec(drain=True)), "is to be drained"),
        (node("host-2", spec=NodeSpec(reserved=15 * GIB + 1)), "of memory free"),
        (node("host-2", deleting=True), "is being removed"),
        (node("host-2", fence=fenced()), "is fenced"),
        (node("host-2", fence=fenced(FencePhase.FENCING)), "is being fenced"),
        (node("host-2", host=replace(node().host, registration=None)), "no registered agent"),
        (node("host-2", labels={"rack": "b"}), "has not the label rack=a"),
        (roomy("host-2", 1, overhead=1), "of memory free"),
        (roomy("host-2", 16, reserved=15 * GIB + 1), "of memory free"),
        (roomy("host-2", 16, foreign=15 * GIB + 1), "of memory free"),
    ],
)
def test_a_refused_host_is_named_with_its_reason(host: Node, why: str) -> None:
    it = server(spec={"node_selector": {"rack": "a"}})
    choice = choose(it, nodes=(host,))
    assert choice.node is None and why in choice.message, choice.message


def test_a_host_without_its_bridge_is_refused_and_named_with_it() -> None:
    """One that has not told which it has, as an older agent's, is taken: its start would say."""
    it = server(spec={"networks": (Nic("public", "br0"), Nic("private", "br7"))})
    hosts = (roomy("host-1", bridges=()), roomy("host-2", bridges=("br0", "lan")))
    choice = choose(it, nodes=hosts)
    assert choice.node is None
    assert choice.why_not("host-1") == "host-1 has no bridge br0 (network public)"
    assert choice.why_not("host-2") == "host-2 has no bridge br7 (network private)"
    told = placement.fits_nowhere(world(it, nodes=hosts), it)
    assert told is not None and "host-2 has no bridge br7" in told
    assert choose(it, nodes=(*hosts, roomy("host-3", bridges=("br0", "br7")))).node == "host-3"
    assert choose(it, nodes=(*hosts, roomy("host-3"))).node == "host-3"


def test_what_the_node_reserves_counts_instead_of_what_its_agent_does() -> None:
    """Set, it holds; and the room is exactly what is left."""
    host = replace(roomy("host-1", 16, reserved=4 * GIB), spec=NodeSpec(reserved=15 * GIB))
    assert choose(server(), nodes=(host,)).node == "host-1"
    assert capacity.use(world(nodes=(host,)), host).memory_free == GIB
    unset = replace(host, spec=NodeSpec())
    assert capacity.use(world(nodes=(unset,)), unset).memory_free == 12 * GIB


@pytest.mark.parametrize(
    ("spec", "host", "nowhere"),
    [
        ({}, node(), None),
        ({"memory": 15 * GIB}, roomy("host-1", 16, foreign=8 * GIB), None),
        ({"memory": 15 * GIB}, roomy("host-1", 16, reserved=2 * GIB), "has 14336Mi of memory for"),
        ({}, roomy("host-1", 16, reserved=17 * GIB), "has 0Mi of memory for servers, 1024Mi are"),
        ({}, node(fence=fenced()), None),
        ({}, node(deleting=True), "is being removed"),
        ({"cores": 9}, node(), "has 8 cores, 9 are needed"),
        ({"cores": 9}, node(host=replace(node().host, registration=None)), None),
        ({"cores": 9}, node(host=replace(node().host, capacity=Capacity())), None),
        ({"node_selector": {"rack": "b"}}, node(labels={"rack": "a"}), "has not the label rack=b"),
        ({"node_selector": {"rack": "b"}}, node(spec=NodeSpec(cordoned=True)), "has not the label"),
    ],
)
def test_what_no_host_could_take_is_told_from_what_finds_no_room_now(spec, host, nowhere) -> None:
    it = server(spec=spec)
    told = placement.fits_nowhere(world(it, nodes=(host,)), it)
    assert (told is None) == (nowhere is None)
    assert (nowhere or "") in (told or "")


def test_one_host_that_could_take_it_is_enough() -> None:
    it = server(spec={"cores": 9})
    large = replace(node("host-2"), host=replace(node().host, capacity=Capacity(16, 16 * GIB)))
    assert placement.fits_nowhere(world(it, nodes=(node(), large)), it) is None


def test_without_hosts_nothing_is_too_large() -> None:
    assert placement.fits_nowhere(world(nodes=()), server()) is None


def test_an_unhealthy_host_is_refused() -> None:
    for seen in (sight(9, 0), sight(0, 9), sight(5, 5)):
        choice = choose(server(), nodes=(node(),), sights={"host-1": seen})
        assert choice.node is None and "not healthy" in choice.message


def test_more_cores_than_a_host_has() -> None:
    assert choose(server(spec={"cores": 9})).node is None


def test_it_spreads_by_memory_and_then_by_name() -> None:
    assert choose(server()).node == "host-1"
    there = server("web-2", placement=placed())
    assert choose(server(), there).node == "host-2"


def test_a_placement_being_written_counts_as_used() -> None:
    other = server("web-2")
    assert choose(server(), other, reserved={other.uid: "host-1"}).node == "host-2"


def test_memory_counts_as_started_until_the_next_start_takes_less() -> None:
    """Its spec may say less by now: its QEMU has what it was started with."""
    big = Hardware("pc-q35-7.2", "qemu64", memory=12 * GIB)
    there = server("web-2", placement=placed(), status={"hardware": big})
    w = world(there)
    assert capacity.use(w, w.nodes["host-1"]).memory == 12 * GIB
    halted = server("web-2", status={"hardware": big})
    w = world(halted, reserved={halted.uid: "host-1"})
    assert capacity.use(w, w.nodes["host-1"]).memory == GIB, "it starts anew"
    grows = server("web-2", placement=placed(), status={"hardware": replace(big, memory=1)})
    w = world(grows)
    assert capacity.use(w, w.nodes["host-1"]).memory == GIB, "room is kept for its next start"


def test_what_a_host_could_never_give_is_not_kept_from_others() -> None:
    """Somebody asks for a terabyte, at the next start of a server that runs with a gibibyte."""
    started = Hardware("pc-q35-7.2", "qemu64", memory=GIB)
    asks = {"memory": 1024 * GIB}
    there = server("web-2", placement=placed(), spec=asks, status={"hardware": started})
    w = world(there)
    assert capacity.use(w, w.nodes["host-1"]).memory == GIB
    assert choose(server(), there, nodes=(node(),)).node == "host-1"


def test_no_host_has_less_than_nothing_left() -> None:
    full = server("web-2", placement=placed(), spec={"memory": 12 * GIB})
    other = server("web-3", placement=placed(), spec={"memory": 12 * GIB})
    refused = choose(server(), full, other, nodes=(node(),))
    assert "has 0Mi of memory free" in refused.message


def test_its_own_old_place_does_not_count_against_it() -> None:
    big = server(placement=placed(), spec={"memory": 15 * GIB})
    assert choose(big, nodes=(node(),)).node == "host-1"


def test_wishes_order_but_never_block() -> None:
    assert choose(server(spec={"preferred_nodes": ("host-3", "host-2")})).node == "host-3"
    assert choose(server(spec={"preferred_nodes": ("host-9",)})).node == "host-1"


def test_a_host_that_cannot_be_fenced_is_the_last_choice_and_still_one() -> None:
    stuck = Condition("FencingReady", "False", Reason.ADDRESS_IN_USE, "", 1, WALL)
    hosts = (node(conditions=(stuck,)), node("host-2"))
    it = server(spec={"preferred_nodes": ("host-1",)})
    assert choose(it, nodes=hosts).node == "host-2"
    assert choose(it, nodes=hosts[:1]).node == "host-1"


def rules(required: bool, key: str = "respawn.dev/host"):
    return {"anti_affinity": (AntiAffinity("fronts", key, required),)}


def test_required_rules_keep_a_group_apart() -> None:
    rival = server("web-2", placement=placed(), spec=rules(True))
    assert choose(server(spec=rules(True)), rival).node == "host-2"
    alone = choose(server(spec=rules(True)), rival, nodes=(node(),))
    assert alone.node is None and "shares its respawn.dev/host with web-2" in alone.message


def test_required_rules_by_another_topology() -> None:
    hosts = (node("host-1"), node("host-2"), node("host-3", labels={"rack": "b"}))
    rival = server("web-2", placement=placed(), spec=rules(True, "rack"))
    assert choose(server(spec=rules(True, "rack")), rival, nodes=hosts).node == "host-3"


def test_a_required_rule_holds_for_who_comes_later_as_well() -> None:
    """Whoever of the group has it is not to be joined, by one that only wishes either."""
    rival = server("web-2", placement=placed(), spec=rules(True))
    assert choose(server(spec=rules(False)), rival).node == "host-2"
    alone = choose(server(spec=rules(False)), rival, nodes=(node(),))
    assert alone.node is None and "web-2" in alone.message
    here = server("web-2", spec=rules(True))
    reserved = {here.uid: "host-1"}
    assert choose(server(spec=rules(False)), here, nodes=(node(),), reserved=reserved).node is None


def test_a_rule_by_a_label_that_a_host_has_not_is_not_void_there() -> None:
    """A slip in the key would else put together what was to be kept apart, without a word."""
    rack, hosts = rules(True, "rcak"), (node("host-1"), node("host-2"))
    choice = choose(server(spec=rack), nodes=hosts)
    assert choice.node is None
    assert choice.why_not("host-2").startswith("host-2 has not the label rcak, by which")
    assert choose(server(spec=rules(False, "rcak")), nodes=hosts).node == "host-1", "a wish"


def test_preferred_rules_never_block() -> None:
    rival = server("web-2", placement=placed(), spec=rules(False))
    assert choose(server(spec=rules(False)), rival).node == "host-2"
    assert choose(server(spec=rules(False)), rival, nodes=(node(),)).node == "host-1"


def test_groups_are_of_one_namespace() -> None:
    here = server("web-2", placement=placed(), spec=rules(True))
    rival = replace(here, namespace="customer-b")
    assert choose(server(spec=rules(True)), rival, nodes=(node(),)).node == "host-1"


def test_only_and_avoid() -> None:
    assert choose(server(), only="host-3").node == "host-3"
    assert choose(server(), avoid="host-1").node == "host-2"
    assert choose(server(), avoid="host-1", nodes=(node(),)).node == "host-1", "better than none"


def test_starts_on_one_host_are_bounded() -> None:
    starting = [server(f"web-{n}", placement=placed()) for n in range(2, 12)]
    assert len(starting) == placement.STARTS_PER_HOST
    choice = choose(server(spec={"memory": 1}), *starting, nodes=(node(),))
    assert choice.node is None and choice.only_busy


def test_without_hosts_there_is_a_message_too() -> None:
    assert choose(server(), nodes=()).message == "there are no hosts"


def test_a_beat_that_its_former_boot_left_is_no_sign_that_a_host_reaches_its_storage() -> None:
    """Read for the first time it seems fresh; a server placed there could not open its disks."""
    seen = {"host-1": sight(beat=beat(boot="boot-0"))}
    choice = choose(server(), nodes=(node("host-1"),), sights=seen)
    assert choice.node is None and "has not beaten in Ceph since it booted" in choice.message
    own = {"host-1": sight(beat=beat(boot="boot-1"))}
    assert choose(server(), nodes=(node("host-1"),), sights=own).node == "host-1"
