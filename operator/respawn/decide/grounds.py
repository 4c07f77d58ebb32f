"""Grounds for fencing a host, for holding back, and for letting it go: predicates, all of them."""

from collections.abc import Collection

from respawn.decide import brake, fence_table, liveness
from respawn.decide.liveness import State
from respawn.model.base import Now
from respawn.model.conditions import Reason, known
from respawn.model.node import FencePhase, Form, Node, Taint
from respawn.model.storage import Entry, brief, listed
from respawn.model.world import World

REASONS = {
    State.DEAD: Reason.HOST_LOST,
    State.UNRESPONSIVE_DEAD: Reason.HOST_LOST,
    State.STORAGE_LOST: Reason.STORAGE_LOST,
}


def obstacle(world: World, node: Node) -> tuple[Reason, str] | None:
    """Why this host cannot be fenced at all; None: it can."""
    addresses = set(node.storage_addresses)
    if not addresses:
        return Reason.NO_ADDRESSES, "declare spec.addresses.storage, or let its agent register"
    # safety: a fence never includes an address of a mon, OSD, operator or another host.
    owners = dict.fromkeys(world.protected or (), "Ceph or an operator") | {
        address: other.name
        for other in world.nodes.values()
        if other.name != node.name
        for address in _of_another(node, other)
    }
    shared = sorted(addresses & owners.keys())
    if shared:
        told = ", ".join(f"{a} also belongs to {owners[a]}" for a in shared)
        return Reason.ADDRESS_IN_USE, f"{told}: put spec.addresses right"
    if fence_table.clean_form(node.fence) is None:
        told = ", ".join(f"{t.form} by {t.owner}" for t in node.fence.tainted)
        message = f"a late removal may still arrive in every form ({told}); ends when they restart"
        return Reason.ALL_FORMS_TAINTED, message
    return None


def _of_another(node: Node, other: Node) -> Collection[str]:
    """Addresses that a fence of `node` must not hit because they are `other`'s.

    What an agent found on its own host is that host's. What somebody wrote into another Node is
    not believed against it: a slip there would keep this one, when it dies, from being fenced.
    """
    mine = node.registration.addresses if node.registration else ()
    theirs = other.registration.addresses if other.registration else ()
    written = (*other.spec.storage, *other.spec.management, *other.spec.migration)
    # An entry of two fences would end with the first that is lifted.
    entered = other.fence.addresses if other.fence.phase is not FencePhase.OK else ()
    return {*theirs, *entered, *(a for a in written if a not in mine)}


def held(world: World, node: Node, now: Now) -> Reason | None:
    """Why a condemned host is left alone for now; None: it is fenced, or not condemned."""
    if not liveness.verdict(world, node, now).condemned:
        return None
    # safety: before Ceph's maps were read nobody knows whom a fence would hit.
    if world.protected is None:
        return Reason.CEPH_UNPROVEN
    blocked = obstacle(world, node)
    return blocked[0] if blocked else brake.doubt(world, node, now)


def only_beginning(world: World) -> bool:
    """Whether this process has not heard Ceph yet, or read its maps: it has just begun."""
    return world.me.ceph_ok_at is None or world.protected is None


def hitch(world: World, node: Node, now: Now) -> str | None:
    """What will keep a host that is in doubt from being fenced when its time is over, as far as
    that can be seen now; None: nothing.
    """
    blocked = obstacle(world, node)
    if blocked is not None:
        return f"it cannot be fenced: {blocked[1]}"
    if brake.many_in_doubt(world, now):
        return "so many hosts are in doubt at once that they will be held, and not fenced"
    return None


def doom(world: World, node: Node, now: Now) -> Reason | None:
    """Why the servers on this host are to be revoked; None: they stay."""
    if node.fence.phase is not FencePhase.OK:
        # safety: the intent is on record, so the fence will be completed by somebody; revoking
        # proves nothing by itself (R1).
        return known(node.fence.reason, Reason.HOST_FENCED)
    # A verdict alone revokes nothing: the last look before the intent may find the host alive, and
    # its agent ends without grace what is revoked.
    rebooted = liveness.verdict(world, node, now).state is State.REBOOTED
    return Reason.HOST_REBOOTED if rebooted else None


def loss(world: World, node: Node, boot_id: str | None, now: Now) -> Reason | None:
    """Why what runs in that boot of the host is to be revoked; None: it stays."""
    doomed = doom(world, node, now)
    if doomed is not None:
        return doomed
    if confirmed(world, node, boot_id, now):
        return Reason.HOST_LOST
    registered = node.registration
    # safety: another boot of it has registered, so that one is over; revoking proves nothing yet.
    if registered is None or registered.boot_id == boot_id:
        return None
    return Reason.HOST_REBOOTED


def over(world: World, node: Node, now: Now) -> bool:
    """Whether a person's word that the boot which is registered has ended is believed."""
    registered = node.registration
    return registered is not None and confirmed(world, node, registered.boot_id, now)


def confirmed(world: World, node: Node, boot_id: str | None, now: Now) -> bool:
    """Whether a person said that this boot has ended, and nothing speaks against it."""
    named = boot_id is not None and boot_id in node.spec.ended_boots
    return named and not disputed(world, node, boot_id, now)


def disputed(world: World, node: Node, boot_id: str | None, now: Now) -> bool:
    """Whether a person said that this boot has ended, and it was seen to live since."""
    # safety: a word can be wrong, an advance that was seen cannot: what beats has not ended.
    named = boot_id is not None and boot_id in node.spec.ended_boots
    return named and liveness.lives_until(world, node, boot_id or "", now) is not None


def dispute(node: Node, boot_id: str | None) -> str:
    """The sentence for it."""
    return (
        f"spec.fencing.endedBoots of {node.name} says that boot {boot_id} has ended, but it gives "
        "signs of life: power the machine off, or take the boot ID out again"
    )


def banned_in(node: Node, listing: Collection[Entry]) -> Form | None:
    """The form in which one of the host's addresses is in the blocklist, if any."""
    for form in Form:
        if any(listed(listing, Entry(address, form)) for address in node.storage_addresses):
            return form
    return None


def looks_clean(world: World, node: Node, now: Now) -> bool:
    """The same, in this picture."""
    return clean(node, disputed=disputed(world, node, node.fence.boot_id, now))


def waits_with_lift(node: Node, listing: Collection[Entry]) -> str | None:
    """Why a host that is proven clean is not let in yet; None: it is."""
    if node.host.storage_failing and not node.gone:
        return "its storage can be reached again"
    if banned_briefly(node, listing):
        return "an entry of the blocklist that is not ours ends"
    return None


def banned_briefly(node: Node, listing: Collection[Entry]) -> bool:
    """Whether an entry of its addresses is listed that is not ours and ends by itself.

    What is in the fence's own form is ours, maybe an old one: that goes with the lift.
    """
    others = [form for form in Form if form is not node.fence.form]
    return any(brief(listing, Entry(a, form)) for a in node.fence.addresses for form in others)


def clean(node: Node, *, disputed: bool) -> bool:
    """S4: whether no instance of before the fence can be left on the host.

    `disputed`: the boot that is fenced was seen alive, so no person's word about it is believed.
    """
    # safety: a person's word for exactly the boot that is fenced: what ran in it is gone.
    if node.fence.boot_id in node.spec.ended_boots and not disputed:
        return True
    fence, registered = node.fence, node.registration
    # safety: the report is bound to this generation; another boot counts only of that machine.
    if registered is None or registered.machine_id != fence.machine_id:
        return False
    return node.host.clean_generation == fence.generation or registered.boot_id != fence.boot_id


def settled_taints(world: World, node: Node) -> frozenset[Taint]:
    """Taints whose `rm` can no longer arrive: mine that returned, my former lives'."""
    me = world.me
    returned = (node.uid, node.fence.generation) in me.lifts_returned
    return frozenset(
        t
        for t in node.fence.tainted
        # safety: that of this fence returned; one of an older fence, in that form, may not have.
        if (t.owner == me.owner and returned and (node.name, t.form) not in me.removals_lost)
        or (t.owner.name == me.owner.name and t.owner.incarnation != me.owner.incarnation)
    )
