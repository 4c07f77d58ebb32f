"""Whether a host is fenced, taken over, or let go: one step for one node.

Why and when; the moves themselves are `fence_table`. The rows below are tried in order.
"""

from collections.abc import Callable

from respawn.decide import fence_table, grounds, liveness, node_conditions
from respawn.model.actions import (
    ApplyFence,
    AskWitnesses,
    BeginFence,
    BeginLift,
    Decision,
    FinishLift,
    LookAtWatches,
    ProtectNode,
    ReportNode,
    RestoreFence,
    Step,
    TakeLift,
    UnprotectNode,
    Untaint,
)
from respawn.model.base import Now
from respawn.model.conditions import Reason
from respawn.model.node import FencePhase, Node
from respawn.model.world import World

HOLD_AGAIN = 0.5
"""Seconds until a held fence is thought over."""

FENCE_AGAIN = 5.0
"""Seconds until it is asked again whether a fence still stands."""


def decide(world: World, node: Node, now: Now) -> Decision:
    """The next step for `node`; None when there is nothing to do until `next_check`."""
    v = liveness.verdict(world, node, now)
    outlook = node_conditions.outlook(world, node, now)
    step: Step | None = None
    for row in ROWS:
        step = row(world, node, now)
        if step is not None:
            break
    urgent = isinstance(step, (BeginFence, ApplyFence, RestoreFence, AskWitnesses))
    next_check = v.next_check
    if grounds.held(world, node, now):
        next_check = now.mono + HOLD_AGAIN
    if node.fence.phase is FencePhase.FENCED:
        soon = now.mono + FENCE_AGAIN
        next_check = soon if next_check is None else min(next_check, soon)
    return Decision(step, next_check, outlook, urgent=urgent)


def stand_by(world: World, node: Node, now: Now) -> Decision:
    """What a process may do without leading: say that its own `rm` is no more.

    Nobody else can, and with every form tainted no host could be fenced.
    """
    return Decision(_untaint(world, node, now))


Row = Callable[[World, Node, Now], Step | None]


def _complete(world: World, node: Node, now: Now) -> Step | None:
    """Fencing: whoever wrote it, it is completed."""
    if node.fence.phase is not FencePhase.FENCING:
        return None
    return ApplyFence(node.name, node.fence.generation, "the fence was begun")


def _begin(world: World, node: Node, now: Now) -> Step | None:
    """OK, condemned, and nothing speaks against it: the intent."""
    if node.fence.phase is not FencePhase.OK:
        return None
    v = liveness.verdict(world, node, now)
    if not v.condemned or grounds.held(world, node, now) is not None or node.registration is None:
        return None
    boot = node.registration.boot_id
    return BeginFence(node.name, node.fence.generation, grounds.REASONS[v.state], boot)


def _ask(world: World, node: Node, now: Now) -> Step | None:
    v = liveness.verdict(world, node, now)
    if v.look:
        return LookAtWatches(node.name, node.fence.generation, "only its kernel answers")
    if v.ask:
        return AskWitnesses(node.name, node.fence.generation, "its signs of life are late")
    return None


def _blocklisted(world: World, node: Node, now: Now) -> Step | None:
    """OK and yet blocklisted (a late `add`, or a person): a fence like any other."""
    if node.fence.phase is not FencePhase.OK or node.registration is None:
        return None
    # safety: as for every fence; the executor would refuse it, again and again.
    if world.protected is None or grounds.obstacle(world, node) is not None:
        return None
    form = grounds.banned_in(node, world.blocklist or frozenset())
    if form is None or fence_table.clean_form(node.fence, form) != form:
        return None
    boot = node.registration.boot_id
    return BeginFence(node.name, node.fence.generation, Reason.BLOCKLISTED, boot)


def _lift(world: World, node: Node, now: Now) -> Step | None:
    if node.fence.phase is not FencePhase.FENCED or not grounds.looks_clean(world, node, now):
        return None
    if grounds.waits_with_lift(node, world.blocklist or frozenset()) is not None:
        return None  # it would be fenced again for that
    return BeginLift(node.name, node.fence.generation, "its host is proven clean")


def _restore(world: World, node: Node, now: Now) -> Step | None:
    """Somebody removed what the fence consists of: a person, a late `rm`, or time."""
    if node.fence.phase is not FencePhase.FENCED or world.blocklist is None:
        return None
    if not fence_table.gone(node.fence, world.blocklist):
        return None
    return RestoreFence(node.name, node.fence.generation, "entries of its fence are gone")


def _finish(world: World, node: Node, now: Now) -> Step | None:
    fence = node.fence
    if fence.phase is not FencePhase.LIFTING:
        return None
    if fence.owner == world.me.owner:
        return FinishLift(node.name, fence.generation, "the lift was begun")
    return TakeLift(node.name, fence.generation, f"{fence.owner} does not finish its lift")


def _untaint(world: World, node: Node, now: Now) -> Step | None:
    if not grounds.settled_taints(world, node):
        return None
    return Untaint(node.name, node.fence.generation, "those removals are certainly no more")


def _protect(world: World, node: Node, now: Now) -> Step | None:
    if node.deleting == node.protected_by_us and not node.deleting:
        return ProtectNode(node.name, node.fence.generation, "it may be fenced one day")
    # safety: with the object would go addresses, generation and taints of a fence.
    idle = node.fence.phase is FencePhase.OK and not node.fence.tainted
    # What is being placed there at this moment counts too: without its Node it could not start.
    idle = idle and not world.here(node.name) and node.name not in world.reserved.values()
    if node.deleting and node.protected_by_us and idle:
        return UnprotectNode(node.name, node.fence.generation, "nothing is placed or fenced there")
    return None


def _tell(world: World, node: Node, now: Now) -> Step | None:
    told = {c.type: c for c in node.conditions}
    fresh = node_conditions.outlook(world, node, now).conditions
    if all(c.same_as(told.get(c.type)) for c in fresh):
        return None
    return ReportNode(node.name, node.fence.generation, "conditions changed")


ROWS: tuple[Row, ...] = (
    *(_complete, _begin, _ask, _blocklisted),
    *(_finish, _lift, _restore, _untaint, _protect, _tell),
)
"""What matters most comes first."""
