"""What a write of a Node's status tells people: its fence, its boots, its Ready. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from respawn.adapters.kubernetes.telling import Told, about_ready, moment, reference
from respawn.model.conditions import Reason, Type, find
from respawn.model.node import Fence, FencePhase, Node

_FENCE_ORDER = {
    FencePhase.FENCING: 1,
    FencePhase.FENCED: 2,
    FencePhase.LIFTING: 3,
    FencePhase.OK: 4,
}
"""Behind what made it not Ready, and before its next Ready."""


def about_node(before: Node, after: Node) -> Iterator[Told]:
    """What became of a node by one write of its status."""
    about = reference(after)
    was, now = before.fence, after.fence
    if (was.phase, was.generation) != (now.phase, now.generation):
        reason, message, warning = _fence(now)
        key = f"{now.phase}/{now.generation}"
        order = f"{moment(after.conditions)}-{_FENCE_ORDER[now.phase]}"
        yield Told(about, reason, message, warning, key, order)
    yield from _booted(about, before, after)
    ready = find(after.conditions, Type.READY)
    if ready is None or ready.reason not in list(FencePhase):  # those were just told
        yield from about_ready(about, before.conditions, after.conditions)
    was_open, is_open = (find(n.conditions, Type.SCHEDULABLE) for n in (before, after))
    if (
        is_open
        and is_open.reason == Reason.DELETING
        and (was_open is None or was_open.reason != Reason.DELETING)
    ):
        yield Told(
            about, Reason.DELETING, is_open.message, True, "deleting", moment(after.conditions)
        )


def _booted(about: Mapping[str, Any], before: Node, after: Node) -> Iterator[Told]:
    """A host that boots anew soon enough was never told to be silent."""
    was, now = (find(n.conditions, Type.REGISTERED) for n in (before, after))
    if was is None or now is None or not (was.status == now.status == "True"):
        return
    if was.message != now.message:
        gone = f"what ran there before ({was.message}) is over"
        message = f"it has booted anew ({now.message}); {gone}"
        order = f"{moment(after.conditions)}-5"
        yield Told(about, Reason.HOST_REBOOTED, message, True, now.message, order)


def _fence(now: Fence) -> tuple[str, str, bool]:
    told = ", ".join(now.addresses)
    if now.phase is FencePhase.FENCING:
        why = f"fence {now.generation} because of {now.reason}"
        be = "is" if len(now.addresses) == 1 else "are"
        return Reason.FENCING, f"{why}: {told} {be} being blocklisted", True
    if now.phase is FencePhase.FENCED:
        message = f"fence {now.generation}: {told} read back as blocklisted; nothing of it writes"
        return Reason.FENCED, message, True
    if now.phase is FencePhase.LIFTING:
        message = f"fence {now.generation}: its host is proven clean; its entries are being removed"
        return Reason.LIFTING, message, False
    return Reason.NOT_FENCED, f"fence {now.generation} is lifted; the host is back", False
