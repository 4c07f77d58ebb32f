from datetime import timedelta

import pytest
from tests.unit.decide.builders import WALL

from respawn.model.base import Owner
from respawn.model.conditions import Condition, Reason, is_true, known, merged
from respawn.model.node import Form
from respawn.model.placement import Locker, entity_ip
from respawn.model.policy import FAST, Policy, Timings
from respawn.model.sight import Pulse
from respawn.model.storage import Entry, bans


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        ("198.51.100.11:0/473667146", "198.51.100.11"),
        ("v1:198.51.100.11:0/1", "198.51.100.11"),
        ("v2:198.51.100.11:3300/1", "198.51.100.11"),
        ("[2001:db8::1]:0/3", "2001:db8::1"),
        ("any:[2001:db8::1]:0/3", "2001:db8::1"),
        ("198.51.100.11", "198.51.100.11"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_entity_ip(address: str, ip: str) -> None:
    assert entity_ip(address) == ip
    assert Locker("client.1", "auto 1", address).ip == ip


def test_a_client_is_banned_by_its_nonce_or_by_its_address_in_either_form() -> None:
    client = "198.51.100.11:0/7"
    for entry in (
        Entry(client),
        Entry("198.51.100.11", Form.IP),
        Entry("198.51.100.11", Form.RANGE),
    ):
        assert bans(frozenset({entry}), client)
    for entry in (Entry("198.51.100.11:0/8"), Entry("198.51.100.1", Form.IP)):
        assert not bans(frozenset({entry}), client)
    assert not bans(frozenset({Entry("198.51.100.11")}), client), "a nonce entry needs a nonce"


@pytest.mark.parametrize(
    ("timings", "fits"),
    [
        (Timings(), True),
        (FAST, True),
        (Timings(pause_after=7.3), False),
        (Timings(lease_renew=2.6), False),
        (Timings(heartbeat=1.3), False),
        (Timings(lease_renew=0.4), False),
        (Timings(heartbeat=0.2), False),
        (Timings(unresponsive_after=44), False),
        (Timings(fence_after=61), False),
    ],
)
def test_timings_that_fit(timings: Timings, fits: bool) -> None:
    assert timings.fits() is fits


def test_the_slower_timings_bind_until_the_agent_obeys() -> None:
    policy = Policy(FAST, generation=3, earlier={1: Timings(fence_after=20), 2: Timings()})
    assert policy.binding(3) == FAST
    assert policy.binding(2).fence_after == 8.0
    assert policy.binding(1).fence_after == 20
    assert policy.binding(0) == Timings().slower(FAST), "unknown: the defaults, or slower"


def test_conditions_move_their_time_with_their_status_only() -> None:
    first = merged((), (Condition("Ready", "False", "Starting"),), WALL)
    later = WALL + timedelta(seconds=5)
    second = merged(first, (Condition("Ready", "False", "BackOff"),), later)
    third = merged(second, (Condition("Ready", "True", "Running"),), later)
    assert second[0].last_transition == WALL and third[0].last_transition == later
    kept = merged(third, (Condition("Other", "True", "x"),), later)
    assert {c.type for c in kept} == {"Ready", "Other"} and is_true(kept, "Ready")


def test_reasons_of_others_become_ours() -> None:
    assert known("QemuDied", Reason.VANISHED) is Reason.QEMU_DIED
    assert known("Whatever", Reason.VANISHED) is Reason.VANISHED


def test_owner_round_trip() -> None:
    owner = Owner("operator-1", "2030-01-01T00:00:00Z/7")
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse("bare") == Owner("bare", "")


def test_a_pulse_counts_changes_of_content_not_reads() -> None:
    first = Pulse().seen("a", 10.0, WALL)
    same = first.seen("a", 15.0, WALL + timedelta(seconds=5))
    other = same.seen("b", 16.0, WALL + timedelta(seconds=6))
    assert (first.changed_at, same.changed_at, other.changed_at) == (10.0, 10.0, 16.0)
    assert same.read_at == 15.0 and same.changed_wall == WALL
    assert Pulse().seen("", 3.0, WALL).changed_at == 3.0, "absence is a content too"
