"""S6: a host without contact pauses its servers before they could be started elsewhere.

Counted on the host's own monotonic clock, from the *begin* of the last acknowledged renewal or
beat, whichever is later, so the operator's clock can only be later.
"""

from respawn.model.host import HostView
from respawn.model.node import FencePhase
from respawn.model.policy import Timings
from respawn.model.storage import bans


def last_contact(view: HostView) -> float:
    """Begin of the last acknowledged sign of life."""
    return max(view.contact.renewed_at, view.contact.beaten_at)


def pause_due(view: HostView) -> float:
    """When servers must be paused unless contact is had before.

    An agent that begins after a long absence first tries to have contact: it pauses nobody for its
    own sake. It has half of what timings must leave between `pause_after` and `fence_after`.
    """
    due = last_contact(view) + view.timings.pause_after
    begun = view.contact.begun_at
    return due if begun is None else max(due, begun + first_try(view.timings))


def first_try(timings: Timings) -> float:
    """Seconds that a new agent may take for its first renewal or beat."""
    return max(0.5, timings.fence_after / 10) / 2


def must_pause(view: HostView, now: float) -> bool:
    """Whether contact has been lost for too long."""
    return now >= pause_due(view)


def is_banned(view: HostView) -> bool:
    """Whether Ceph's blocklist, as last read, names this host."""
    return any(bans(view.contact.blocklist, address) for address in view.me.storage)


def may_resume(view: HostView, now: float) -> bool:
    """Whether the host as a whole may let its paused servers run on.

    Whether one server is still its own is another question: `carry_out` asks it of the API, if it
    answers. A host that the API cannot reach is replaced only through the blocklist, so Ceph's
    word alone suffices then.
    """
    contact = view.contact
    if contact.ceph_since is None or contact.blocklist_at is None or must_pause(view, now):
        return False
    # safety: a blocklist read before contact came back may be older than the fence.
    if contact.blocklist_at < contact.ceph_since or is_banned(view):
        return False
    return not contact.api_answers or (
        view.node is not None and view.node.fence.phase is FencePhase.OK
    )
