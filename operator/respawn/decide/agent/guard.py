"""Whether a domain may start: the hook's question, answered from two fresh reads.

The Node is read first and the server last (R2): were it the other way round, a fence could be
begun, used as a proof and lifted between the two, and an old epoch would run.
"""

from respawn.model.host import Ask, GuardAnswer, Identity
from respawn.model.node import FencePhase, Node
from respawn.model.server import Server
from respawn.model.storage import EpochMark

INCOMING = frozenset({"migrate", "restore"})
"""Operations that bring a running guest from elsewhere: nobody orders these."""


def check_ask(ask: Ask, me: Identity) -> GuardAnswer:
    """What needs no read: a start of this boot, by our own order."""
    if ask.operation in INCOMING:
        return _no(f"no {ask.operation} of {ask.uid} was ordered to this host")
    if ask.boot_id != me.boot_id:
        return _no(
            f"the domain is for boot {ask.boot_id}, this is boot {me.boot_id}: it was made on "
            "another host, or before a reboot; only Respawn starts its servers"
        )
    return _yes("asked by our own order")


def check_node(node: Node | None, me: Identity) -> GuardAnswer:
    """The first read. `node` None: there is no such Node."""
    # safety: without its Node there is no fence to see, so nothing starts here.
    if node is None:
        return _no(f"there is no Node {me.node}")
    if node.fence.phase is not FencePhase.OK:
        return _no(f"{me.node} is fenced ({node.fence.phase} {node.fence.generation})")
    registered = node.registration
    if registered is None or registered.boot_id != me.boot_id:
        return _no("this boot is not the one that is registered")
    # safety: what a person said of it is a proof already: nothing may start in it any more.
    if node.gone:
        return _no("spec.fencing.endedBoots says that this boot has ended; boot anew")
    # safety: an address that nobody declared or registered would not be covered by a fence.
    unknown = set(me.storage) - set(node.storage_addresses)
    if unknown or not me.storage:
        return _no(f"storage address {sorted(unknown) or 'none'} is not known to the Node")
    return _yes("the host may start servers")


def check_server(server: Server | None, ask: Ask, me: Identity) -> GuardAnswer:
    """The second and last read. `server` None: there is no such object."""
    if server is None or server.uid != ask.uid:
        return _no(f"there is no VirtualServer with UID {ask.uid}")
    # safety: R4, exactly one (UID, epoch, node, boot) may be admitted.
    if not server.placed_at(me.node, ask.epoch, me.boot_id):
        p = server.placement
        return _no(f"epoch {ask.epoch} is not placed here: {p.phase} {p.epoch} on {p.node}")
    return _yes(f"epoch {ask.epoch} is placed here")


def check_mark(mark: EpochMark | None, ask: Ask) -> GuardAnswer:
    """The epoch in the root image, read after the server; None: it has none."""
    # safety: S5. Whoever raised it is placed, or was, at a later epoch than this server as the API
    # has it: only an API that was restored from a backup believes in the earlier one still, and the
    # later instance may run.
    if mark is not None and mark.epoch > ask.epoch:
        return _no(
            f"its root image is at epoch {mark.epoch}, its placement at {ask.epoch}: if the "
            "control plane was restored from a backup, see docs/restore.md"
        )
    return _yes(f"its root image is not ahead of epoch {ask.epoch}")


def _yes(reason: str) -> GuardAnswer:
    return GuardAnswer(True, reason)


def _no(reason: str) -> GuardAnswer:
    return GuardAnswer(False, reason)
