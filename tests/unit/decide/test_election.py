import pytest

from respawn.decide.election import FAST, Seen, Terms, leads_until, may_take

T = Terms()


def test_a_lease_is_taken_only_when_it_has_not_changed_for_its_duration() -> None:
    seen = Seen().after("a@1", "a", 10.0)
    assert not may_take(seen, "b", T, 14.9)
    assert may_take(seen, "b", T, 15.0)
    assert not may_take(seen.after("a@2", "a", 14.9), "b", T, 15.0)
    assert may_take(seen, "a", T, 10.1), "its holder renews"
    assert may_take(Seen().after("", "", 10.0), "b", T, 10.0), "released or absent"


def test_the_first_sight_counts_as_a_change() -> None:
    """A new standby owes the present leader a whole duration."""
    assert not may_take(Seen(), "b", T, 10.0) or Seen().holder == ""
    assert not may_take(Seen().after("a@9", "a", 10.0), "b", T, 12.0)


@pytest.mark.parametrize("terms", [T, FAST])
def test_a_leader_ends_before_another_may_begin(terms: Terms) -> None:
    assert leads_until(10.0, terms) < 10.0 + terms.duration
    assert leads_until(None, terms) == 0.0
