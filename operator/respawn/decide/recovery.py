"""Bringing servers back: setbacks and back-off, priority waves, and the timeline."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain

from respawn.decide import grounds, liveness, moments
from respawn.model.base import Now
from respawn.model.conditions import Reason, Type, find, is_true
from respawn.model.node import Node, ServerReport
from respawn.model.placement import Phase
from respawn.model.server import Recovery, RecoveryMode, RunPolicy, Server, Setback
from respawn.model.sight import Sight
from respawn.model.world import World

HOST_REASONS = frozenset(
    {Reason.HOST_LOST, Reason.HOST_REBOOTED, Reason.HOST_FENCED, Reason.STORAGE_LOST}
)
"""Setbacks that are the host's fault, not the server's."""

FORGET_AFTER = timedelta(minutes=2)
"""A server that ran this long before its next setback begins a new row."""

AT_ONCE = 2
"""Setbacks in a row after which it is started without delay: in place, then elsewhere."""
FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=10), timedelta(minutes=5)
"""Then it waits, twice as long each time."""

WAVE_LIMIT = timedelta(seconds=30)
"""How long servers of higher priority may hold up the rest."""


def setback(server: Server, node: str, reason: str, now: datetime, message: str = "") -> Setback:
    """What to record when an instance ended unwanted, counted in a row."""
    before = server.status.setback
    count = 1
    if before is not None and reason not in HOST_REASONS and before.reason not in HOST_REASONS:
        ran_since = retry_at(before) or before.at
        in_a_row = now - ran_since < FORGET_AFTER and not _changed_since(server, before)
        count = before.count + 1 if in_a_row else 1
    return Setback(server.placement.epoch, node, reason, now, count, message, server.generation)


def _changed_since(server: Server, last: Setback) -> bool:
    """Whether its owner has changed its spec since: that may have mended it."""
    return 0 < last.generation < server.generation


def retry_at(last: Setback | None) -> datetime | None:
    """When the next start is due: at once in place, at once elsewhere, then ever later."""
    if last is None or last.count <= AT_ONCE or last.reason in HOST_REASONS:
        return None
    doublings = min(last.count - AT_ONCE - 1, 20)
    return last.at + min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)


def still_due(server: Server, now: datetime) -> timedelta | None:
    """How long the next start has to wait, None: it need not."""
    last = server.status.setback
    due = None if last is None or _changed_since(server, last) else retry_at(last)
    left = due - now if due is not None else timedelta()
    # No delay is longer: one that seems so was written by a clock that was ahead, or is now behind.
    return left if timedelta() < left <= LONGEST_DELAY else None


def completed(server: Server) -> bool:
    """Whether the guest ended by itself, and its run policy says that this was it.

    Only its last incarnation counts: one that was started since is not to be stopped for it.
    """
    last = server.status.setback
    return (
        server.spec.run_policy is RunPolicy.RERUN_ON_FAILURE
        and last is not None
        and last.reason == Reason.GUEST_SHUTDOWN
        and last.epoch == server.placement.epoch
    )


def only_node(server: Server) -> str | None:
    """The one host a server without recovery must wait for, after that host was lost."""
    last = server.status.setback
    if server.spec.recovery is RecoveryMode.NONE and last and last.reason in HOST_REASONS:
        return last.node
    return None


def home(server: Server) -> str | None:
    """The host to restart in place on: the first time that the server, not its host, failed.

    A guest that powered off by itself says nothing against its host, however often it does.
    """
    last = server.status.setback
    if last is None or last.reason in HOST_REASONS:
        return None
    return last.node if last.count == 1 or last.reason == Reason.GUEST_SHUTDOWN else None


def avoid(server: Server) -> str | None:
    """The host that the next start should rather not be on."""
    last = server.status.setback
    return last.node if last is not None and home(server) is None else None


def opened(world: World, server: Server, node: Node | None, reason: str, now: Now) -> Recovery:
    """The timeline's beginning, written with the revocation.

    What fails on the way back from a lost host belongs to that recovery: for the customer the
    server has been down since then.
    """
    before = server.status.recovery
    if before is not None and before.open and before.reason in HOST_REASONS:
        return before
    name = node.name if node else server.placement.node or ""
    record = Recovery(reason=reason, from_node=name, decided=now.wall)
    sight = world.sights.get(name, Sight())
    if reason == Reason.HOST_REBOOTED:  # nobody suspected it
        heard = sight.last_of(server.placement.boot_id)
        return replace(record, last_seen=heard.seen if heard else None)
    if node is None or reason not in (Reason.HOST_LOST, Reason.STORAGE_LOST):
        return record
    timings = liveness.timings_for(world, node)
    seen = moments.last_seen(sight, storage=reason == Reason.STORAGE_LOST)
    missed = seen and seen + timedelta(seconds=liveness.suspect_after(timings))
    return replace(record, last_seen=seen, suspected=missed)


def closed(record: Recovery | None, report: ServerReport, now: Now) -> Recovery | None:
    """The timeline's end, once the server was observed running; None when nothing is new."""
    if record is None or not record.open:
        return None
    return replace(record, started=report.started or now.wall, ready=now.wall)


def waits_for(world: World, server: Server, now: Now) -> Server | None:
    """A server of higher priority whose wave has not ended; it goes first.

    A wave ends for a member that is started, has failed once, cannot be started, or is 30 s old.
    """
    mine = server.status.recovery
    if mine is None or not mine.open or mine.reason not in HOST_REASONS:
        return None
    others = (world.servers[uid] for uid in sorted(world.recovering) if uid in world.servers)
    under_way = (o for o in others if _is_recovering(o, now))
    # Of one host, those that are not revoked yet as well: it is not the order in which that
    # happens that counts.
    lost_too = (o for o in world.here(mine.from_node) if _is_lost(world, o, now))
    ahead = chain(under_way, lost_too if _recent(mine, now) else ())
    return next((o for o in ahead if _outranks(o, server)), None)


def _is_recovering(other: Server, now: Now) -> bool:
    record = other.status.recovery
    if record is None or not record.open or record.reason not in HOST_REASONS:
        return False
    return _recent(record, now) and not _failed_once(other)


def _recent(record: Recovery, now: Now) -> bool:
    # By another operator's clock, maybe, and that one may be ahead.
    return abs(now.wall - (record.decided or now.wall)) <= WAVE_LIMIT


def _is_lost(world: World, other: Server, now: Now) -> bool:
    """Whether its host is lost, and it is about to be revoked."""
    placement, node = other.placement, world.nodes.get(other.placement.node or "")
    if placement.phase is not Phase.PLACED or node is None:
        return False
    return grounds.loss(world, node, placement.boot_id, now) is not None


def _outranks(other: Server, server: Server) -> bool:
    gives_way = (
        other.deleting
        or other.spec.run_policy is RunPolicy.HALTED
        or other.spec.recovery is RecoveryMode.NONE
        or _cannot_start(other)
    )
    return not gives_way and other.spec.priority > server.spec.priority


def _failed_once(server: Server) -> bool:
    last = server.status.setback
    return last is not None and last.reason not in HOST_REASONS


def _cannot_start(server: Server) -> bool:
    """It waits for capacity, or for its owner to change something."""
    placed = find(server.status.conditions, Type.PLACED)
    full = placed and placed.status == "False" and placed.reason == Reason.NO_HOST_FITS
    return bool(full) or is_true(server.status.conditions, Type.STALLED)
