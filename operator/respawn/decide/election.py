"""Who leads: a Lease judged by change observed, like any other heart.

Leadership saves work and gives an order of things; no safety rule rests on it.
"""

from dataclasses import dataclass

HOLDER_NONE = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: a Lease is good for `duration`, its holder gives up after `deadline`."""

    duration: float = 5.0
    deadline: float = 3.5
    retry: float = 1.0


FAST = Terms(duration=3.0, deadline=2.0, retry=0.5)


@dataclass(frozen=True, slots=True)
class Seen:
    """The leader's Lease as observed here: its content, and when that last changed."""

    token: str = ""
    holder: str = HOLDER_NONE
    changed_at: float | None = None

    def after(self, token: str, holder: str, at: float) -> "Seen":
        """This after a read begun at `at`."""
        if self.changed_at is not None and token == self.token:
            return self
        return Seen(token, holder, at)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this process leads; replaced whole, so that any thread may read it at any moment."""

    leader: bool = False
    until: float = 0.0
    """Monotonic moment after which leadership may no longer be assumed."""
    renewed_at: float | None = None
    """Begin of the last renewal that came back."""


def may_take(seen: Seen, me: str, terms: Terms, now: float) -> bool:
    """Whether this process may write itself into the Lease."""
    if seen.holder in (HOLDER_NONE, me):
        return True
    return seen.changed_at is not None and now - seen.changed_at >= terms.duration


def leads_until(renewed_at: float | None, terms: Terms) -> float:
    """Monotonic moment up to which a renewal *begun* at `renewed_at` makes this process leader."""
    return 0.0 if renewed_at is None else renewed_at + terms.deadline
