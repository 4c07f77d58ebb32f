"""What the agent writes into its part of its Node."""

from collections.abc import Mapping
from dataclasses import replace

from respawn.decide.agent.carry_out import CREATES
from respawn.model.conditions import Reason
from respawn.model.host import DomainState, HostView, Look
from respawn.model.node import HostStatus, Node, Registration, ReportState, ServerReport
from respawn.model.placement import Phase
from respawn.model.server import Server


def registered(view: HostView, node: Node) -> Registration:
    """This boot's registration, over the one just read.

    Addresses of the same boot add up: what was ever used by it stays covered by a fence.
    """
    me, before = view.me, node.registration
    addresses = me.storage
    if before is not None and before.boot_id == me.boot_id:
        addresses = tuple(dict.fromkeys((*before.addresses, *me.storage)))
    return Registration(me.machine_id, me.boot_id, addresses)


def status(view: HostView, node: Node, details: Mapping[str, ServerReport]) -> HostStatus:
    """All of `status.host` as it should be, over the node just read. `details` by UID."""
    before = node.host
    mine = registered(view, node)
    same_boot = before.registration is not None and before.registration.boot_id == mine.boot_id
    said = replace(
        before,
        registration=mine,
        clean_generation=before.clean_generation if same_boot else 0,
        policy_generation=view.policy_generation,
        timings=view.timings,
        storage_failing=view.storage_failing,
        hypervisor_failing=view.hypervisor_failing,
        heart_failing=view.heart_failing,
    )
    if not view.scanned:
        # An agent that was just started does not take back what the one before it said: nobody
        # has ended because of that. What another boot said is over.
        return replace(said, servers=before.servers if same_boot else ())
    return replace(said, capacity=view.capacity, servers=servers(view, node, details))


def servers(
    view: HostView, before: Node, details: Mapping[str, ServerReport]
) -> tuple[ServerReport, ...]:
    """A report for every server that is here, should be, or was proven ended; over the last one."""
    uids = sorted({*view.servers, *view.looks})
    reports = (
        report(view, uid, details.get(uid)) or _not_looked_at(view, before, uid) for uid in uids
    )
    return tuple(_remembering(before, r) for r in reports if r is not None)


def _not_looked_at(view: HostView, before: Node, uid: str) -> ServerReport | None:
    """What was said of one that should be here stands until it has been looked at."""
    server = view.servers.get(uid)
    if server is None or uid in view.looks or server.here != view.me.node:
        return None
    p = server.placement
    return before.report(uid, p.epoch) if p.boot_id == view.me.boot_id else None


def _remembering(before: Node, fresh: ServerReport) -> ServerReport:
    """With the addresses this epoch was last said to have, until they are heard again: an agent
    that has just been started has heard none yet.
    """
    told = before.report(fresh.uid, fresh.epoch)
    if told is None or fresh.addresses or fresh.state in (ReportState.FAILED, ReportState.ENDED):
        return fresh
    return replace(fresh, addresses=told.addresses)


def report(view: HostView, uid: str, details: ServerReport | None) -> ServerReport | None:
    """What to say of one server; None: nothing."""
    server, look = view.servers.get(uid), view.looks.get(uid)
    if look is not None and look.domain is not None:
        return _of_domain(look, look.domain.epoch, details)
    if server is None or server.here != view.me.node or look is None:
        return None
    if server.placement.boot_id != view.me.boot_id:
        return None
    return _of_absent(view, server)


def _of_domain(look: Look, epoch: int, details: ServerReport | None) -> ServerReport:
    states = {
        DomainState.STARTING: ReportState.STARTING,
        DomainState.PAUSED: ReportState.PAUSED,
        DomainState.INCOMING: ReportState.STARTING,
    }
    state = states.get(look.state or DomainState.RUNNING, ReportState.RUNNING)
    reason = _why_paused(look) if state is ReportState.PAUSED else ""
    base = ServerReport(look.uid, epoch, state, reason)
    if details is None or details.epoch != epoch:
        return base
    return replace(details, state=state, reason=reason)


def _why_paused(look: Look) -> str:
    return Reason.PAUSED if look.paused_by_us else Reason.SUSPENDED


def _of_absent(view: HostView, server: Server) -> ServerReport | None:
    uid, epoch = server.uid, server.placement.epoch
    if view.ended.get(uid) == epoch and server.placement.phase is Phase.REVOKED:
        return ServerReport(uid, epoch, ReportState.ENDED)
    if server.placement.phase is not Phase.PLACED or (uid, epoch) in view.creating:
        return None
    seen = view.exits.get(uid)
    if seen is not None and seen.epoch == epoch:
        return ServerReport(uid, epoch, ReportState.FAILED, seen.reason, seen.message)
    if (uid, epoch) in view.admitted:
        # It was started in this boot and is gone; nobody saw how.
        return ServerReport(uid, epoch, ReportState.FAILED, Reason.VANISHED)
    if view.failures.get((uid, epoch), 0) >= CREATES:
        return ServerReport(uid, epoch, ReportState.FAILED, Reason.START_FAILED)
    return None
