from dataclasses import replace
from typing import Any

import pytest
from tests.unit.decide.builders import (
    T0,
    WALL,
    beat,
    node,
    now,
    placed,
    pulse,
    report,
    server,
    sight,
    world,
)

from respawn.decide import node_conditions
from respawn.model.conditions import Condition, Reason, Type, find
from respawn.model.node import HostStatus, Node, NodeSpec, ReportState
from respawn.model.sight import Answer, Pulse, Sight, Testimony
from respawn.model.world import World


def ready_of(world: World, host: Node) -> Condition:
    found = find(node_conditions.outlook(world, host, now()).conditions, Type.READY)
    assert found is not None
    return found


def test_a_drain_says_what_it_does_not_do_yet() -> None:
    host = node(spec=NodeSpec(storage=("198.51.100.11",), drain=True))
    w = world(server(placement=placed()), nodes=(host, node("host-2")))
    told = node_conditions.outlook(w, host, now()).conditions
    found = find(told, Type.SCHEDULABLE)
    assert found is not None and found.status == "False"
    assert found.reason == Reason.DRAIN_COMES_LATER and "the 1 on it stay" in found.message
    ready = find(told, Type.READY)
    assert ready is not None and ready.status == "True"


@pytest.mark.parametrize(
    ("seen", "status", "reason"),
    [
        (Sight(), "Unknown", Reason.FIRST_SIGNS_AWAITED),
        (Sight(lease=sight(0, 0).lease), "Unknown", Reason.FIRST_SIGNS_AWAITED),
        (Sight(lease=pulse(9, read=5), heart=pulse(9, read=5)), "Unknown", Reason.UNKNOWN),
        (sight(0, 0, beat=beat(boot="boot-0")), "Unknown", Reason.FIRST_SIGNS_AWAITED),
        (sight(0, 0, beat=beat()), "True", Reason.ALIVE),
    ],
)
def test_what_was_never_read_is_not_what_can_not_be_read(
    seen: Sight, status: str, reason: Reason
) -> None:
    """A host that is let in again begins anew: that is no trouble of its own."""
    host = node()
    told = node_conditions.outlook(world(nodes=(host,), sights={"host-1": seen}), host, now())
    ready = find(told.conditions, Type.READY)
    assert ready is not None and (ready.status, ready.reason) == (status, reason)


def test_a_suspicion_takes_nothing_back_that_was_told_before() -> None:
    """Its agent was down already when the host died: it is not Ready for the moment between."""
    host = node()

    def told(seen: Sight) -> dict[str, tuple[str, str]]:
        w = world(nodes=(host,), sights={"host-1": seen})
        return {
            c.type: (c.status, c.reason) for c in node_conditions.outlook(w, host, now()).conditions
        }

    healthy, agent_down, fading = told(sight()), told(sight(60, 0)), sight(60, 6)
    assert healthy["Ready"] == ("True", Reason.ALIVE)
    assert agent_down["Ready"] == ("False", Reason.AGENT_DOWN)
    assert told(fading)["Ready"] == ("True", Reason.ALIVE), "of a host that was Ready until now"
    down = Condition("Ready", *agent_down["Ready"], "", 1, WALL)
    host = node(conditions=(down,))
    for kind in ("Ready", "Schedulable"):
        assert told(fading)[kind] == agent_down[kind]
    assert told(sight())["Ready"] == ("True", Reason.ALIVE)


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (("True", Reason.ALIVE), ("True", Reason.ALIVE)),
        (("False", Reason.AGENT_DOWN), ("False", Reason.AGENT_DOWN)),
        (("False", Reason.TOO_MANY_HOSTS), ("False", Reason.TOO_MANY_HOSTS)),
        (("False", "Fenced"), ("True", Reason.ALIVE)),
    ],
)
def test_signs_that_were_seen_but_once_take_nothing_back(before: Any, told: Any) -> None:
    """An operator that has just begun finds the last signs of a dead host, too."""
    host = node(conditions=(Condition("Ready", *before, "", 1, WALL),))
    first = Pulse().seen("left behind", T0, WALL)
    once, twice = Sight(first, first), Sight(*[first.seen("another", T0, WALL)] * 2)

    def ready(seen: Sight) -> tuple[str, str]:
        w = world(nodes=(host,), sights={"host-1": seen})
        found = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
        assert found is not None
        return found.status, found.reason

    assert ready(once) == told
    assert ready(twice) == ("True", Reason.ALIVE)


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (("True", Reason.ALIVE), ("True", Reason.ALIVE)),
        (("False", Reason.TOO_MANY_HOSTS), ("False", Reason.TOO_MANY_HOSTS)),
        (("False", Reason.AGENT_DOWN), ("False", Reason.AGENT_DOWN)),
        (("False", "Lifting"), ("Unknown", Reason.FIRST_SIGNS_AWAITED)),
    ],
)
def test_what_was_not_read_yet_takes_nothing_back(before: Any, told: Any) -> None:
    host = node(conditions=(Condition("Ready", *before, "as told", 1, WALL),))

    def ready(seen: Sight) -> tuple[str, str]:
        w = world(nodes=(host,), sights={"host-1": seen})
        found = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
        assert found is not None
        assert found.message == (
            "as told" if before[0] == "False" == found.status else found.message
        )
        return found.status, found.reason

    assert ready(Sight()) == told
    lease = Pulse().seen("left behind", T0, WALL)
    assert ready(Sight(lease)) == told
    # but whoever has listened for long, and never read its heart, does not know
    listened = replace(lease, read_since=T0 - 60)
    assert ready(Sight(listened)) == ("Unknown", Reason.FIRST_SIGNS_AWAITED)


def test_an_agent_is_not_down_because_the_api_was_away() -> None:
    host = node(conditions=(Condition("Ready", "True", Reason.ALIVE, "", 1, WALL),))
    lease = replace(pulse(60), read_since=T0 - 1)
    w = world(nodes=(host,), sights={"host-1": Sight(lease, pulse(0))})
    found = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
    assert found is not None and found.status == "True"


def test_what_keeps_a_dead_host_unfenced_is_told() -> None:
    host = node(spec=NodeSpec(storage=("198.51.100.12",)))
    silent = sight(60, 60, testimony=Testimony(T0 - 1, Answer.SILENCE))
    w = world(nodes=(host, node("host-2")), sights={"host-1": silent})
    found = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
    assert found is not None and found.reason == Reason.ADDRESS_IN_USE
    assert "198.51.100.12 also belongs to host-2" in found.message


def test_a_node_that_is_to_be_removed_says_what_for_beside_ready() -> None:
    host = node(deleting=True)
    told = node_conditions.outlook(world(nodes=(host,)), host, now()).conditions
    found = find(told, Type.READY)
    assert found is not None and (found.status, found.message) == ("True", "it is being removed")


def test_an_address_that_is_in_use_is_told_with_its_owner() -> None:
    host = node(spec=NodeSpec(storage=("198.51.100.12",)))
    told = node_conditions.outlook(world(nodes=(host, node("host-2"))), host, now()).conditions
    found = find(told, Type.FENCING_READY)
    assert found is not None and found.reason == Reason.ADDRESS_IN_USE
    assert "198.51.100.12 also belongs to host-2" in found.message


@pytest.mark.parametrize(
    ("state", "told"),
    [(ReportState.RUNNING, True), (ReportState.PAUSED, True), (ReportState.ENDED, False)],
)
def test_what_runs_without_an_object_is_told_beside_ready(state: ReportState, told: bool) -> None:
    theirs = server(placement=placed())
    host = node(reports=(report(theirs.uid, 1, state=state), report("gone", 3, state=state)))
    ready = ready_of(world(theirs, nodes=(host,)), host)
    assert ready.status == "True"
    assert ready.message.startswith("vs-gone.3: runs there") is told
    assert theirs.uid not in ready.message


def test_a_node_that_can_not_be_read_says_whether_that_is_for_ceph() -> None:
    host, unread = node(), {"host-1": Sight(lease=pulse(0, read=0), heart=pulse(9, read=5))}

    def told(ceph_ok_at: float) -> str:
        w = world(nodes=(host,), sights=unread)
        w = replace(w, me=replace(w.me, ceph_ok_at=ceph_ok_at))
        ready = ready_of(w, host)
        assert (ready.status, ready.reason) == ("Unknown", Reason.UNKNOWN)
        return ready.message

    assert told(T0 - 5).startswith("Ceph does not answer the operator")
    assert told(T0).startswith("its signs of life cannot be read by the operator")


def test_a_suspicion_says_nothing_of_its_parts() -> None:
    """Neither its heart nor its libvirt is what it is not Ready for, in the moment of the fence."""
    host = node(conditions=(Condition("Ready", "True", Reason.ALIVE, "", 1, WALL),))
    for said in (None, Testimony(T0 - 1, Answer.SILENCE), Testimony(T0 - 1, Answer.KERNEL)):
        w = world(nodes=(host, node("host-2")), sights={"host-1": sight(7, 9, testimony=said)})
        found = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
        assert found is not None and (found.status, found.message) == ("True", "")


def test_the_last_beats_of_a_dead_host_are_no_beats_of_now() -> None:
    """Ceph was away while it died: what it wrote before is found when Ceph is back."""
    host = node(conditions=(Condition("Ready", "True", Reason.ALIVE, "", 1, WALL),))
    found_late = pulse(60, read=60).seen("its last beats", T0, WALL)
    beating = pulse(2).seen("a beat", T0, WALL)
    for heart, told in (
        (found_late, ("True", Reason.ALIVE)),
        (beating, ("False", Reason.AGENT_DOWN)),
    ):
        seen = Sight(pulse(12), heart)
        w = world(nodes=(host,), sights={"host-1": seen})
        found = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
        assert found is not None and (found.status, found.reason) == told


@pytest.mark.parametrize(
    ("ceph_ok_at", "told_before", "status"),
    [
        (T0 - 8.0, None, "True"),
        (T0 - 8.1, None, "Unknown"),
        (None, None, "True"),  # this operator has just begun
        (None, "Unknown", "Unknown"),
    ],
)
def test_while_ceph_is_silent_nobody_can_be_fenced(ceph_ok_at, told_before, status) -> None:
    before = Condition(Type.FENCING_READY, told_before or "True", Reason.CEPH_UNPROVEN, "", 1)
    host = node(conditions=(before,) if told_before else ())
    seen = world(nodes=(host,))
    seen = replace(seen, me=replace(seen.me, ceph_ok_at=ceph_ok_at))
    told = node_conditions.outlook(seen, host, now()).conditions
    found = find(told, Type.FENCING_READY)
    assert found is not None and found.status == status
    assert (found.reason == Reason.CEPH_UNPROVEN) is (status == "Unknown")


def test_a_node_says_which_boot_is_registered() -> None:
    host = node()
    told = node_conditions.outlook(world(nodes=(host,)), host, now()).conditions
    found = find(told, Type.REGISTERED)
    assert found is not None and host.registration is not None
    assert found.message == f"boot {host.registration.boot_id}" and found.status == "True"
    new = node(host=HostStatus())
    found = find(
        node_conditions.outlook(world(nodes=(new,)), new, now()).conditions, Type.REGISTERED
    )
    assert found is not None and (found.status, found.reason) == ("False", Reason.NOT_REGISTERED)


@pytest.mark.parametrize(("agent", "status"), [(9, "Unknown"), (0, "False")])
def test_storage_is_unknown_of_a_host_of_which_nothing_is_heard(agent: float, status: str) -> None:
    """It is the heart process that is silent, or the host; nobody says that its storage is."""
    host = node()
    silent = world(nodes=(host,), sights={"host-1": sight(agent, 9)})
    found = find(node_conditions.outlook(silent, host, now()).conditions, Type.STORAGE_REACHABLE)
    assert found is not None and (found.status, found.reason) == (status, Reason.SILENT)
