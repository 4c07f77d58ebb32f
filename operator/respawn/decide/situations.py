"""Where a server is, in the words that people read."""

from dataclasses import replace

from respawn.decide import grounds, liveness, recovery
from respawn.decide.case import Case, Wish
from respawn.decide.conditions import Situation
from respawn.decide.hearsay import Silence
from respawn.model.conditions import Reason, known
from respawn.model.endings import ended
from respawn.model.node import Node, ReportState, ServerReport
from respawn.model.placement import Phase
from respawn.model.server import RunPolicy, Server

OUT_OF_REACH = frozenset({liveness.State.API_LOST, liveness.State.CUT_OFF})
"""States of a host that may well run its servers, but takes no orders."""


FROZEN = frozenset({liveness.State.UNRESPONSIVE, liveness.State.UNRESPONSIVE_RUNNING})
"""States of a host that carries out nothing, and is left alone for a time."""


def revoked(case: Case, node: str) -> Situation:
    """One wording for the whole wait, so that a recovery is not a series of status writes."""
    server = case.server
    if case.wish is Wish.DELETE:
        return deleting(case)
    if case.wish is Wish.STOP:
        ends = f"is shut down on {node}{_grace(case)}; off once its end there is proven"
        message = _while_revoked(case, ends)
        return Situation("Stopping", Reason.STOPPING, message, Phase.REVOKED, node)
    last = server.status.setback
    if last is None or last.epoch != server.placement.epoch:
        message = f"starts again once its end on {node} is proven"
        return Situation("Restarting", Reason.RESTARTING, message, Phase.REVOKED, node)
    then = "starts again once its end there is proven"
    if last.reason == Reason.START_FAILED:
        then = "tried again once it is proven that nothing of it is left there"
    message = f"{ended(last, f' on {node}')}; {then}"
    return Situation("Recovering", last.reason, message, Phase.REVOKED, node)


def _grace(case: Case) -> str:
    """How long an orderly shutdown may take."""
    grace = case.server.placement.grace or case.server.spec.shutdown_grace
    return f" (its guest has {grace:g}s for it)" if grace else ""


def _while_revoked(case: Case, otherwise: str) -> str:
    """Who is being waited for, when its agent does not answer."""
    node = case.node
    if node is None:
        return otherwise
    if grounds.held(case.world, node, case.now) is not None:
        return f"waits for {node.name}, which looks dead and is not fenced: its Node says why"
    state = liveness.verdict(case.world, node, case.now).state
    if state in OUT_OF_REACH:
        return f"waits for the agent of {node.name}, which is down or cut off, or for its fence"
    if state in FROZEN:
        return f"waits for {node.name}, of which only the kernel answers: its Node says until when"
    return otherwise


def starting(case: Case, node: Node) -> Situation:
    """Placed, and not yet seen running."""
    state = liveness.verdict(case.world, node, case.now).state
    if state in OUT_OF_REACH:
        message = f"waits for the agent of {node.name}, which is down or cut off"
        return here(case, "Starting", Reason.AGENT_DOWN, message)
    return here(case, "Starting", Reason.STARTING, starting_on(node.name))


def paused(case: Case, report: ServerReport) -> Situation:
    """By its agent, because contact was lost; or by a person."""
    node = case.server.placement.node
    reason = known(report.reason, Reason.PAUSED)
    message = f"the agent of {node} has no contact: it runs on when Ceph or the API is back"
    if reason is Reason.SUSPENDED:
        message = f"somebody suspended its domain on {node}; virsh resume lets it run on"
    return replace(here(case, "Paused", reason, message), report=report)


def unheard(case: Case, report: ServerReport | None, silence: Silence) -> Situation:
    """Placed, and its host does not say (any more) what became of it."""
    ran = report is not None and report.state is not ReportState.STARTING
    summary = silence.summary if ran else "Starting"
    s = here(case, summary, silence.reason, silence.message)
    return replace(s, report=report, doubt=silence.status if ran else "False")


def starting_on(node: str) -> str:
    """The sentence for it."""
    return f"{node} starts it"


def working(case: Case, summary: str, reason: Reason = Reason.WORKING) -> Situation:
    """Free, and being prepared."""
    return Situation(summary, reason, "its disks and its start are prepared", Phase.FREE)


def waiting(case: Case, reason: str, message: str) -> Situation:
    """Not placed, for a reason; `message` says what ends it."""
    return Situation("Waiting", reason, message, Phase.FREE, case.server.placement.node)


def here(case: Case, summary: str, reason: str, message: str) -> Situation:
    """Placed where it is."""
    return Situation(summary, reason, message, Phase.PLACED, case.server.placement.node)


def deleting(case: Case) -> Situation:
    """On its way out."""
    phase = case.server.placement.phase
    kept = Phase.REVOKED if phase is Phase.PLACED else phase
    message = "waits until it has ended, then its images go to the trash"
    if kept is Phase.REVOKED:
        ends = f"waits until it has ended{_grace(case)}, then its images go to the trash"
        message = _while_revoked(case, ends)
    return Situation("Deleting", Reason.DELETING, message, kept, case.server.placement.node)


_COMPLETED = (
    "its guest has powered itself off; to start it again set runPolicy to Always, or to Halted and "
    "back to RerunOnFailure"
)


def at_rest(case: Case) -> Situation:
    """Not running, and rightly so."""
    halted = case.server.spec.run_policy is RunPolicy.HALTED
    reason = Reason.HALTED if halted else Reason.COMPLETED
    message = "runPolicy is Halted" if halted else _COMPLETED
    return Situation("Halted" if halted else "Completed", reason, message, Phase.FREE, ready=True)


def lost(server: Server) -> bool:
    """Whether its last instance ended by the fault of its host."""
    last = server.status.setback
    return last is not None and last.reason in recovery.HOST_REASONS
