from dataclasses import replace
from datetime import datetime

import pytest
from tests.unit.decide.builders import T0, WALL, beat, fenced, node, now, pulse, sight, world

from respawn.decide import liveness, moments
from respawn.decide.liveness import State
from respawn.model.node import FencePhase, HostStatus
from respawn.model.policy import FAST, Policy, Timings
from respawn.model.sight import Answer, Pulse, Sight, Testimony, WatchLook


def state(seen: Sight, host=None, **more) -> State:
    host = host or node()
    return liveness.verdict(
        world(nodes=(host,), sights={host.name: seen}, **more), host, now()
    ).state


def said(answer: Answer, ago: float = 1.0, boot: str | None = "boot-1") -> dict[str, object]:
    asked = T0 - ago
    answered = None if answer is Answer.SILENCE else asked
    return {"testimony": Testimony(asked, answer, boot), "answered_at": answered}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (sight(0, 0), State.HEALTHY),
        (sight(3.9, 3.9), State.HEALTHY),
        (sight(8, 0), State.API_LOST),
        (sight(600, 0), State.API_LOST),
        (sight(0, 8), State.STORAGE_DOUBT),
        (sight(0, 600), State.STORAGE_DOUBT),
        (sight(4, 4), State.SUSPECT),
        (sight(9, 3.9), State.API_LOST),
        (sight(3.9, 9), State.STORAGE_DOUBT),
        (sight(9, 4), State.SUSPECT),  # on its way: not an agent that is down
        (sight(4, 9), State.SUSPECT),
        (sight(9, 9), State.SUSPECT),
        (sight(9, 9, **said(Answer.SILENCE)), State.DEAD),
        (sight(9, 9, **said(Answer.SILENCE, ago=8)), State.SUSPECT),
        (sight(9, 9, **said(Answer.LIBVIRT)), State.CUT_OFF),
        (sight(9, 9, **said(Answer.LIBVIRT, boot=None)), State.CUT_OFF),
        (sight(9, 9, **said(Answer.LIBVIRT, boot="boot-2")), State.DEAD),
        (sight(9, 9, **said(Answer.KERNEL)), State.SUSPECT),
        (sight(10, 10, **said(Answer.KERNEL)), State.UNRESPONSIVE),
        (Sight(), State.UNKNOWN),
        (Sight(lease=pulse(9), heart=pulse(9, read=5)), State.UNKNOWN),
        (Sight(lease=pulse(9, read=5), heart=pulse(9)), State.UNKNOWN),
    ],
)
def test_the_table(seen: Sight, expected: State) -> None:
    assert state(seen) is expected


def test_silence_counts_to_the_last_read_not_to_now() -> None:
    """Nothing is known of the time since: a slow operator condemns nobody."""
    assert state(Sight(lease=pulse(7.9, read=3), heart=pulse(7.9, read=3))) is State.SUSPECT
    assert pulse(7.9, read=3).silence == pytest.approx(7.9)


def test_a_witness_that_answered_a_moment_ago_outweighs_one_lost_probe() -> None:
    seen = sight(20, 20, testimony=Testimony(T0 - 1, Answer.SILENCE), answered_at=T0 - 5)
    assert state(seen) is State.SUSPECT
    assert state(replace(seen, answered_at=T0 - 8.1)) is State.DEAD


@pytest.mark.parametrize(
    ("silent", "look", "expected"),
    [
        (59.0, None, State.UNRESPONSIVE),
        (61.0, None, State.UNRESPONSIVE),
        (61.0, WatchLook(T0 - 30, alive=False), State.UNRESPONSIVE),
        (61.0, WatchLook(T0 - 0.5, alive=False), State.UNRESPONSIVE_DEAD),
        (61.0, WatchLook(T0 - 0.5, alive=True), State.UNRESPONSIVE_RUNNING),
    ],
)
def test_unresponsive_waits_for_the_watches(
    silent: float, look: WatchLook | None, expected: State
) -> None:
    seen = sight(silent, silent, watches=look, **said(Answer.KERNEL))
    assert state(seen) is expected


def test_it_asks_for_a_look_only_when_a_watch_means_something() -> None:
    host = node()
    for silent, wanted in ((59.0, False), (61.0, True)):
        seen = sight(silent, silent, **said(Answer.KERNEL))
        verdict = liveness.verdict(world(nodes=(host,), sights={"host-1": seen}), host, now())
        assert verdict.look is wanted


@pytest.mark.parametrize(
    ("failing", "silent", "expected"),
    [
        (False, 3600.0, State.STORAGE_DOUBT),
        (True, 59.0, State.STORAGE_DOUBT),
        (True, 60.0, State.STORAGE_LOST),
    ],
)
def test_storage_is_lost_only_by_the_hosts_own_word(
    failing: bool, silent: float, expected: State
) -> None:
    host = node()
    host = replace(host, host=replace(host.host, storage_failing=failing))
    assert state(sight(0, silent), host) is expected


def test_another_boot_that_beats_means_the_registered_one_is_over() -> None:
    assert state(sight(9, 0, beat=beat(boot="boot-2"))) is State.REBOOTED
    assert state(sight(9, 0, beat=beat(boot="boot-1"))) is State.API_LOST
    assert state(sight(9, 0, beat=beat("host-2", "boot-2"))) is State.API_LOST, "another machine"


def test_a_fenced_host_is_judged_by_its_lease_alone() -> None:
    host = node(fence=fenced(FencePhase.FENCED))
    assert state(sight(0, 600), host) is State.HEALTHY
    assert state(sight(600, 0), host) is State.DEAD


def test_a_host_without_registration_is_never_condemned() -> None:
    assert state(sight(600, 600), node(host=HostStatus())) is State.UNREGISTERED


def test_new_timings_bind_a_host_only_once_its_agent_obeys_them() -> None:
    policy = Policy(FAST, generation=2, earlier={1: Timings()})
    seen = sight(4, 4, **said(Answer.SILENCE))
    assert state(seen, policy=policy) is State.SUSPECT
    host = node()
    obeying = replace(host, host=replace(host.host, policy_generation=2))
    assert state(seen, obeying, policy=policy) is State.DEAD


def test_what_an_agent_says_that_it_obeys_counts_whatever_the_generation() -> None:
    """A policy that was deleted and made again begins at generation 1: one was acknowledged before,
    with other timings."""
    policy = Policy(FAST, generation=1)
    seen = sight(4, 4, **said(Answer.SILENCE))
    host = node()
    for obeyed, expected in ((Timings(), State.SUSPECT), (FAST, State.DEAD)):
        obeying = replace(host, host=replace(host.host, policy_generation=5, timings=obeyed))
        assert state(seen, obeying, policy=policy) is expected


def test_witnesses_are_asked_within_the_window_and_again() -> None:
    host = node()

    def asks(seen: Sight) -> bool:
        return liveness.verdict(world(nodes=(host,), sights={"host-1": seen}), host, now()).ask

    assert not asks(sight(3, 3))
    assert asks(sight(4.5, 4.5))
    assert not asks(sight(4.5, 4.5, asking=True))
    assert not asks(sight(4.5, 4.5, **said(Answer.SILENCE, ago=0.3)))
    assert asks(sight(9, 9, **said(Answer.LIBVIRT, ago=1.5)))


def test_next_check_is_never_in_the_past() -> None:
    """A verdict that asks to be looked at again in the past would keep a worker busy."""
    host = node()
    host = replace(host, host=replace(host.host, storage_failing=True))
    for lease in (0.0, 4.0, 8.0, 61.0):
        for heart in (0.0, 4.0, 8.0, 59.99, 61.0):
            seen = Sight(lease=pulse(lease, read=1), heart=pulse(heart, read=1))
            verdict = liveness.verdict(world(nodes=(host,), sights={"host-1": seen}), host, now())
            assert verdict.next_check is None or verdict.next_check > T0, (lease, heart)


LEASE = "host-1/{}|1|then"


@pytest.mark.parametrize(
    ("seen", "until"),
    [
        (Sight(), None),
        # Both silent for as long as condemns a host, or a beat short of it.
        (sight(8, 8, beat=beat()), None),
        (sight(20, 7.9, beat=beat()), T0 + 0.1),
        (
            replace(sight(7.9, 20), lease=replace(pulse(7.9), token=LEASE.format("boot-1"))),
            T0 + 0.1,
        ),
        # Another boot beats, or renews the Lease.
        (sight(0, 0, beat=beat(boot="boot-2")), None),
        (replace(sight(), lease=replace(pulse(), token=LEASE.format("boot-2"))), None),
        # Silent for a second when it could be read last: unknown since, which is not silence.
        (Sight(heart=pulse(1, read=60), beat=beat()), T0 + 1),
    ],
)
def test_until_when_a_boot_counts_as_alive(seen: Sight, until: float | None) -> None:
    found = liveness.lives_until(world(sights={"host-1": seen}), node(), "boot-1", now())
    assert found == (None if until is None else pytest.approx(until))


def test_what_was_only_found_is_dated_by_whoever_wrote_it() -> None:
    """An operator that has just begun finds the last renewal of a host that has long been dead;
    and so does one that could not read for a while."""
    text = "2029-12-31T23:59:00+00:00"

    def last_seen(lease: Pulse, heart: Pulse) -> datetime | None:
        return moments.last_seen(Sight(lease, heart), storage=False)

    token, heart = f"host-1/boot-1|1|{text}", Pulse().seen("7", T0, WALL)
    first = Pulse().seen(token, T0, WALL)
    assert last_seen(first, heart) == datetime.fromisoformat(text)
    gap = Pulse().seen("before", T0 - 60, WALL).seen(token, T0, WALL)
    assert last_seen(gap, heart) == datetime.fromisoformat(text)
    listening = Pulse().seen("before", T0 - 2, WALL).seen(token, T0, WALL)
    assert last_seen(listening, heart) == WALL
    beaten = Pulse().seen("6", T0 - 2, WALL).seen("7", T0, WALL)
    assert last_seen(first, beaten) == WALL
    for unsaid in ("host-1/boot-1|1|", "", "host-1|1|2029-12-31T23:59:00"):
        assert last_seen(Pulse().seen(unsaid, T0, WALL), heart) == WALL
