"""What the agent does about one server: make what the API says true, and kill on nothing less.

The view comes from watches and looks, so every step here is a proposal: the executor reads the API
afresh before it creates, kills or reports an end. What the API does not say is no order: 404, an
older epoch, an unreadable API all mean hold (S5).
"""

from respawn.decide.agent import pause
from respawn.model.host import (
    ConfirmEnd,
    Create,
    DomainState,
    HostDecision,
    HostView,
    Incarnation,
    Kill,
    Look,
    Resume,
    ShutDown,
    Suspend,
)
from respawn.model.node import FencePhase, Node
from respawn.model.placement import Phase
from respawn.model.server import Server

RETRY_CREATE = 2.0
"""Seconds between two creates of one epoch that the hook or libvirt refused."""
CREATES = 3
"""Creates that may fail before the epoch is reported as failed."""
LOOK_AGAIN = 1.0
PRESS_AGAIN = 5.0
"""Seconds between two presses of a guest's power button: one that still boots misses the first."""

WAIT = HostDecision()


def decide(view: HostView, uid: str, now: float) -> HostDecision:
    """The next step about the server `uid` on this host."""
    server, look = view.servers.get(uid), view.looks.get(uid)
    if look is not None and look.domain is not None:
        return _present(view, server, look, look.domain, now)
    return _absent(view, server, look, now)


# No domain here.


def _absent(view: HostView, server: Server | None, look: Look | None, now: float) -> HostDecision:
    if server is None or server.here != view.me.node or look is None:
        return WAIT
    if look.processes:
        hold = "a QEMU without a domain has its UUID"
        return HostDecision(hold=hold, next_check=now + LOOK_AGAIN)
    epoch = server.placement.epoch
    if server.placement.phase is Phase.REVOKED:
        if view.ended.get(server.uid, 0) >= epoch or not _mine(view, server):
            return WAIT
        return HostDecision(ConfirmEnd(server.uid, epoch, "revoked, and absent"))
    return _start(view, server)


def untold(view: HostView, uid: str) -> int | None:
    """The epoch that was started here and should be here, and of whose end nobody has told yet.

    For a server that was just seen absent; None when there is nothing to ask about.
    """
    server = view.servers.get(uid)
    if server is None or server.placement.phase is not Phase.PLACED or not _mine(view, server):
        return None
    epoch = server.placement.epoch
    if (uid, epoch) not in view.admitted or (uid, epoch) in view.creating:
        return None
    seen = view.exits.get(uid)
    return None if seen is not None and seen.epoch == epoch else epoch


def _start(view: HostView, server: Server) -> HostDecision:
    epoch = server.placement.epoch
    started = (server.uid, epoch)
    # safety: an epoch that was admitted once is never created again: what died may still have a
    # write on its way, so it needs a new epoch after R7.
    if started in view.admitted or started in view.creating or not _mine(view, server):
        return WAIT
    if view.failures.get(started, 0) >= CREATES or not _usable(view.node, view):
        return WAIT
    return HostDecision(Create(server.uid, epoch, "placed here"))


def _mine(view: HostView, server: Server) -> bool:
    """Whether the placement is for this boot of this host."""
    p = server.placement
    return p.node == view.me.node and p.boot_id == view.me.boot_id


def _usable(node: Node | None, view: HostView) -> bool:
    return (
        node is not None
        and node.fence.phase is FencePhase.OK
        and node.registration is not None
        and node.registration.boot_id == view.me.boot_id
    )


# A domain is here.


def _present(
    view: HostView, server: Server | None, look: Look, domain: Incarnation, now: float
) -> HostDecision:
    if view.node is not None and view.node.fence.phase is FencePhase.FENCED:
        return _fenced(view.node, domain)
    if pause.is_banned(view) and _blocklist_counts(view):
        return HostDecision(Kill(domain.uid, domain.epoch, "this host is blocklisted"))
    if server is not None and must_end(server, domain, view.me.node):
        return _end(view, server, domain, now)
    if pause.must_pause(view, now):
        return _lost_contact(look, domain, now)
    if server is None or server.placement.epoch < domain.epoch:
        # safety: no object, or an older one, is no order to kill: the API may be restored from a
        # backup, or its CRD gone.
        hold = "the API does not know this incarnation; it is left alone"
        return _resume(view, look, domain, now) if look.paused_by_us else HostDecision(hold=hold)
    return _resume(view, look, domain, now)


def _fenced(node: Node, domain: Incarnation) -> HostDecision:
    """S4: before the host reports clean, *every* server of ours ends, Placed here or not."""
    # safety: their clients are poisoned, and the fence may be in use as a proof. Fencing alone is
    # only an intent, and ends nobody.
    why = f"this host is Fenced({node.fence.generation})"
    return HostDecision(Kill(domain.uid, domain.epoch, why))


def _blocklist_counts(view: HostView) -> bool:
    contact = view.contact
    return (
        contact.blocklist_at is not None
        and contact.ceph_since is not None
        and contact.blocklist_at >= contact.ceph_since
    )


def must_end(server: Server, domain: Incarnation, node: str) -> bool:
    """Whether the API, as given, says that this incarnation must not be.

    Used on the picture to propose, and on fresh reads to kill: a newer epoch, or this very epoch
    no longer Placed here.
    """
    p = server.placement
    if server.uid != domain.uid or p.epoch < domain.epoch:
        return False
    if p.epoch > domain.epoch:
        return True
    return p.phase is not Phase.PLACED or p.node != node or p.boot_id != domain.boot_id


def _end(view: HostView, server: Server, domain: Incarnation, now: float) -> HostDecision:
    p = server.placement
    this = (domain.uid, domain.epoch)
    if p.phase is not Phase.REVOKED or p.epoch != domain.epoch or not p.grace:
        return HostDecision(Kill(domain.uid, domain.epoch, f"the API says {p.phase} {p.epoch}"))
    begun = view.shutdowns.get(this)
    if begun is None:
        return HostDecision(ShutDown(domain.uid, domain.epoch, f"{p.grace:g} s of grace"))
    if now >= begun + p.grace:
        return HostDecision(Kill(domain.uid, domain.epoch, "its grace is over"))
    if now >= view.presses.get(this, begun) + PRESS_AGAIN:
        return HostDecision(ShutDown(domain.uid, domain.epoch, "asked again, within its grace"))
    return HostDecision(next_check=min(begun + p.grace, now + LOOK_AGAIN))


def _lost_contact(look: Look, domain: Incarnation, now: float) -> HostDecision:
    # A state that libvirt does not tell may be this one.
    if look.state in (DomainState.RUNNING, None):
        return HostDecision(Suspend(domain.uid, domain.epoch, "no contact with API nor Ceph"))
    return HostDecision(next_check=now + LOOK_AGAIN)


def _resume(view: HostView, look: Look, domain: Incarnation, now: float) -> HostDecision:
    """Only what the agent itself has paused runs on."""
    if look.state is DomainState.PAUSED and look.paused_by_us and pause.may_resume(view, now):
        return HostDecision(Resume(domain.uid, domain.epoch, "contact is back"))
    return HostDecision(next_check=pause.pause_due(view))
