from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.decide.builders import T0, WALL, node, now, placed, pulse, server, sight, world

from respawn.decide import hearsay, liveness, node_conditions
from respawn.model.conditions import Condition, Reason, Type, find
from respawn.model.sight import Answer, Pulse, Sight, Testimony


def said(answer: Answer) -> Testimony:
    return Testimony(T0 - 1, answer)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (sight(), None),
        # its agent: down for a moment, and for long
        (sight(9, 0), None),
        (sight(12, 0), ("Unknown", Reason.AGENT_DOWN)),
        # and about to be found dead: a suspicion takes nothing back
        (sight(12, 6), ("Unknown", Reason.AGENT_DOWN)),
        (sight(12, 9, testimony=said(Answer.SILENCE)), ("Unknown", Reason.AGENT_DOWN)),
        # silent everywhere, and not yet so long that a fence must be under way
        (sight(9, 9, testimony=said(Answer.SILENCE)), None),
        # and a dead host that nothing keeps from being fenced is, in the same second
        (sight(12, 12, testimony=said(Answer.SILENCE)), ("Unknown", Reason.AGENT_DOWN)),
        (sight(12, 12, testimony=said(Answer.LIBVIRT)), ("Unknown", Reason.UNREACHABLE)),
        (sight(12, 12, testimony=said(Answer.KERNEL)), ("Unknown", Reason.UNREACHABLE)),
        (sight(12, 12), ("Unknown", Reason.UNREACHABLE)),
        # its agent is heard and says itself what is wrong
        (sight(0, 12), None),
        (sight(0, 90), None),
    ],
)
def test_what_a_silence_means_for_servers(seen, expected) -> None:
    found = hearsay.of(world(sights={"host-1": seen}), node(), now())
    assert (found and (found.status, found.reason)) == expected


def test_servers_of_a_dead_host_that_is_not_fenced_are_not_ready() -> None:
    seen = {"host-1": sight(12, 12, testimony=said(Answer.SILENCE))}
    found = hearsay.of(world(sights=seen, protected=None), node(), now())
    assert found is not None
    assert (found.status, found.reason) == ("False", Reason.DEAD)


def test_what_will_be_judged_names_when() -> None:
    """Both ends are 60 s after the last sign, which was 12 s ago: in 48 s."""
    end = f"{WALL + timedelta(seconds=48):%H:%M:%S}Z"
    kernel = {"host-1": sight(12, 12, testimony=said(Answer.KERNEL))}
    failing = replace(node(), host=replace(node().host, storage_failing=True))
    for host, seen in ((node(), kernel), (failing, {"host-1": sight(0, 12)})):
        w = world(nodes=(host, node("host-2")), sights=seen)
        ready = find(node_conditions.outlook(w, host, now()).conditions, Type.READY)
        found = hearsay.of(w, host, now())
        assert ready is not None and end in ready.message
        assert found is not None and end in found.message
    # Of two hosts at once the brake would hold both; and some cannot be fenced at all.
    two = (
        failing,
        replace(node("host-2"), host=replace(node("host-2").host, storage_failing=True)),
    )
    seen = {"host-1": sight(0, 12), "host-2": sight(0, 12)}
    for w, why in (
        (world(nodes=(*two, node("host-3")), sights=seen), "they will be held"),
        (world(nodes=(failing,), sights=seen, protected=frozenset({"198.51.100.11"})), "cannot be"),
    ):
        ready = find(node_conditions.outlook(w, failing, now()).conditions, Type.READY)
        found = hearsay.of(w, failing, now())
        assert ready is not None and why in ready.message and "fenced at" not in ready.message
        assert found is not None and why in found.message and "start elsewhere" not in found.message
    # Its heart beats: only some I/O fails, and nothing ends that by itself.
    w = world(nodes=(failing,), sights={"host-1": sight()})
    found = hearsay.of(w, failing, now())
    assert found is None or "fenced" not in found.message


@pytest.mark.parametrize(
    ("silent", "state"),
    [(12, liveness.State.STORAGE_DOUBT), (90, liveness.State.STORAGE_LOST)],
)
def test_servers_on_a_host_without_its_storage_are_not_ready(
    silent: float, state: liveness.State
) -> None:
    host = replace(node(), host=replace(node().host, storage_failing=True))
    w = world(nodes=(host,), sights={"host-1": sight(0, silent)})
    assert liveness.verdict(w, host, now()).state is state
    found = hearsay.of(w, host, now())
    assert found is not None
    told = (found.status, found.reason, found.summary)
    assert told == ("False", Reason.UNREACHABLE, "NoStorage")


@pytest.mark.parametrize("failing", [False, True])
def test_an_agent_that_is_back_is_believed_when_it_has_renewed_twice(failing: bool) -> None:
    """What it said before it was away stands in its Node until it has looked at its servers."""
    host = replace(node(), host=replace(node().host, storage_failing=failing))

    def told(lease: Pulse) -> tuple[str, str] | None:
        found = hearsay.of(
            world(nodes=(host,), sights={"host-1": Sight(lease, heart)}), host, now()
        )
        return found and (found.status, found.reason)

    heart = pulse(12 if failing else 0)
    down = pulse(12)
    back = down.seen("renewed", T0, WALL)
    again = back.seen("renewed again", T0 + 2, WALL)
    trusted = ("False", Reason.UNREACHABLE) if failing else None
    assert told(back) == (trusted or ("Unknown", Reason.AGENT_DOWN))
    assert told(again) == trusted
    short = pulse(5).seen("renewed", T0, WALL)
    assert told(short) == trusted


def test_an_operator_that_cannot_read_says_nothing_new() -> None:
    for silent in (0, 9):
        seen = {"host-1": sight(silent, silent)}
        assert hearsay.of(world(sights=seen), node(), now(60)) is None


def test_without_ceph_the_lease_alone_says_whether_an_agent_is_heard() -> None:
    for lease, told in ((0, None), (60, Reason.AGENT_DOWN)):
        seen = {"host-1": Sight(pulse(lease), pulse(0, read=60))}
        found = hearsay.of(world(sights=seen), node(), now())
        assert (found and found.reason) == told


@pytest.mark.parametrize(
    ("told", "moved", "expected"),
    [
        (Reason.DEAD, False, Reason.AGENT_DOWN),
        (Reason.TOO_MANY_HOSTS, False, Reason.AGENT_DOWN),
        (Reason.AGENT_DOWN, False, Reason.AGENT_DOWN),
        (Reason.DEAD, True, None),
        (Reason.ALIVE, False, None),
        (Reason.FENCED, False, None),
        (Reason.FIRST_SIGNS_AWAITED, False, None),
    ],
)
def test_an_operator_that_has_just_begun_believes_no_report_of_who_was_silent_before(
    told: Reason, moved: bool, expected: Reason | None
) -> None:
    host = node(conditions=(Condition("Ready", "True" if told == "Alive" else "False", told),))
    fresh = Sight(replace(pulse(0), moved=moved), replace(pulse(0), moved=moved))
    found = hearsay.of(world(nodes=(host,), sights={"host-1": fresh}), host, now())
    assert (found and found.reason) == expected


def test_silence_while_the_api_was_away_is_nobodys() -> None:
    away = Pulse().seen("a", T0 - 40, WALL).seen("b", T0 - 38, WALL).seen("b", T0 - 36, WALL)
    heard = away.seen("b", T0 - 1, WALL)
    assert (heard.silence, heard.heeded) == (37, 0)
    assert heard.seen("b", T0, WALL).heeded == 1
    assert heard.seen("c", T0, WALL).broke == 0
    assert away.heeded == 2 and away.moved and not Pulse().seen("a", T0, WALL).moved


@pytest.mark.parametrize(
    ("told", "seen", "stands"),
    [
        (("Unknown", Reason.AGENT_DOWN), sight(12, 12, testimony=said(Answer.SILENCE)), True),
        (("False", Reason.DEAD), sight(60, 60), True),
        (("False", Reason.UNREACHABLE), sight(60, 60), True),
        (("True", Reason.RUNNING), sight(60, 60), False),
        (("False", Reason.STARTING), sight(60, 60), False),
        (("Unknown", Reason.AGENT_DOWN), sight(), False),  # its host is heard again
    ],
)
def test_what_was_told_stands_while_its_host_is_in_doubt(told, seen, stands: bool) -> None:
    """In the second in which its host is fenced nobody is said to run there."""
    before = Condition(Type.READY, *told, "as it was told", 1)
    it = server(placement=placed(), status={"conditions": (before,)})
    found = hearsay.as_told(world(it, sights={"host-1": seen}), it, node(), now())
    assert (found is not None) is stands
    assert found is None or (found.status, found.reason, found.message) == (*told, "as it was told")
