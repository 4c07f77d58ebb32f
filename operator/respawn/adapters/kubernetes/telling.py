"""What a status write tells people: `kubectl describe` alone shows what happened. Pure.

Each event has a key made of what it is about (an epoch, a fence, the moment a condition
changed), so that it is told once, whichever operator tells it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from respawn.model.conditions import Condition, Reason, Type, find
from respawn.model.node import Fence, FencePhase, Node
from respawn.model.placement import Phase, Proof
from respawn.model.server import Recovery, Server


@dataclass(frozen=True, slots=True)
class Told:
    """One event about an object."""

    about: Mapping[str, Any]
    reason: str
    message: str
    warning: bool = False
    key: str = ""


def reference(value: Server | Node) -> dict[str, Any]:
    """As much of the object as an event needs."""
    kind = "VirtualServer" if isinstance(value, Server) else "Node"
    metadata = {"name": value.name, "uid": value.uid}
    if isinstance(value, Server):
        metadata["namespace"] = value.namespace
    return {"apiVersion": "respawn.dev/v1alpha1", "kind": kind, "metadata": metadata}


# Servers.


def about_server(before: Server, after: Server) -> Iterator[Told]:
    """What became of a server by one write of its status."""
    about = reference(after)
    was, now = before.placement, after.placement
    if (was.phase, was.epoch) != (now.phase, now.epoch):
        reason, message, warning = _moved(before, after)
        yield Told(about, reason, message, warning, key=f"{now.phase}/{now.epoch}")
    yield from _ran(about, before, after)
    yield from _waits(about, before, after)


def _moved(before: Server, after: Server) -> tuple[str, str, bool]:
    was, now = before.placement, after.placement
    if now.phase is Phase.PLACED:
        ended = f"; {_proven(now.proof)} of epoch {was.epoch}" if now.proof else ""
        return Reason.PLACED, f"on {now.node} as epoch {now.epoch}{ended}", False
    if now.phase is Phase.REVOKED:
        return _revoked(after)
    if now.phase is Phase.FREE:
        message = f"{_proven(now.proof)} of epoch {now.epoch} on {was.node}"
        return "Stopped", message, False
    return Reason.DELETING, "nothing of it runs any more: its images go to the trash", False


def _revoked(after: Server) -> tuple[str, str, bool]:
    now, setback = after.placement, after.status.setback
    if setback is None or setback.epoch != now.epoch:
        grace = f", {now.grace:g} s to shut down" if now.grace else ""
        return Reason.STOPPING, f"epoch {now.epoch} on {now.node}{grace}", False
    record = after.status.recovery
    seen = f", last seen {_clock(record.last_seen)}" if record and record.last_seen else ""
    message = f"epoch {now.epoch} on {now.node}{seen}; it is started again once its end is proven"
    return setback.reason, message, True


def _proven(proof: Proof | None) -> str:
    if proof is None:
        return "the end"
    banned = f", {len(proof.lockers)} clients blocklisted" if proof.lockers else ""
    fence = f" {proof.fence_generation}" if proof.fence_generation is not None else ""
    return f"the end is proven ({proof.kind}{fence}{banned})"


def _ran(about: Mapping[str, Any], before: Server, after: Server) -> Iterator[Told]:
    epoch, node = after.placement.epoch, after.placement.node
    old, record = before.status.recovery, after.status.recovery
    if old is not None and old.open and record is not None and not record.open:
        message = f"runs on {node} as epoch {epoch}: {timeline(record)}"
        yield Told(about, Reason.RECOVERED, message, key=f"recovered/{epoch}")
    elif _became(before.status.conditions, after.status.conditions, Type.RUNNING):
        yield Told(about, Reason.RUNNING, f"on {node} as epoch {epoch}", key=f"running/{epoch}")


def timeline(record: Recovery) -> str:
    """The recovery in one line: moments as seconds after the first that is known."""
    names = ("last_seen", "suspected", "decided", "fenced", "placed", "started")
    moments = [(name, at) for name in names if (at := getattr(record, name)) is not None]
    if not moments:
        return record.reason
    (first, start), *rest = moments
    parts = (f"{name} +{(at - start).total_seconds():.1f} s" for name, at in rest)
    told = [f"{first.replace('_', ' ')} {_clock(start)}", *parts]
    by = f" by {record.proof}" if record.proof else ""
    return f"{record.reason} on {record.from_node}{by}; {', '.join(told)}"


_WAITS = frozenset(
    {
        *(Reason.UNKNOWN_POOL, Reason.POOL_NOT_READY, Reason.UNKNOWN_IMAGE, Reason.IMAGE_NOT_READY),
        *(Reason.IMAGE_LARGER_THAN_DISK, Reason.DISK_FAILED, Reason.NO_HOST_FITS),
        *(
            Reason.NETWORKS_COME_LATER,
            Reason.WAITING_FOR_OWN_HOST,
            Reason.FOREIGN_CLIENT,
            Reason.EPOCH_BEHIND_IMAGE,
        ),
        *(Reason.BACK_OFF, Reason.AGENT_DOWN, Reason.PAUSED, Reason.PROTECTED, Reason.MALFORMED),
    }
)
"""Reasons of Ready that somebody should hear about."""


def _waits(about: Mapping[str, Any], before: Server, after: Server) -> Iterator[Told]:
    was, now = (find(s.status.conditions, Type.READY) for s in (before, after))
    if now is None or now.reason not in _WAITS or (was and was.reason == now.reason):
        return
    key = f"{now.reason}/{after.placement.epoch}/{now.message}"
    yield Told(about, now.reason, now.message, True, key=key)


# Nodes.


def about_node(before: Node, after: Node) -> Iterator[Told]:
    """What became of a node by one write of its status."""
    about = reference(after)
    was, now = before.fence, after.fence
    if (was.phase, was.generation) != (now.phase, now.generation):
        reason, message, warning = _fence(now)
        yield Told(about, reason, message, warning, key=f"{now.phase}/{now.generation}")
    ready = find(after.conditions, Type.READY)
    if ready is None or ready.reason not in list(FencePhase):  # those were just told
        yield from about_ready(about, before.conditions, after.conditions)


def _fence(now: Fence) -> tuple[str, str, bool]:
    told = ", ".join(now.addresses)
    if now.phase is FencePhase.FENCING:
        why = f"fence {now.generation} because of {now.reason}"
        return Reason.FENCING, f"{why}: {told} are being blocklisted", True
    if now.phase is FencePhase.FENCED:
        message = f"fence {now.generation}: {told} read back as blocklisted; nothing of it writes"
        return Reason.FENCED, message, True
    if now.phase is FencePhase.LIFTING:
        message = f"fence {now.generation}: its host is proven clean; its entries are being removed"
        return Reason.LIFTING, message, False
    return Reason.NOT_FENCED, f"fence {now.generation} is lifted; the host is back", False


# All kinds.


def about_ready(
    about: Mapping[str, Any], before: tuple[Condition, ...], after: tuple[Condition, ...]
) -> Iterator[Told]:
    """A change of the condition Ready."""
    was, now = find(before, Type.READY), find(after, Type.READY)
    if now is None or (was and (was.status, was.reason) == (now.status, now.reason)):
        return
    key = f"ready/{now.status}/{now.reason}/{now.last_transition}"
    message = now.message or f"Ready is {now.status}"
    yield Told(about, now.reason, message, now.status != "True", key=key)


def _became(
    before: tuple[Condition, ...], after: tuple[Condition, ...], kind: Type
) -> bool:  # fmt: skip
    was, now = find(before, kind), find(after, kind)
    return now is not None and now.status == "True" and (was is None or was.status != "True")


def _clock(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%S}Z" if moment else "never"
