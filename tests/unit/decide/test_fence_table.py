from dataclasses import replace

import pytest
from tests.unit.decide.builders import ME, WALL, fenced, node

from respawn.decide import fence_table
from respawn.decide.fence_table import IllegalMove
from respawn.model.base import Owner
from respawn.model.node import Fence, FencePhase, Form, HostStatus, NodeSpec, Taint
from respawn.model.storage import Entry

OTHER = Owner("operator-2", "life-7")


def moves(fence: Fence):
    """Every move, tried on that fence by ME."""
    host = node(fence=fence)
    return {
        "begin": lambda: fence_table.begin(host, reason="HostLost"),
        "done": lambda: fence_table.done(fence, 1, at=WALL),
        "lift": lambda: fence_table.lift(fence, 1, ME),
        "take": lambda: fence_table.take(fence, 1, ME),
        "lifted": lambda: fence_table.lifted(fence, 1, ME),
        "reform": lambda: fence_table.reform(fence, 1, Form.RANGE),
    }


LIFTING_MINE = fenced(FencePhase.LIFTING, owner=ME, form=Form.IP)
LIFTING_OTHERS = fenced(FencePhase.LIFTING, owner=OTHER, form=Form.IP)


@pytest.mark.parametrize(
    ("fence", "legal"),
    [
        (Fence(FencePhase.OK, 1), {"begin"}),
        (fenced(FencePhase.FENCING, form=Form.IP), {"done", "reform"}),
        (fenced(FencePhase.FENCED, form=Form.IP), {"lift"}),
        (LIFTING_MINE, {"lifted"}),
        (LIFTING_OTHERS, {"take"}),
    ],
    ids=lambda x: str(getattr(x, "phase", "")),
)
def test_only_the_moves_of_the_table_are_legal(fence: Fence, legal: set[str]) -> None:
    for name, move in moves(fence).items():
        if name in legal:
            move()
        else:
            with pytest.raises(IllegalMove):
                move()


@pytest.mark.parametrize("move", ["done", "lift", "take", "lifted", "reform"])
def test_a_move_is_bound_to_its_generation(move: str) -> None:
    for fence in (fenced(FencePhase.FENCING), fenced(), LIFTING_MINE, LIFTING_OTHERS):
        with pytest.raises(IllegalMove):
            moves(replace(fence, generation=2))[move]()


def test_begin_binds_boot_addresses_and_generation() -> None:
    host = node(spec=NodeSpec(storage=("198.51.100.11", "198.51.100.99")))
    begun = fence_table.begin(host, reason="HostLost")
    assert (begun.phase, begun.generation, begun.boot_id) == (FencePhase.FENCING, 1, "boot-1")
    assert begun.machine_id == "machine-host-1" and begun.form is Form.IP
    assert begun.addresses == ("198.51.100.11", "198.51.100.99"), "declared and registered, once"


@pytest.mark.parametrize(
    ("tainted", "prefer", "form"),
    [
        ((), Form.IP, Form.IP),
        ((), Form.RANGE, Form.RANGE),
        ((Form.IP,), Form.IP, Form.RANGE),
        ((Form.RANGE,), Form.RANGE, Form.IP),
        ((Form.IP, Form.RANGE), Form.IP, None),
    ],
)
def test_a_tainted_form_is_never_used(tainted, prefer, form) -> None:
    fence = Fence(tainted=tuple(Taint(f, OTHER) for f in tainted))
    assert fence_table.clean_form(fence, prefer) is form
    if form is None:
        with pytest.raises(IllegalMove):
            fence_table.begin(node(fence=fence), reason="HostLost", prefer=prefer)
    else:
        assert fence_table.begin(node(fence=fence), reason="x", prefer=prefer).form is form


def test_nothing_is_fenced_without_registration_or_address() -> None:
    for host in (node(host=HostStatus()), node(host=HostStatus(), spec=NodeSpec())):
        with pytest.raises(IllegalMove):
            fence_table.begin(host, reason="HostLost")


def test_a_taken_over_lift_taints_its_form_by_its_former_owner() -> None:
    taken = fence_table.take(LIFTING_OTHERS, 1, ME)
    assert taken.owner == ME and taken.tainted == (Taint(Form.IP, OTHER),)
    lifted = fence_table.lifted(taken, 1, ME)
    assert lifted.tainted == (Taint(Form.IP, OTHER),), "a taint outlives the lift"
    again = fence_table.begin(node(fence=lifted), reason="HostLost")
    assert again.form is Form.RANGE and again.generation == 2


def test_only_the_owner_finishes_a_lift() -> None:
    with pytest.raises(IllegalMove):
        fence_table.lifted(LIFTING_OTHERS, 1, ME)


def test_taints_end_one_by_one() -> None:
    fence = fenced(tainted=(Taint(Form.IP, ME), Taint(Form.RANGE, ME)))
    left = fence_table.untainted(fence, frozenset({Taint(Form.RANGE, ME)}))
    assert left.tainted == (Taint(Form.IP, ME),)
    assert fence_table.taint(LIFTING_MINE, ME).tainted == (Taint(Form.IP, ME),)


def test_entries_are_exactly_what_is_recorded() -> None:
    fence = fenced(addresses=("198.51.100.11", "198.51.100.99"), form=Form.RANGE)
    assert fence_table.entries(fence) == {
        Entry("198.51.100.11", Form.RANGE),
        Entry("198.51.100.99", Form.RANGE),
    }


def test_a_fence_is_made_in_the_other_form_unless_that_is_tainted() -> None:
    fence = fenced(FencePhase.FENCING, form=Form.IP)
    assert fence_table.reform(fence, 1, Form.RANGE).form is Form.RANGE
    tainted = replace(fence, tainted=(Taint(Form.RANGE, OTHER),))
    for refused, form in ((fence, Form.IP), (tainted, Form.RANGE)):
        with pytest.raises(IllegalMove):
            fence_table.reform(refused, 1, form)


def test_what_ends_soon_is_neither_a_fence_nor_gone() -> None:
    fence = fenced(form=Form.IP)
    lasting, brief = Entry("198.51.100.11", Form.IP), Entry("198.51.100.11", Form.IP, brief=True)
    assert fence_table.brief_in(fence, {brief}) and not fence_table.brief_in(fence, {lasting})
    assert fence_table.gone(fence, set()) == {lasting}
    assert not fence_table.gone(fence, {brief}) and not fence_table.gone(fence, {lasting})
