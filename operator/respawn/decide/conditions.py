"""What a server's status tells, as a priority ladder over what was decided.

kstatus: Ready is "the spec is realised"; Reconciling while we work or wait; Stalled only when the
user must change something. A wait has a reason, and a message that says what would end it.
"""

from dataclasses import dataclass

from respawn.decide import pending
from respawn.decide.disks import DiskState
from respawn.model.actions import Outlook
from respawn.model.conditions import Condition, Reason, Status, Type
from respawn.model.endings import ending
from respawn.model.node import ReportState, ServerReport
from respawn.model.placement import Phase
from respawn.model.server import Recovery, Server


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a server is, in one word and in one sentence; `phase` after the step is carried out."""

    summary: str
    reason: str
    message: str
    phase: Phase
    node: str | None = None
    ready: bool = False
    stalled: bool = False
    report: ServerReport | None = None
    doubt: Status | None = None
    """What Ready and Running are when the last report can no longer be relied on."""
    recovery: Recovery | None = None
    """The timeline as it will be; None: as it is in the status."""


def outlook(server: Server, disks: DiskState, now_is: Situation, **more: bool) -> Outlook:
    """All conditions of a server in that situation."""
    report = now_is.report
    changes = pending.at_next_start(server) if now_is.phase is Phase.PLACED else ()
    return Outlook(
        phase=now_is.summary,
        conditions=tuple(
            Condition(kind, status, reason, message, server.generation)
            for kind, status, reason, message in (
                *_kstatus(now_is),
                _placed(now_is),
                _disks(disks, changes),
                _running(now_is),
                _guest(now_is),
                _recovering(server, now_is),
                _restart(changes),
            )
        ),
        addresses=report.addresses if report else (),
        recovery=now_is.recovery,
        clear_setback=more.get("clear_setback", False),
    )


Row = tuple[str, Status, str, str]


def _kstatus(s: Situation) -> tuple[Row, Row, Row]:
    working = not s.ready and not s.stalled
    idle = Reason.AS_SPECIFIED if s.ready else s.reason
    return (
        (Type.READY, s.doubt or ("True" if s.ready else "False"), s.reason, s.message),
        (
            Type.RECONCILING,
            "True" if working else "False",
            s.reason if working else idle,
            s.message if working else "",
        ),
        (
            Type.STALLED,
            "True" if s.stalled else "False",
            s.reason if s.stalled else Reason.NOT_NEEDED,
            s.message if s.stalled else "",
        ),
    )


def _placed(s: Situation) -> Row:
    if s.phase is Phase.PLACED:
        return Type.PLACED, "True", Reason.PLACED, f"on {s.node}"
    return Type.PLACED, "False", s.reason, s.message


def _disks(disks: DiskState, changes: tuple[str, ...]) -> Row:
    if disks.ready:
        return Type.DISKS_READY, "True", Reason.AS_SPECIFIED, ""
    if changes and not disks.stalled:
        return Type.DISKS_READY, "False", Reason.SPEC_CHANGED, "at the server's next start"
    if disks.reason is not None:
        return Type.DISKS_READY, "False", disks.reason, disks.message
    return Type.DISKS_READY, "False", Reason.PREPARING_DISKS, "images are being made"


def _running(s: Situation) -> Row:
    if s.doubt is not None:
        return Type.RUNNING, s.doubt, s.reason, s.message
    state = s.report.state if s.report else None
    if state is ReportState.RUNNING and s.phase is Phase.PLACED:
        return Type.RUNNING, "True", Reason.RUNNING, f"on {s.node}"
    return Type.RUNNING, "False", s.reason, s.message


def _guest(s: Situation) -> Row:
    heard = s.report is not None and s.phase is Phase.PLACED and s.doubt is None
    ready = s.report.guest_ready if s.report and heard else None
    if ready is None:
        message = "the guest does not tell" if s.phase is Phase.PLACED else "it does not run"
        return Type.GUEST_READY, "Unknown", Reason.UNKNOWN, message
    if ready:
        return Type.GUEST_READY, "True", Reason.ALIVE, "the guest says so"
    return Type.GUEST_READY, "False", Reason.SILENT, "the guest's agent has not answered yet"


def _restart(changes: tuple[str, ...]) -> Row:
    if not changes:
        return Type.RESTART_REQUIRED, "False", Reason.NOT_NEEDED, ""
    return Type.RESTART_REQUIRED, "True", Reason.SPEC_CHANGED, _after_restart(changes)


def _after_restart(changes: tuple[str, ...]) -> str:
    return f"{', '.join(changes)}: at its next start; set runPolicy to Halted and back for that"


def _recovering(server: Server, s: Situation) -> Row:
    record = s.recovery or server.status.recovery
    if record is None:
        return Type.RECOVERING, "False", Reason.NOT_NEEDED, ""
    if record.open and not s.ready:
        message = f"{ending(record.reason)} ({record.from_node})"
        return Type.RECOVERING, "True", record.reason, message
    return Type.RECOVERING, "False", Reason.RECOVERED, ""
