"""S4: when a fenced host may say that it is clean."""

from respawn.model.host import HostView
from respawn.model.node import FencePhase, Node


def pending(node: Node | None, boot_id: str) -> int | None:
    """The fence generation for which this boot owes a clean report, if any.

    A boot that is not the fenced one reports as well, though being another is proof enough.
    """
    if node is None or node.fence.phase is not FencePhase.FENCED:
        return None
    if node.registration is None or node.registration.boot_id != boot_id:
        return None
    if node.host.clean_generation == node.fence.generation:
        return None
    return node.fence.generation


def must_kill(view: HostView) -> tuple[str, ...]:
    """UIDs of every server that has a domain here: all of them go, Placed here or not."""
    # safety: a server whose failover is not written yet is still Placed here; unfenced, it would
    # be enabled again while the fence is held as a proof.
    return tuple(sorted(uid for uid, look in view.looks.items() if not look.absent))


def is_clean(present: tuple[str, ...], pool_processes: tuple[int, ...]) -> bool:
    """Nothing left: no domain of ours in any state, no QEMU with an image of a pool."""
    return not present and not pool_processes
