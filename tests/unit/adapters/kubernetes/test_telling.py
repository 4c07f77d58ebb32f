"""What `kubectl describe` shows of a write."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from respawn.adapters.kubernetes.telling import Told, about_policy, about_server
from respawn.adapters.kubernetes.telling_nodes import about_node
from respawn.model.conditions import Condition, Reason, Type
from respawn.model.node import Fence, FencePhase, Node
from respawn.model.placement import Locker, Phase, Placement, Proof, ProofKind
from respawn.model.server import DiskStatus, Recovery, RunPolicy, Server, ServerSpec, Setback

START = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
FREE = Server("u", "customer-a", "web-1")
PLACED = Placement(Phase.PLACED, 3, "host-1", "m", "b")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def with_(server: Server, **changes: object) -> Server:
    return replace(server, status=replace(server.status, **changes))  # type: ignore[arg-type]


def said_ready(status: str, reason: str) -> Condition:
    return Condition(Type.READY, status, reason, "", 0, START)  # type: ignore[arg-type]


def told(before: Server, after: Server) -> list[tuple[str, str, bool]]:
    return [(t.reason, t.message, t.warning) for t in about_server(before, after)]


def keys(before: Server, after: Server) -> list[str]:
    return [t.key for t in about_server(before, after)]


def test_the_same_again_tells_nothing() -> None:
    placed = with_(FREE, placement=PLACED)
    assert told(placed, replace(placed, resource_version="9")) == []


def test_a_first_start() -> None:
    assert told(FREE, with_(FREE, placement=PLACED)) == [
        ("Placed", "starts on host-1 (epoch 3)", False)
    ]


def test_a_recovery_from_loss_to_running() -> None:
    placed = with_(FREE, placement=PLACED)
    lost = Recovery("HostLost", "host-1", last_seen=START, suspected=at(4), decided=at(8))
    setback = Setback(3, "host-1", "HostLost", at(8))
    gone = with_(
        placed, placement=replace(PLACED, phase=Phase.REVOKED), setback=setback, recovery=lost
    )
    ((reason, message, warning),) = told(placed, gone)
    assert (reason, warning) == ("HostLost", True)
    assert message == (
        "its host is dead or cut off (epoch 3 on host-1, last seen 08:30:00Z); it starts again "
        "once it is proven that it has ended"
    )
    proof = Proof(ProofKind.FENCED, at(8.4), 2, lockers=(Locker("c", "x", "a:0/1"),))
    again = replace(lost, to_node="host-2", proof="Fenced", fenced=at(8.4), placed=at(8.5))
    back = with_(
        gone, placement=Placement(Phase.PLACED, 4, "host-2", "n", "c", proof), recovery=again
    )
    assert told(gone, back) == [
        (
            "Placed",
            "starts on host-2 (epoch 4); epoch 3 is over: host-1 is fenced (2), no write of it "
            "counts; 1 of its Ceph clients blocklisted",
            False,
        )
    ]
    runs = with_(back, recovery=replace(again, started=at(9.25), ready=at(9.6)))
    assert told(back, runs) == [
        (
            "Recovered",
            "runs again on host-2 (epoch 4); its host is dead or cut off (host-1): last seen "
            "08:30:00Z, suspected +4.0 s, decided +8.0 s, fenced +8.4 s, placed +8.5 s, "
            "started +9.2 s, ready +9.6 s",
            False,
        )
    ]
    steps = [*keys(placed, gone), *keys(gone, back), *keys(back, runs)]
    assert len(set(steps)) == len(steps) == 3


def test_a_stop_and_a_deletion() -> None:
    placed = with_(FREE, placement=PLACED)
    stopping = with_(FREE, placement=replace(PLACED, phase=Phase.REVOKED, grace=30.0))
    proven = Placement(Phase.FREE, 3, proof=Proof(ProofKind.ENDED, START))
    free = with_(FREE, placement=proven, conditions=(said_ready("False", Reason.STOPPING),))
    deleted = with_(FREE, placement=Placement(Phase.DELETED, 3))
    asked = "its guest has 30 s to shut down on host-1 (epoch 3)"
    assert told(placed, stopping) == [("Stopping", asked, False)]
    over = "off; epoch 3 is over: the agent of host-1 saw that it had ended"
    assert told(stopping, free) == [("Stopped", over, False)]
    waits = with_(FREE, placement=proven, conditions=(said_ready("False", Reason.BACK_OFF),))
    assert told(stopping, waits)[0] == ("Ended", over.removeprefix("off; "), False)
    assert told(free, deleted)[0][0] == "Deleting"


def test_a_deletion_names_the_images_it_keeps() -> None:
    disks = (DiskStatus("root", "ceph", "vs-u-root", 1),)
    free = with_(FREE, placement=Placement(Phase.FREE, 3), disks=disks)
    deleted = with_(free, placement=Placement(Phase.DELETED, 3))
    assert told(free, deleted)[0][1].endswith("its images go to the trash: ceph/vs-u-root")
    kept = replace(deleted, spec=ServerSpec(retain_disks=True))
    assert told(free, kept)[0][1].endswith("its images are kept: ceph/vs-u-root")


def test_a_guest_that_has_completed_is_not_said_to_start_again() -> None:
    off = Setback(3, "host-1", Reason.GUEST_SHUTDOWN, START)
    placed = replace(with_(FREE, placement=PLACED), spec=ServerSpec(RunPolicy.RERUN_ON_FAILURE))
    gone = with_(placed, placement=replace(PLACED, phase=Phase.REVOKED), setback=off)
    ((_, message, warning),) = told(placed, gone)
    assert "stays off" in message and not warning


def test_an_ending_is_not_told_with_the_last_sign_of_an_earlier_recovery() -> None:
    before = Recovery("HostLost", "host-2", last_seen=START, ready=START)
    off = Setback(3, "host-1", Reason.GUEST_SHUTDOWN, START, message="asked by its user")
    placed = with_(FREE, placement=PLACED, recovery=before)
    gone = with_(placed, placement=replace(PLACED, phase=Phase.REVOKED), setback=off)
    ((_, message, _),) = told(placed, gone)
    assert "last seen" not in message and "(epoch 3 on host-1): asked by its user;" in message


def test_events_of_the_same_second_are_named_in_their_order() -> None:
    """kubectl sorts by seconds, and what is equal by name."""
    states = [
        FREE,
        with_(FREE, placement=PLACED),
        with_(FREE, placement=replace(PLACED, phase=Phase.REVOKED)),
        with_(FREE, placement=Placement(Phase.FREE, 3)),
        with_(FREE, placement=replace(PLACED, epoch=4)),
        with_(FREE, placement=Placement(Phase.DELETED, 4)),
    ]
    orders = [t.order for before, after in pairwise(states) for t in about_server(before, after)]
    assert orders == sorted(orders) and len(set(orders)) == len(orders)


def test_what_is_waited_for_is_a_warning_once_per_wait() -> None:
    def waits(message: str) -> Server:
        condition = Condition(Type.READY, "False", Reason.NO_HOST_FITS, message)
        return with_(FREE, conditions=(condition,))

    first = waits("host-1: 1 GiB are missing")
    assert told(FREE, first) == [("NoHostFits", "host-1: 1 GiB are missing", True)]
    assert told(first, waits("host-1: 2 GiB are missing")) == []
    working = Condition(Type.READY, "False", Reason.WORKING, "being prepared")
    assert told(first, with_(FREE, conditions=(working,))) == []


def shown(status: str, reason: str, seconds: float, placement: Placement = PLACED) -> Server:
    conditions = tuple(
        Condition(kind, status, reason, "why", 0, at(seconds))  # type: ignore[arg-type]
        for kind in (Type.READY, Type.RUNNING)
    )
    return with_(FREE, placement=placement, conditions=conditions)


def in_order(states: list[Server]) -> list[Told]:
    """What is told from state to state: each once, and shown in the order in which it was."""
    events = [t for before, after in pairwise(states) for t in about_server(before, after)]
    assert len({(t.reason, t.key) for t in events}) == len(events)
    assert [t.order for t in events] == sorted(t.order for t in events)
    return events


def test_every_pause_is_told_and_so_is_its_end() -> None:
    states = [
        shown("False", Reason.STARTING, 0),
        shown("True", Reason.RUNNING, 1),
        shown("False", Reason.SUSPENDED, 10),
        shown("True", Reason.RUNNING, 20),
        shown("False", Reason.SUSPENDED, 30),
        shown("True", Reason.RUNNING, 40),
    ]
    events = in_order(states)
    again = "runs on after its pause on host-1 (epoch 3)"
    assert [(t.reason, t.message) for t in events] == [
        ("Running", "runs on host-1 (epoch 3)"),
        ("Suspended", "why"),
        ("Running", again),
        ("Suspended", "why"),
        ("Running", again),
    ]


def test_that_it_is_known_to_run_again_is_the_last_word_after_a_silence() -> None:
    states = [
        shown("True", Reason.RUNNING, 1),
        shown("Unknown", Reason.AGENT_DOWN, 10),
        shown("False", Reason.UNREACHABLE, 15),
        shown("True", Reason.RUNNING, 20),
    ]
    events = in_order(states)
    assert [(t.reason, t.message, t.warning) for t in events] == [
        ("AgentDown", "why", True),
        ("Unreachable", "why", True),
        ("Running", "is known again to run on host-1 (epoch 3)", False),
    ]
    elsewhere = shown("True", Reason.RUNNING, 30, replace(PLACED, epoch=4, node="host-2"))
    *_, (_, message, _) = told(states[2], elsewhere)
    assert message == "runs on host-2 (epoch 4)", "a start of its own"


def test_a_fence_is_told_phase_by_phase() -> None:
    def node(phase: FencePhase, generation: int, ready: Condition) -> Node:
        fence = Fence(phase, generation, ("198.51.100.11",), reason="HostLost")
        return Node("host-1", uid="n", fence=fence, conditions=(ready,))

    def is_ready(status: str, reason: str) -> Condition:
        return Condition(Type.READY, status, reason, "why", 0, START)  # type: ignore[arg-type]

    steps = [
        node(FencePhase.OK, 0, is_ready("True", Reason.ALIVE)),
        node(FencePhase.FENCING, 1, is_ready("False", "Fencing")),
        node(FencePhase.FENCED, 1, is_ready("False", "Fenced")),
        node(FencePhase.LIFTING, 1, is_ready("False", "Lifting")),
        node(FencePhase.OK, 1, is_ready("Unknown", Reason.FIRST_SIGNS_AWAITED)),  # of no interest
        node(FencePhase.OK, 1, is_ready("True", Reason.ALIVE)),
    ]
    events: list[Told] = []
    for before, after in pairwise(steps):
        events += about_node(before, after)
    assert [(t.reason, t.warning) for t in events] == [
        ("Fencing", True),
        ("Fenced", True),
        ("Lifting", False),
        ("NotFenced", False),
        ("Alive", False),
    ]
    assert "198.51.100.11 read back as blocklisted" in events[1].message
    assert [t.order for t in events] == sorted({t.order for t in events}), "within one second too"
    assert len({t.key for t in events}) == len(events)


def test_a_node_that_is_to_be_removed_says_once_what_it_waits_for() -> None:
    def node(reason: str, message: str) -> Node:
        open_ = Condition(Type.SCHEDULABLE, "False", reason, message, 0, START)
        return Node("host-1", uid="n", conditions=(open_,))

    steps = [
        node(Reason.CORDONED, ""),
        node(Reason.DELETING, "waits until the 2 servers on it are gone"),
        node(Reason.DELETING, "waits until the 1 servers on it are gone"),
    ]
    events = [t for before, after in pairwise(steps) for t in about_node(before, after)]
    told = "waits until the 2 servers on it are gone"
    assert [(t.reason, t.message, t.warning) for t in events] == [("Deleting", told, True)]


def test_a_failover_that_is_held_is_told_with_its_end() -> None:
    def said(status: str, reason: str, message: str = "") -> tuple[Condition, ...]:
        return (Condition(Type.FAILOVER_HELD, status, reason, message, 0, START),)  # type: ignore[arg-type]

    steps: list[tuple[Condition, ...]] = [
        (),
        said("False", Reason.NOT_NEEDED),
        said("True", Reason.TOO_MANY_HOSTS, "host-1, host-2 look dead"),
        said("True", Reason.TOO_MANY_HOSTS, "host-1, host-2, host-3 look dead"),
        said("False", Reason.NOT_NEEDED),
    ]
    events = [t for before, after in pairwise(steps) for t in about_policy({}, before, after)]
    assert [(t.reason, t.message, t.warning) for t in events] == [
        (Reason.TOO_MANY_HOSTS, "host-1, host-2 look dead", True),
        ("FailoverGoesOn", "failover is held no longer", False),
    ]
    assert len({t.key for t in events}) == len(events)


def registered(boot: str | None) -> Node:
    status = "False" if boot is None else "True"
    row = Condition(Type.REGISTERED, status, Reason.AS_SPECIFIED, f"boot {boot}", 0, START)  # type: ignore[arg-type]
    return Node("host-1", conditions=(row,))


def test_a_boot_that_follows_on_another_is_told_once_however_fast_it_was() -> None:
    first, second = registered("b1"), registered("b2")
    assert list(about_node(registered(None), first)) == []
    assert list(about_node(first, first)) == []
    ((told),) = about_node(first, second)
    assert (told.reason, told.warning, told.key) == ("HostRebooted", True, "boot b2")
    assert told.message == ("it has booted anew (boot b2); what ran there before (boot b1) is over")
