"""The fence of a host as a state machine: pure transitions, written down as data.

Two rules about this file. Everything about the *moves* of a fence lives here: whoever writes
`status.fence` writes what one of these functions returned for the node it has just read, under that
node's resourceVersion. And nothing about *when* lives here: see `fencing` (why a host is fenced or
lifted) and the executor (what has been done to Ceph before a move).

    OK(g) -> Fencing(g+1) -> Fenced(g+1) -> Lifting(g+1) -> OK(g+1)
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from respawn.model.base import Owner
from respawn.model.node import Fence, FencePhase, Form, Node, Taint
from respawn.model.storage import Entry, brief, listed

MOVES = {
    "begin": (FencePhase.OK, FencePhase.FENCING),
    "reform": (FencePhase.FENCING, FencePhase.FENCING),
    "done": (FencePhase.FENCING, FencePhase.FENCED),
    "lift": (FencePhase.FENCED, FencePhase.LIFTING),
    "take": (FencePhase.LIFTING, FencePhase.LIFTING),
    "lifted": (FencePhase.LIFTING, FencePhase.OK),
}


class IllegalMove(Exception):
    """The fence that was read does not allow the move: nothing may be written."""


def _moved(fence: Fence, move: str, **changes: object) -> Fence:
    before, after = MOVES[move]
    if fence.phase is not before:
        raise IllegalMove(f"{move}: the fence is {fence.phase}, not {before}")
    return replace(fence, phase=after, **changes)  # type: ignore[arg-type]


def clean_form(fence: Fence, prefer: Form = Form.IP) -> Form | None:
    """A form in which no late `rm` can arrive; None when every form is tainted."""
    tainted = {t.form for t in fence.tainted}
    return next((f for f in (prefer, *Form) if f not in tainted), None)


def begin(node: Node, *, reason: str, prefer: Form = Form.IP) -> Fence:
    """OK(g) -> Fencing(g+1), bound to the boot that is registered and to all its addresses."""
    form = clean_form(node.fence, prefer)
    registered = node.registration
    if form is None or registered is None or not node.storage_addresses:
        raise IllegalMove("begin: no untainted form, no registration or no address")
    # safety: declared *and* registered addresses: an address taken between hook and open is
    # covered by the declaration. A form with a late `rm` under way is never used.
    return _moved(
        node.fence,
        "begin",
        generation=node.fence.generation + 1,
        addresses=node.storage_addresses,
        machine_id=registered.machine_id,
        boot_id=registered.boot_id,
        form=form,
        owner=None,
        reason=reason,
        fenced=None,
    )


def reform(fence: Fence, generation: int, form: Form) -> Fence:
    """Fencing(g) in another form: in the first one an entry stands that ends soon."""
    _same(fence, generation)
    # safety: never a form with a late `rm` under way.
    if form is fence.form or clean_form(fence, form) is not form:
        raise IllegalMove(f"reform: {form} is tainted, or the form it has")
    return _moved(fence, "reform", form=form)


def done(fence: Fence, generation: int, *, at: datetime) -> Fence:
    """Fencing(g) -> Fenced(g): every entry was read back."""
    _same(fence, generation)
    return _moved(fence, "done", fenced=at)


def lift(fence: Fence, generation: int, me: Owner) -> Fence:
    """Fenced(g) -> Lifting(g), mine."""
    _same(fence, generation)
    return _moved(fence, "lift", owner=me)


def take(fence: Fence, generation: int, me: Owner) -> Fence:
    """Lifting(g) of another -> mine. Its `rm` may be late: the form it was told becomes tainted."""
    _same(fence, generation)
    if fence.owner is None or fence.owner == me or fence.form is None:
        raise IllegalMove("take: the lift is mine already, or nobody's")
    return _moved(fence, "take", owner=me, tainted=_with(fence, fence.form, fence.owner))


def lifted(fence: Fence, generation: int, me: Owner) -> Fence:
    """Lifting(g), mine -> OK(g): my `rm` returned."""
    _same(fence, generation)
    if fence.owner != me:
        raise IllegalMove(f"lifted: the lift is now {fence.owner}'s")
    return _moved(fence, "lifted", owner=None)


def taint(fence: Fence, me: Owner) -> Fence:
    """My own `rm` timed out: it may still arrive, so its form is tainted by me."""
    if fence.form is None:
        raise IllegalMove("taint: there is no form")
    return replace(fence, tainted=_with(fence, fence.form, me))


def untainted(fence: Fence, gone: frozenset[Taint]) -> Fence:
    """Without the taints whose `rm` is certainly no more."""
    return replace(fence, tainted=tuple(t for t in fence.tainted if t not in gone))


def entries(fence: Fence) -> frozenset[Entry]:
    """The blocklist entries that this fence consists of."""
    return frozenset(Entry(address, fence.form) for address in fence.addresses)


def brief_in(fence: Fence, listing: Collection[Entry]) -> bool:
    """Whether one of its entries is listed that ends soon."""
    return any(brief(listing, entry) for entry in entries(fence))


def gone(fence: Fence, listing: Collection[Entry]) -> frozenset[Entry]:
    """Its entries that are not listed at all."""
    return frozenset(entry for entry in entries(fence) if not listed(listing, entry))


def _same(fence: Fence, generation: int) -> None:
    if fence.generation != generation:
        raise IllegalMove(f"the fence is of generation {fence.generation}, not {generation}")


def _with(fence: Fence, form: Form, owner: Owner) -> tuple[Taint, ...]:
    return tuple(dict.fromkeys((*fence.tainted, Taint(form, owner))))
