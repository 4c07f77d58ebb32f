"""What every FencePort must do: the same cases for the real blocklist and for a simulated one.

A test module makes a subclass `Test…` of it and provides two fixtures: `fence`, and `run`, which
carries a coroutine out and returns its result.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from respawn.model.node import Form
from respawn.model.storage import Entry, bans
from respawn.ports.fence import FencePort

Run = Callable[[Coroutine[Any, Any, Any]], Any]

WHOLE = Entry("203.0.113.66", Form.IP)
RANGE = Entry("203.0.113.66", Form.RANGE)
NONCE = Entry("203.0.113.66:0/424242")
#: nonce 32 and the range /32 look alike in Ceph's listing
NONCE_32 = Entry("203.0.113.66:0/32")
ALL = (WHOLE, RANGE, NONCE, NONCE_32)


class FenceContract:
    @pytest.fixture(autouse=True)
    def nothing_left(self, fence: FencePort, run: Run) -> Iterator[None]:
        run(fence.remove(ALL))
        yield
        run(fence.remove(ALL))

    @pytest.mark.parametrize("entry", ALL, ids=["ip", "range", "nonce", "nonce-32"])
    def test_an_entry_is_listed_from_add_to_remove(
        self, fence: FencePort, run: Run, entry: Entry
    ) -> None:
        run(fence.add([entry]))
        assert set(ALL) & run(fence.listing()) == {entry}
        run(fence.remove([entry]))
        assert not set(ALL) & run(fence.listing())

    def test_all_at_once(self, fence: FencePort, run: Run) -> None:
        run(fence.add(ALL))
        assert set(ALL) <= run(fence.listing())

    def test_the_forms_survive_each_others_removal(self, fence: FencePort, run: Run) -> None:
        for gone, left in ((WHOLE, RANGE), (RANGE, WHOLE)):
            run(fence.add([WHOLE, RANGE]))
            run(fence.remove([gone]))
            listing = run(fence.listing())
            assert set(ALL) & listing == {left}
            assert bans(listing, "203.0.113.66:0/1")
            run(fence.remove([left]))

    def test_nonces_survive_the_lift(self, fence: FencePort, run: Run) -> None:
        run(fence.add([WHOLE, NONCE]))
        run(fence.remove([WHOLE]))
        assert set(ALL) & run(fence.listing()) == {NONCE}

    def test_adding_and_removing_again_is_done(self, fence: FencePort, run: Run) -> None:
        for _ in range(2):
            run(fence.add([WHOLE]))
        for _ in range(2):
            run(fence.remove([WHOLE]))
        assert not set(ALL) & run(fence.listing())

    def test_nothing_to_do_is_done(self, fence: FencePort, run: Run) -> None:
        run(fence.add([]))
        run(fence.remove([]))

    def test_the_operators_own_clients_are_known(self, fence: FencePort, run: Run) -> None:
        assert run(fence.own_addresses())

    def test_infrastructure_is_known(self, fence: FencePort, run: Run) -> None:
        assert run(fence.infrastructure())
