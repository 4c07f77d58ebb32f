"""What a status write tells people: `kubectl describe` alone shows what happened. Pure.

Each event has a key made of what it is about (an epoch, a fence, the moment a condition
changed), so that it is told once, whichever operator tells it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from respawn.decide import recovery
from respawn.model.conditions import Condition, Reason, Type, find
from respawn.model.endings import ended, ending
from respawn.model.node import Node
from respawn.model.placement import Phase, Placement, Proof, ProofKind
from respawn.model.server import Recovery, Server


@dataclass(frozen=True, slots=True)
class Told:
    """One event about an object."""

    about: Mapping[str, Any]
    reason: str
    message: str
    warning: bool = False
    key: str = ""
    order: str = ""
    """Sorts the events of one object that bear the same second."""


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
        order = f"{now.epoch:06d}-{_ORDER[now.phase]}"
        yield Told(about, reason, message, warning, f"{now.phase}/{now.epoch}", order)
    yield from _ran(about, before, after)
    yield from _waits(about, before, after)


_ORDER = {Phase.PLACED: 1, Phase.REVOKED: 4, Phase.FREE: 5, Phase.DELETED: 7}
"""Within an epoch. Running is 2; pauses and their ends are 3 and by time; other waits are 6."""
_AT_REST = (Reason.STOPPING, Reason.HALTED, Reason.COMPLETED, Reason.DELETING)
"""What else is free waits to start again."""
_PAUSES = (Reason.PAUSED, Reason.SUSPENDED)


def _while_placed(server: Server) -> str:
    return f"{server.placement.epoch:06d}-3-{moment(server.status.conditions)}"


def _moved(before: Server, after: Server) -> tuple[str, str, bool]:
    was, now = before.placement, after.placement
    if now.phase is Phase.PLACED:
        ended = f"; epoch {was.epoch} is over: {_proven(now.proof, was)}" if now.proof else ""
        return Reason.PLACED, f"starts on {now.node} (epoch {now.epoch}){ended}", False
    if now.phase is Phase.REVOKED:
        return _revoked(after)
    if now.phase is Phase.FREE:
        ready = find(after.status.conditions, Type.READY)
        rests = ready is not None and ready.reason in _AT_REST
        reason, what = ("Stopped", "off; ") if rests else ("Ended", "")
        return reason, f"{what}epoch {now.epoch} is over: {_proven(now.proof, was)}", False
    return Reason.DELETING, f"nothing of it runs any more; {_images(after)}", False


def _revoked(after: Server) -> tuple[str, str, bool]:
    now, setback = after.placement, after.status.setback
    if setback is None or setback.epoch != now.epoch:
        asked = f"its guest has {now.grace:g} s to shut down" if now.grace else "it is ended"
        return Reason.STOPPING, f"{asked} on {now.node} (epoch {now.epoch})", False
    record, seen = after.status.recovery, ""
    if record is not None and record.last_seen and record.open and record.reason == setback.reason:
        seen = f", last seen {_clock(record.last_seen)}"
    message = f"{ended(setback, f' (epoch {now.epoch} on {now.node}{seen})')}; "
    if recovery.completed(after):
        return setback.reason, message + "it stays off: runPolicy is RerunOnFailure", False
    return setback.reason, message + "it starts again once it is proven that it has ended", True


def _proven(proof: Proof | None, was: Placement) -> str:
    """Why nothing of the old epoch can write any more."""
    if proof is None:
        return "it has ended"
    why = {
        ProofKind.FENCED: f"{was.node} is fenced ({proof.fence_generation}), no write of it counts",
        ProofKind.POWERED_OFF: f"{was.node} is reported powered off",
        ProofKind.NEW_BOOT: f"{was.node} has booted anew",
        ProofKind.ENDED: f"the agent of {was.node} saw that it had ended",
        ProofKind.CONFIRMED: f"a person confirmed that this boot of {was.node} has ended",
    }[proof.kind]
    banned = f"; {len(proof.lockers)} of its Ceph clients blocklisted" if proof.lockers else ""
    return f"{why}{banned}"


def _images(server: Server) -> str:
    names = ", ".join(f"{disk.pool}/{disk.image}" for disk in server.status.disks if disk.exists)
    if not names:
        return "it has no images"
    return f"its images {'are kept' if server.spec.retain_disks else 'go to the trash'}: {names}"


def _ran(about: Mapping[str, Any], before: Server, after: Server) -> Iterator[Told]:
    epoch, node = after.placement.epoch, after.placement.node
    order = f"{epoch:06d}-2"
    old, record = before.status.recovery, after.status.recovery
    if old is not None and old.open and record is not None and not record.open:
        message = f"runs again on {node} (epoch {epoch}); {timeline(record)}"
        yield Told(about, Reason.RECOVERED, message, False, f"recovered/{epoch}", order)
    elif _became(before.status.conditions, after.status.conditions, Type.RUNNING):
        was = find(before.status.conditions, Type.READY)
        if was is not None and was.reason in _WAITS and _same_start(before, after):
            # Of each warning the end is told too, or it would be the last word about the server.
            again = "runs on after its pause" if was.reason in _PAUSES else "is known again to run"
            message = f"{again} on {node} (epoch {epoch})"
            since, order = moment(after.status.conditions), _while_placed(after)
            yield Told(about, Reason.RUNNING, message, False, f"running/{epoch}/{since}", order)
            return
        message = f"runs on {node} (epoch {epoch})"
        yield Told(about, Reason.RUNNING, message, False, f"running/{epoch}", order)


def _same_start(before: Server, after: Server) -> bool:
    was, now = before.placement, after.placement
    return (was.phase, was.epoch) == (now.phase, now.epoch)


def timeline(record: Recovery) -> str:
    """The recovery in one line: moments as seconds after the first that is known."""
    names = ("last_seen", "suspected", "decided", "fenced", "placed", "started", "ready")
    moments = [(name, at) for name in names if (at := getattr(record, name)) is not None]
    what = f"{ending(record.reason)} ({record.from_node})"
    if not moments:
        return what
    (first, start), *rest = moments
    begun = f"{first.replace('_', ' ')} {_clock(start)}"
    parts = (f"{name} +{(at - start).total_seconds():.1f} s" for name, at in rest)
    return f"{what}: {', '.join((begun, *parts))}"


_WAITS = frozenset(
    {
        *(Reason.UNKNOWN_POOL, Reason.POOL_NOT_READY, Reason.UNKNOWN_IMAGE, Reason.IMAGE_NOT_READY),
        *(Reason.IMAGE_LARGER_THAN_DISK, Reason.DISK_FAILED, Reason.NO_HOST_FITS),
        *(Reason.DISK_IN_OTHER_POOL, Reason.DISK_FROM_OTHER_SOURCE, Reason.DISK_LARGER_THAN_POOL),
        *(
            Reason.NETWORKS_COME_LATER,
            Reason.WAITING_FOR_OWN_HOST,
            Reason.FOREIGN_CLIENT,
            Reason.BANNED_BRIEFLY,
            Reason.CONFIRMED_BUT_ALIVE,
            Reason.EPOCH_BEHIND_IMAGE,
        ),
        *(
            Reason.BACK_OFF,
            Reason.AGENT_DOWN,
            Reason.UNREACHABLE,
            Reason.DEAD,
            Reason.PAUSED,
            Reason.SUSPENDED,
            Reason.PROTECTED,
            Reason.MALFORMED,
        ),
    }
)
"""Reasons of Ready that somebody should hear about."""


def _waits(about: Mapping[str, Any], before: Server, after: Server) -> Iterator[Told]:
    was, now = (find(s.status.conditions, Type.READY) for s in (before, after))
    if now is None or now.reason not in _WAITS or (was and was.reason == now.reason):
        return
    epoch, held = after.placement.epoch, after.placement.phase is Phase.PLACED
    # With its moment: a second pause of the same epoch is another one.
    key = f"{now.reason}/{epoch}/{now.message}/{now.last_transition}"
    yield Told(
        about,
        now.reason,
        now.message,
        True,
        key,
        _while_placed(after) if held else f"{epoch:06d}-6",
    )


# The policy.


def about_policy(
    about: Mapping[str, Any], before: tuple[Condition, ...], after: tuple[Condition, ...]
) -> Iterator[Told]:
    """What became of the policy: whether it is in force, and whether failover is held."""
    yield from about_ready(about, before, after)
    was, now = find(before, Type.FAILOVER_HELD), find(after, Type.FAILOVER_HELD)
    if now is None or (was.reason if was else Reason.NOT_NEEDED) == now.reason:
        return
    held, key = now.status == "True", f"held/{now.reason}/{now.last_transition}"
    reason, message = (now.reason, now.message) if held else _GOES_ON
    yield Told(about, reason, message, held, key)


_GOES_ON = ("FailoverGoesOn", "failover is held no longer")


# All kinds.

_WORK = frozenset({Reason.WORKING, Reason.IMPORTING})


def about_ready(
    about: Mapping[str, Any], before: tuple[Condition, ...], after: tuple[Condition, ...]
) -> Iterator[Told]:
    """A change of the condition Ready."""
    was, now = find(before, Type.READY), find(after, Type.READY)
    if now is None or (was and (was.status, was.reason) == (now.status, now.reason)):
        return
    if now.reason == Reason.FIRST_SIGNS_AWAITED or (was is None and now.status == "Unknown"):
        return  # nothing is known yet of what has just been made, or begins anew
    key = f"ready/{now.status}/{now.reason}/{now.last_transition}"
    message = now.message or ("it is ready" if now.status == "True" else "it is not ready")
    warning = now.status != "True" and now.reason not in _WORK
    order = f"{moment(after)}-{9 if now.status == 'True' else 0}"
    yield Told(about, now.reason, message, warning, key, order)


def _became(
    before: tuple[Condition, ...], after: tuple[Condition, ...], kind: Type
) -> bool:  # fmt: skip
    was, now = find(before, kind), find(after, kind)
    return now is not None and now.status == "True" and (was is None or was.status != "True")


def _clock(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%S}Z" if moment else "never"


def moment(conditions: tuple[Condition, ...]) -> str:
    """When Ready last changed, as a text that sorts; empty when it is unknown."""
    ready = find(conditions, Type.READY)
    return f"{ready.last_transition:%Y%m%d%H%M%S}" if ready and ready.last_transition else ""
