"""One step for one server: disks -> place -> run -> stop, Halted or delete, and back again.

Each phase of the placement has a function of its own; it answers with at most one step. `starting`
has the way into Placed, this file the rest.
"""

from dataclasses import replace

from respawn.decide import case as cases
from respawn.decide import grounds, hearsay, liveness, proof, recovery, situations, starting
from respawn.decide.case import PATIENCE, Case, Wish, set_free
from respawn.decide.conditions import Situation
from respawn.model.actions import (
    BanClients,
    Decision,
    Protect,
    Report,
    Revoke,
    Step,
    TrashDisks,
    Unprotect,
)
from respawn.model.base import Key, Kind, Now
from respawn.model.conditions import Reason, known
from respawn.model.node import FencePhase, Node, ReportState, ServerReport
from respawn.model.placement import Phase
from respawn.model.server import Recovery, Server
from respawn.model.world import World

FIRST_RETRY: dict[str, float] = {Reason.FOREIGN_CLIENT: 3.0}
"""Seconds until a step that was refused for that reason is tried again the first time, and twice as
long each time; other reasons, and in the end this one, are looked at with patience."""


def decide(world: World, server: Server, now: Now) -> Decision:
    """The next step for `server`, or none and when to look again."""
    case = cases.of(world, server, now)
    trouble = world.trouble.get(str(Key(Kind.SERVER, server.uid)))
    decision = PHASES[server.placement.phase](case)
    if trouble is None or decision.step is None or isinstance(decision.step, Report | Revoke):
        return decision
    first = FIRST_RETRY.get(trouble.reason, PATIENCE)
    again = trouble.at + min(first * 2 ** min(trouble.times - 1, 10), PATIENCE)
    if now.mono >= again:
        return decision
    s = replace(
        situations.waiting(case, trouble.reason, trouble.message), phase=server.placement.phase
    )
    return case.do(None, s, next_check=again)


# Placed: an instance may exist. Watch it, or revoke it.


def _placed(case: Case) -> Decision:
    server, node = case.server, case.node
    if node is None:
        message = f"there is no Node {server.placement.node}; create it again"
        return case.do(None, situations.here(case, "Unknown", Reason.NOT_REGISTERED, message))
    lost = grounds.loss(case.world, node, server.placement.boot_id, case.now)
    if lost is not None:
        return _revoke(case, node, lost)
    if case.wish is not Wish.RUN:
        return _stop(case)
    report = node.report(server.uid, case.epoch)
    if report is not None and report.state is ReportState.FAILED:
        return _revoke(case, node, known(report.reason, Reason.VANISHED), report.message)
    if not case.server.protected_by_us and not case.server.deleting:
        # safety: without it a deletion would leave the server running, and nobody to end it.
        why = "somebody took our finalizer away"
        return case.do(Protect(case.uid, case.epoch, why), situations.starting(case, node))
    return _watch(case, node, report)


def _revoke(case: Case, node: Node, reason: Reason, detail: str = "") -> Decision:
    """The instance ended, or its host did: nobody may be admitted any more."""
    server, now = case.server, case.now
    setback = recovery.setback(server, node.name, reason, now.wall, detail)
    hosts_fault = reason in recovery.HOST_REASONS
    record: Recovery | None = recovery.opened(case.world, server, node, reason, now)
    after = replace(server, status=replace(server.status, setback=setback))
    wish = cases.wish_of(after)
    if wish is not Wish.RUN:
        record = None
    why = f"{reason} on {node.name}" + (f": {detail}" if detail else "")
    # safety: revoking only forbids; what may follow needs a proof begun after it (R1). A server
    # whose host is lost has no time for an orderly shutdown.
    step = Revoke(case.uid, case.epoch, why, 0.0, setback, record)
    told = situations.revoked(replace(case, server=after, wish=wish), node.name)
    return case.do(step, replace(told, recovery=record), urgent=hosts_fault)


def _stop(case: Case) -> Decision:
    grace = case.server.spec.shutdown_grace
    why = "it is to be deleted" if case.wish is Wish.DELETE else "it is to be halted"
    # safety: the user asked for it; the guest gets its grace, then its agent ends it.
    step = Revoke(case.uid, case.epoch, why, grace)
    return case.do(step, situations.revoked(case, case.server.placement.node or ""))


def _watch(case: Case, node: Node, report: ServerReport | None) -> Decision:
    world, server, now = case.world, case.server, case.now
    silence = hearsay.of(world, node, now) or hearsay.as_told(world, server, node, now)
    if silence is not None and (report is None or report.state is not ReportState.ENDED):
        return case.do(None, situations.unheard(case, report, silence))
    if report is None or report.state is ReportState.STARTING:
        return case.do(None, situations.starting(case, node))
    if report.state is ReportState.PAUSED:
        return case.do(None, situations.paused(case, report))
    if report.state is ReportState.ENDED:
        return _revoke(case, node, Reason.VANISHED)
    running = situations.here(case, "Running", Reason.RUNNING, f"on {node.name}")
    if case.server.deleting:
        message = "deletion.protected is true: set it to false to delete the server"
        return case.do(
            None, replace(running, stalled=True, reason=Reason.PROTECTED, message=message)
        )
    record = recovery.closed(case.server.status.recovery, report, case.now)
    return case.do(None, replace(running, ready=True, report=report, recovery=record))


# Revoked: nobody may be admitted; wait for a proof, or use it.


def _revoked(case: Case) -> Decision:
    server, node = case.server, case.node
    s = situations.revoked(case, server.placement.node or "")
    if not _provable(case):
        return _await_proof(case, _disputed(case, s))
    if case.wish is Wish.RUN and case.disks.startable:
        return starting.place(case, s)
    free = set_free(case, "its end is proven")
    return case.do(
        free, replace(s, phase=Phase.FREE), urgent=node is not None and situations.lost(server)
    )


def _disputed(case: Case, s: Situation) -> Situation:
    """A person's word is there, and not believed: that is what it waits for."""
    node, boot = case.node, case.server.placement.boot_id
    if node is None or not grounds.disputed(case.world, node, boot, case.now):
        return s
    return replace(s, reason=Reason.CONFIRMED_BUT_ALIVE, message=grounds.dispute(node, boot))


def _provable(case: Case) -> bool:
    if case.node is None:
        return False
    boot = case.server.placement.boot_id
    disputed = grounds.disputed(case.world, case.node, boot, case.now)
    if proof.by_host(case.server, case.node, disputed=disputed) is not None:
        return True
    state = liveness.verdict(case.world, case.node, case.now).state
    return state is liveness.State.REBOOTED


def _await_proof(case: Case, s: Situation) -> Decision:
    """While the fence is under way, its clients can be banned already: one round less later."""
    node = case.node
    if node is None or node.fence.phase is FencePhase.LIFTING:
        return case.do(None, s)
    fencing = node.fence.phase is FencePhase.FENCING or grounds.doom(case.world, node, case.now)
    if fencing and case.world.nonced.get(case.uid) != case.epoch:
        step = BanClients(case.uid, case.epoch, f"{node.name} is being fenced")
        return case.do(step, s, urgent=True)
    return case.do(None, s, awaits=(Key(Kind.NODE, node.name),))


# Deleted: the images go, then the object.


def _deleted(case: Case) -> Decision:
    if not case.server.protected_by_us:
        return Decision()
    if case.server.status.disks and not case.server.spec.retain_disks:
        step: Step = TrashDisks(case.uid, case.epoch, "the server is deleted")
    else:
        step = Unprotect(case.uid, case.epoch, "nothing of it is left")
    return case.do(step, situations.deleting(case))


PHASES = {
    Phase.FREE: starting.free,
    Phase.PLACED: _placed,
    Phase.REVOKED: _revoked,
    Phase.DELETED: _deleted,
}
