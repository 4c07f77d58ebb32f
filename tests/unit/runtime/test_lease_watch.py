"""The watch of the Leases, which is never quiet, tells when the API server is back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.unit.decide.builders import now

from respawn.adapters.kubernetes.errors import Unavailable
from respawn.adapters.kubernetes.watch import Event, Interrupted, Snapshot
from respawn.runtime.lease_watch import LeaseWatch

LISTED, AWAY = Snapshot((), 1.0), Interrupted(Unavailable("gone"))


def returns(*events: Event, every: float = 1.0) -> list[bool]:
    """Which of them, that come so many seconds apart, tell that it is back."""
    told: list[bool] = []
    clock: Any = type("Clock", (), {"now": staticmethod(lambda: now(every * len(told)))})
    watch = LeaseWatch(
        lambda: None,
        clock,
        lambda *_: None,
        renew=lambda: 1.0,
        back=lambda: told.__setitem__(-1, True),
    )

    async def stream() -> AsyncIterator[Event]:
        for event in events:
            told.append(False)
            yield event

    asyncio.run(watch._listen(stream(), 1.0))
    return told


def test_it_is_back_when_it_is_listed_after_an_interruption() -> None:
    assert returns(LISTED, AWAY, AWAY, LISTED, LISTED) == [False, False, False, True, False]


def test_who_misses_one_answer_was_not_away() -> None:
    assert returns(LISTED, AWAY, LISTED, AWAY, LISTED, every=0.4) == [False] * 5
    assert returns(LISTED, AWAY, AWAY, AWAY, LISTED, every=0.4)[-1]


def test_a_first_listing_and_a_renewed_one_are_no_return() -> None:
    assert returns(LISTED, LISTED) == [False, False]
