from dataclasses import replace

import pytest
from tests.unit.decide.builders import (
    ME,
    T0,
    fenced,
    node,
    now,
    placed,
    server,
    sight,
    world,
)

from respawn.decide import decide, fencing, grounds
from respawn.model import actions
from respawn.model.base import Key, Kind, Owner
from respawn.model.conditions import Reason, Type, find
from respawn.model.node import (
    Fence,
    FencePhase,
    Form,
    HostStatus,
    Node,
    NodeSpec,
    Registration,
    Taint,
)
from respawn.model.sight import Answer, Sight, Testimony
from respawn.model.storage import Entry
from respawn.model.world import Me

DEAD = sight(9, 9, testimony=Testimony(T0 - 1, Answer.SILENCE))
ALIVE = Sight(lease=replace(sight().lease, token="host-1/boot-1|1|then"))
OTHER = Owner("operator-2", "life-1")
FORMER = Owner(ME.name, "life-0")


def step(host: Node, seen: Sight | None = None, **more):
    """The step for host-1, its conditions being up to date."""
    others = (node("host-2"), node("host-3"), *more.pop("nodes", ()))
    w = world(nodes=(host, *others), sights={"host-1": seen or sight()}, **more)
    told = fencing.decide(w, host, now()).outlook.conditions
    up_to_date = replace(host, conditions=told)
    w = world(nodes=(up_to_date, *others), sights={"host-1": seen or sight()}, **more)
    return decide(w, Key(Kind.NODE, "host-1"), now()).step


def lifting(owner: Owner, **more) -> Node:
    return node(fence=fenced(FencePhase.LIFTING, owner=owner, form=Form.IP, **more))


def clean(host: Node, generation: int = 1) -> Node:
    return replace(host, host=replace(host.host, clean_generation=generation))


def gone(*boots: str) -> NodeSpec:
    return NodeSpec(storage=("198.51.100.11",), ended_boots=boots)


def rebooted(host: Node, machine: str = "machine-host-1") -> Node:
    registration = Registration(machine, "boot-2", ("198.51.100.11",))
    return replace(host, host=replace(host.host, registration=registration))


@pytest.mark.parametrize(
    ("host", "seen", "expected"),
    [
        (node(), None, None),
        (node(), DEAD, actions.BeginFence),
        (node(), sight(5, 5), actions.AskWitnesses),
        (node(fence=fenced(FencePhase.FENCING)), None, actions.ApplyFence),
        (node(fence=fenced()), DEAD, None),
        (clean(node(fence=fenced())), None, actions.BeginLift),
        (clean(node(fence=fenced(generation=2))), None, None),
        (rebooted(node(fence=fenced())), None, actions.BeginLift),
        (rebooted(node(fence=fenced()), "another-machine"), None, None),
        (clean(rebooted(node(fence=fenced()), "another-machine")), None, None),
        (lifting(ME), None, actions.FinishLift),
        (lifting(OTHER), None, actions.TakeLift),
        (lifting(FORMER), None, actions.TakeLift),
        (node(fence=Fence(tainted=(Taint(Form.IP, FORMER),))), None, actions.Untaint),
        (node(fence=Fence(tainted=(Taint(Form.IP, OTHER),))), None, None),
        (node(fence=Fence(tainted=(Taint(Form.IP, ME),))), None, None),
        (node(protected_by_us=False), None, actions.ProtectNode),
        (node(deleting=True), None, actions.UnprotectNode),
        (node(deleting=True, fence=fenced()), None, None),
        (node(deleting=True, fence=Fence(tainted=(Taint(Form.IP, OTHER),))), None, None),
        # A person's word for the boot that is fenced, and only for that one.
        (node(fence=fenced(), spec=gone("boot-1")), DEAD, actions.BeginLift),
        (node(fence=fenced(), spec=gone("boot-0")), DEAD, None),
        (rebooted(node(fence=fenced(), spec=gone("boot-1")), "another"), None, actions.BeginLift),
        (node(spec=gone("boot-1")), DEAD, None),
        # It lives, whatever a person says: its Lease is renewed.
        (node(fence=fenced(), spec=gone("boot-1")), ALIVE, None),
        (clean(node(fence=fenced(), spec=gone("boot-1"))), ALIVE, actions.BeginLift),
    ],
)
def test_the_step(host: Node, seen: Sight | None, expected: type | None) -> None:
    found = step(host, seen)
    assert type(found) is (expected or type(None)), found


def test_my_own_taint_ends_once_my_removal_returned() -> None:
    host = node(fence=Fence(generation=1, tainted=(Taint(Form.IP, ME),)))
    me = Me(ME, True, T0 + 5, T0, T0, lifts_returned=frozenset({("uid-host-1", 1)}))
    assert isinstance(step(host, me=me), actions.Untaint)


def test_a_removal_that_returned_speaks_for_no_earlier_one_that_was_lost() -> None:
    """Fence 1's `rm`, in one form, timed out; fence 2's, in the other, returned."""
    taints = (Taint(Form.IP, ME), Taint(Form.RANGE, ME))
    host = node(fence=Fence(generation=2, tainted=taints))
    me = Me(
        ME, True, T0 + 5, T0, T0,
        lifts_returned=frozenset({("uid-host-1", 2)}),
        removals_lost=frozenset({("host-1", Form.IP)}),
    )  # fmt: skip
    assert grounds.settled_taints(world(nodes=(host,), me=me), host) == {Taint(Form.RANGE, ME)}


def test_a_node_made_anew_has_no_removals_behind_it() -> None:
    """Its generations begin at 1 again, as those of the object that had its name before."""
    host = node(uid="uid-anew", fence=Fence(generation=1, tainted=(Taint(Form.IP, ME),)))
    me = Me(ME, True, T0 + 5, T0, T0, lifts_returned=frozenset({("uid-host-1", 1)}))
    assert not grounds.settled_taints(world(nodes=(host,), me=me), host)


def test_a_standby_ends_its_own_taints_and_does_nothing_else() -> None:
    standby = Me(ME, leader=False)
    assert isinstance(
        step(node(fence=Fence(tainted=(Taint(Form.IP, FORMER),))), me=standby), actions.Untaint
    )
    assert step(node(), DEAD, me=standby) is None
    assert step(node(fence=fenced(FencePhase.FENCING)), me=standby) is None


def test_a_node_that_a_server_is_being_placed_on_keeps_its_object() -> None:
    host = node(deleting=True, protected_by_us=True)
    assert isinstance(step(host), actions.UnprotectNode)
    placing = {"uid-web-1": "host-1"}
    assert not isinstance(step(host, reserved=placing), actions.UnprotectNode)


def test_a_node_with_a_server_keeps_its_object() -> None:
    host, it = node(deleting=True), server(placement=placed())
    w = world(it, nodes=(host, node("host-2")))
    found = decide(w, Key(Kind.NODE, "host-1"), now()).step
    assert not isinstance(found, actions.UnprotectNode)


def test_blocklisted_while_ok_is_a_fence_in_the_form_that_was_found() -> None:
    listed = frozenset({Entry("198.51.100.11", Form.RANGE)})
    found = step(node(), blocklist=listed)
    assert isinstance(found, actions.BeginFence) and found.reason == Reason.BLOCKLISTED
    assert grounds.banned_in(node(), listed) is Form.RANGE
    assert step(node(), blocklist=frozenset({Entry("198.51.100.11:0/77")})) is None
    assert step(node(), blocklist=None) is None


def test_a_fence_whose_entries_are_gone_is_restored_and_says_so() -> None:
    host = node(fence=fenced(form=Form.IP))
    stands = frozenset({Entry("198.51.100.11", Form.IP)})
    assert isinstance(step(host, DEAD, blocklist=frozenset()), actions.RestoreFence)
    assert step(host, DEAD, blocklist=stands) is None
    assert step(host, DEAD, blocklist=None) is None
    assert isinstance(step(clean(host), blocklist=frozenset()), actions.BeginLift)
    told = fencing.decide(world(nodes=(host,), blocklist=frozenset()), host, now()).outlook
    ready = find(told.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.FENCE_GONE


def test_a_clean_host_waits_for_the_end_of_an_entry_that_is_not_ours() -> None:
    host = clean(node(fence=fenced(form=Form.RANGE)))
    ours = Entry("198.51.100.11", Form.RANGE)
    theirs = Entry("198.51.100.11", Form.IP, brief=True)
    assert step(host, blocklist=frozenset({ours, theirs})) is None
    for entry in (ours, replace(ours, brief=True)):  # a year is nearly over: it goes with the lift
        assert isinstance(step(host, blocklist=frozenset({entry})), actions.BeginLift)


def test_nobody_is_fenced_before_it_is_known_whom_it_must_not_hit() -> None:
    assert step(node(), DEAD, protected=None) is None
    listed = frozenset({Entry("198.51.100.11", Form.RANGE)})
    assert step(node(), blocklist=listed, protected=None) is None


def test_a_clean_host_waits_for_its_storage() -> None:
    host = clean(node(fence=fenced(form=Form.RANGE)))
    failing = replace(host, host=replace(host.host, storage_failing=True))
    assert step(failing) is None
    told = fencing.decide(world(nodes=(failing,)), failing, now()).outlook.conditions
    ready = find(told, Type.READY)
    assert ready is not None and "storage" in ready.message


@pytest.mark.parametrize(
    ("host", "more", "reason"),
    [
        (node(spec=NodeSpec(storage=("198.51.100.12",))), {}, Reason.ADDRESS_IN_USE),
        (node(spec=NodeSpec(storage=("192.0.2.13",))), {}, Reason.ADDRESS_IN_USE),
        (node(), {"protected": frozenset({"198.51.100.11"})}, Reason.ADDRESS_IN_USE),
        (
            node(fence=Fence(tainted=(Taint(Form.IP, OTHER), Taint(Form.RANGE, OTHER)))),
            {},
            Reason.ALL_FORMS_TAINTED,
        ),
    ],
)
def test_what_cannot_be_fenced_is_held_and_says_so(host: Node, more, reason: Reason) -> None:
    assert not isinstance(step(host, DEAD, **more), actions.BeginFence)
    w = world(nodes=(host, node("host-2"), node("host-3")), sights={"host-1": DEAD}, **more)
    told = fencing.decide(w, host, now()).outlook.conditions
    ready, fencing_ready = find(told, Type.READY), find(told, Type.FENCING_READY)
    assert ready is not None and ready.reason == reason
    assert fencing_ready is not None and fencing_ready.status == "False"
    assert grounds.doom(w, host, now()) is None, "nothing is revoked for a fence that cannot be"


def test_a_slip_in_another_node_does_not_keep_a_host_from_being_fenced() -> None:
    slip = node("host-4", spec=NodeSpec(storage=("198.51.100.11",)), host=HostStatus())
    twin = replace(slip, host=node("host-4").host)  # its agent runs, and has found another address
    for other in (slip, twin):
        assert isinstance(step(node(), DEAD, nodes=(other,)), actions.BeginFence)
        told = grounds.obstacle(world(nodes=(node(), other)), other)
        assert told is not None and "198.51.100.11 also belongs to host-1" in told[1]
        ready = find(
            fencing.decide(world(nodes=(node(), other)), other, now()).outlook.conditions,
            Type.READY,
        )
        assert ready is not None and ready.reason == Reason.ADDRESS_IN_USE


def test_no_entry_belongs_to_two_fences() -> None:
    """A lift of the first would open the second, which would be made anew, and so on."""
    slip = NodeSpec(storage=("198.51.100.11", "198.51.100.14"))
    for phase in (FencePhase.FENCING, FencePhase.FENCED, FencePhase.LIFTING):
        entered = fenced(phase, addresses=slip.storage)
        other = node("host-4", spec=slip, fence=entered)
        listed = frozenset({Entry("198.51.100.11", Form.IP)})
        for seen in (DEAD, None):
            begun = step(node(), seen, nodes=(other,), blocklist=listed)
            assert not isinstance(begun, actions.BeginFence)


def test_an_address_that_both_hosts_have_is_not_fenced() -> None:
    both = node("host-4", host=node().host)
    assert not isinstance(step(node(), DEAD, nodes=(both,)), actions.BeginFence)


def test_doom_is_what_revokes_servers() -> None:
    hosts = (node(), node("host-2"), node("host-3"))
    assert grounds.doom(world(nodes=hosts), hosts[0], now()) is None
    condemned = world(nodes=hosts, sights={"host-1": DEAD})
    assert grounds.doom(condemned, hosts[0], now()) is None, "not before the intent is written"
    for phase in (FencePhase.FENCING, FencePhase.FENCED, FencePhase.LIFTING):
        host = node(fence=fenced(phase, reason="StorageLost"))
        assert grounds.doom(world(nodes=(host,)), host, now()) == Reason.STORAGE_LOST
