"""Proofs that a revoked placement's instance can no longer write.

Used twice with the same words: by the decider on its picture, to see whether trying is worth it,
and by the executor on what it has just read, to know. Only the second counts (R1): every argument
of it was read after the server was read as Revoked.
"""

from datetime import datetime

from respawn.decide import fence_table
from respawn.model.node import Fence, FencePhase, Node, ReportState
from respawn.model.placement import Phase, Placement, Proof, ProofKind
from respawn.model.server import Server
from respawn.model.sight import Beat
from respawn.model.storage import Entry


def by_host(
    server: Server, node: Node | None, at: datetime | None = None, *, disputed: bool = False
) -> Proof | None:
    """A proof from the host's own status; `node` is the one the server was placed on.

    `disputed`: its boot was seen alive, so that no person's word about it is believed.
    A fence found here proves nothing until the blocklist was read again: see `fence_stands`.
    """
    p = server.placement
    # safety: R1. Whatever was seen of a server that is still Placed proves nothing.
    if p.phase is not Phase.REVOKED or node is None or node.name != p.node:
        return None
    if _ended(server, node):
        return Proof(ProofKind.ENDED, at, boot_id=p.boot_id)
    if _new_boot(p, node):
        registered = node.registration
        return Proof(ProofKind.NEW_BOOT, at, boot_id=registered.boot_id if registered else None)
    # safety: of a boot that is over nothing can come back, whatever its machine does later.
    if p.boot_id is not None and p.boot_id in node.spec.ended_boots and not disputed:
        return Proof(ProofKind.CONFIRMED, at, boot_id=p.boot_id)
    # safety: the fence of another machine, that has its name now, does not shut out the one that it
    # was placed on.
    if node.fence.machine_id != p.machine_id:
        return None
    # safety: Fencing is an intent; only Fenced was read back.
    if node.fence.phase is FencePhase.FENCED:
        return Proof(ProofKind.FENCED, at, fence_generation=node.fence.generation)
    return None


def _ended(server: Server, node: Node) -> bool:
    """(d) the agent of that very boot says that this epoch ended."""
    p, registered = server.placement, node.registration
    report = node.report(server.uid, p.epoch)
    return (
        report is not None
        and report.state is ReportState.ENDED
        and registered is not None
        and registered.boot_id == p.boot_id
    )


def _new_boot(p: Placement, node: Node) -> bool:
    """(c) another boot of the same machine is registered."""
    registered = node.registration
    return (
        registered is not None
        # safety: other hardware under the same name says nothing about the old machine.
        and registered.machine_id == p.machine_id
        and registered.boot_id != p.boot_id
    )


def by_heart(server: Server, first: Beat, second: Beat, at: datetime | None = None) -> Proof | None:
    """(c) from Ceph: another boot of the same machine is *beating*: `first`, then `second`.

    safety: one reading could be an old boot's last beat; only an advance shows that another boot
    lives now, and then the placed one does not.
    """
    p = server.placement
    same_machine = p.machine_id == first.machine_id == second.machine_id
    other_boot = first.boot_id == second.boot_id != p.boot_id
    if p.phase is Phase.REVOKED and same_machine and other_boot and first.counter < second.counter:
        return Proof(ProofKind.NEW_BOOT, at, boot_id=second.boot_id)
    return None


def fence_stands(fence: Fence, listing: frozenset[Entry]) -> bool:
    """Whether every entry of the fence is in the blocklist as just read."""
    return bool(fence.addresses) and fence_table.entries(fence) <= listing
