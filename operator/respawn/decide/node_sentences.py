"""Words for what a node is thought to be, and for why a dead one is left alone."""

from collections.abc import Sequence

from respawn.decide.liveness import State
from respawn.model.conditions import Reason

SENTENCES = {
    State.UNKNOWN: (
        Reason.UNKNOWN,
        "its signs of life cannot be read by the operator (its Lease in the API, its heart in "
        "Ceph); ends when they can",
    ),
    State.API_LOST: (
        Reason.AGENT_DOWN,
        "its agent is down or cut off, its heart beats; its servers are left as they are: start "
        "respawn-agent, or mend its management network",
    ),
    State.REBOOTED: (Reason.HOST_REBOOTED, "it beats in Ceph with another boot ID"),
    State.STORAGE_DOUBT: (Reason.UNREACHABLE, "its heart in Ceph is silent, its agent is not"),
    State.CUT_OFF: (
        Reason.CUT_OFF_BUT_ALIVE,
        "its Lease and its heart are silent, but its libvirt answers: it is not fenced; mend its "
        "networks, or start respawn-agent and respawn-heart",
    ),
    State.UNRESPONSIVE: (Reason.UNRESPONSIVE, "only its kernel answers"),
    State.UNRESPONSIVE_RUNNING: (
        Reason.UNRESPONSIVE_BUT_RUNNING,
        "only its kernel answers, but its servers hold their disks: it is not fenced; look at it, "
        "or power it off",
    ),
    State.DEAD: (Reason.DEAD, "nothing of it answers"),
    State.UNRESPONSIVE_DEAD: (
        Reason.DEAD,
        "only its kernel answers, and its QEMUs hold no disks any more",
    ),
    State.STORAGE_LOST: (Reason.STORAGE_LOST, "it has lost its storage"),
}
CEPH_SILENT = (
    "Ceph does not answer the operator: whether its heart beats there cannot be read, and nothing "
    "can be fenced; look at Ceph (ceph -s), and at the operator's way to its monitors"
)
FENCES_NOBODY = "Ceph does not answer the operator, which can fence nobody until it does"
LIBVIRT_DOWN = (
    "its libvirtd does not answer its agent, its servers run on and nobody sees how: start libvirtd"
)
HEART_DOWN = "respawn-heart is silent there, and its agent beats for it: start respawn-heart"
NO_BEAT_YET = "its heart has not beaten in Ceph since it booted"
HELD = {
    Reason.TOO_MANY_HOSTS: "so many hosts failed at once that the fault may be elsewhere; "
    "kubectl describe respawnpolicy says how to go on",
    Reason.NO_OTHER_HEART: "no other host is heard in Ceph either; ends when one is",
    Reason.CEPH_UNPROVEN: "Ceph does not answer the operator itself either, or its maps have not "
    "been read yet; ends when it does",
    Reason.API_UNPROVEN: "the API server does not answer the operator; ends when it does",
    Reason.NOT_LEADER: "its operator's leadership ends",
}
"""Why a dead host is left alone, besides what stands in its way alone."""


def orphans(domains: Sequence[str]) -> str:
    """What is said of domains that run on a host and whose VirtualServer is gone."""
    return (
        f"{', '.join(domains)}: runs there, and its VirtualServer is gone, as after a removed "
        "finalizer or a restore of the API; it is left alone. If nobody needs it: virsh destroy "
        "it there, and see docs/restore.md otherwise"
    )
