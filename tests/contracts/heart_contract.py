"""What every pair of HeartWrites and HeartReads must do, real or simulated.

Fixtures wanted: `run`; `reads` (HeartReads); `writes(host)`, a new HeartWrites of that host, as
after a restart of its process; and `fenced(host)`, a context in which that host is blocklisted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

import pytest

from respawn.model.conditions import Reason
from respawn.model.sight import Beat, HeartServer
from respawn.ports.errors import Refused
from respawn.ports.heart import HeartReads, HeartWrites

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Writes = Callable[[str], HeartWrites]
Fenced = Callable[[str], AbstractContextManager[None]]

HOST = "host-1"


def beat(counter: int, boot: str = "boot-1") -> Beat:
    return Beat("machine-1", boot, counter, (HeartServer("uid-1", 3, "running"),))


def counters(beats: tuple[Beat | None, ...]) -> list[int]:
    return [found.counter for found in beats if found is not None]


class HeartContract:
    def test_a_host_that_never_beat_has_two_absent_objects(
        self, reads: HeartReads, run: Run
    ) -> None:
        assert run(reads.read("host-never")) == (None, None)

    def test_a_beat_is_read_in_both_objects(
        self, reads: HeartReads, writes: Writes, run: Run
    ) -> None:
        heart = writes(HOST)
        for counter in (10_001, 10_002):
            run(heart.beat(beat(counter)))
        # the second object may be acknowledged a little later
        found = read_until(run, reads, lambda beats: len(set(beats)) == 1)
        assert found[0] is not None
        assert found[0].servers == (HeartServer("uid-1", 3, "running"),)
        assert (found[0].machine_id, found[0].boot_id) == ("machine-1", "boot-1")

    def test_a_fenced_host_is_refused_and_beats_again_after_the_lift(
        self, reads: HeartReads, writes: Writes, run: Run, fenced: Fenced
    ) -> None:
        heart = writes(HOST)
        run(heart.beat(beat(0)))
        with fenced(HOST):
            wait_until_refused(run, heart)
            last = max(counters(run(reads.read(HOST))))
            for tried in (heart, heart, writes(HOST)):
                with pytest.raises(Refused) as refused:
                    run(tried.beat(beat(0)))
                assert refused.value.reason == Reason.BLOCKLISTED
            assert max(counters(run(reads.read(HOST)))) == last
        # the same object: it makes a new handle by itself
        run(heart.beat(beat(last + 1)))
        read_until(run, reads, lambda beats: max(counters(beats)) > last)

    def test_the_operator_proves_that_it_can_write(self, reads: HeartReads, run: Run) -> None:
        for _ in range(2):
            run(reads.prove_write())


def wait_until_refused(run: Run, heart: HeartWrites) -> None:
    """A fence that was read back at the monitors reaches the OSDs some milliseconds later."""
    for _ in range(1000):
        try:
            run(heart.beat(beat(0)))
        except Refused:
            return
    raise AssertionError("a fenced host still beats")


def read_until(
    run: Run, reads: HeartReads, wanted: Callable[[tuple[Beat | None, ...]], bool]
) -> tuple[Beat | None, ...]:
    """Read until it is so; both objects of a beat are written, but only one is waited for."""
    found: tuple[Beat | None, ...] = ()
    for _ in range(200):
        found = run(reads.read(HOST))
        if wanted(found):
            return found
    raise AssertionError(f"not seen in 200 readings; last: {found}")
