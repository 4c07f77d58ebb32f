"""What the policy's status says: whether it is in force, and what it implies."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from respawn.decide import grounds
from respawn.decide.kstatus import kstatus, tells_more
from respawn.model.base import Now
from respawn.model.conditions import Condition, Reason, Type, find, merged
from respawn.model.node import FencePhase, Node
from respawn.model.policy import Policy, Timings
from respawn.model.world import World

COMMITS = 2.0
"""Seconds for what comes after the decision: Ceph commits the fence, and it is read back."""
MOST = 16
"""Generations that the status can hold."""


_HELD_BY = {
    Reason.TOO_MANY_HOSTS: "so many hosts failed at once that the fault may be elsewhere; "
    "look, then set spec.brake.releasedUntil to a time up to which failover goes on",
    Reason.NO_OTHER_HEART: "no other host is heard in Ceph either, so the fault may be on this "
    "side; ends when one is",
    Reason.CEPH_UNPROVEN: "Ceph does not answer the operator itself either; ends when it does",
    Reason.API_UNPROVEN: "the API server does not answer the operator either; ends when it does",
}
"""What may hold a failover for longer, and what to do about it."""


def worst_case(timings: Timings, leader_lease: float) -> float:
    """Seconds from a host's loss, and the leader's with it, to the first start elsewhere."""
    return timings.fence_after + timings.heartbeat + leader_lease + COMMITS


def enforced(world: World, told: Policy, leader_lease: float, now: Now) -> Policy | None:
    """The policy in force, as read (`told`), with the status it should have; None: it has it."""
    policy = world.policy
    rows = (
        *_standing(True, Reason.ENFORCED, "", policy.generation),
        _held(world, told, now),
    )
    wanted = replace(
        told,
        worst_case=worst_case(policy.timings, leader_lease),
        earlier=_still_obeyed(policy, world.nodes.values()),
        observed_generation=policy.generation,
    )
    if wanted == told and not tells_more(told.conditions, rows):
        return None
    return replace(wanted, conditions=merged(told.conditions, rows, now.wall))


def refused(policy: Policy, wall: datetime) -> Policy | None:
    """A policy that is not in force, with the status it should have; None: it has it."""
    message = (
        "these timings do not fit together, so those before them stay in force: pauseAfter must be "
        "at least 2 x leaseRenew and 4 x heartbeat, and fenceAfter later than pauseAfter"
    )
    reason = Reason.TIMINGS_UNSAFE
    rows = _standing(False, reason, message, policy.generation)
    if policy.observed_generation == policy.generation and not tells_more(policy.conditions, rows):
        return None
    told = merged(policy.conditions, rows, wall)
    return replace(policy, observed_generation=policy.generation, conditions=told)


def _standing(
    accepted: bool, reason: Reason, message: str, generation: int
) -> tuple[Condition, ...]:
    """Accepted, and the same as every kind says it: only its user can mend a refused policy."""
    return (
        Condition(Type.ACCEPTED, "True" if accepted else "False", reason, message, generation),
        *kstatus(
            ready=accepted,
            stalled=not accepted,
            reason=reason,
            message=message,
            generation=generation,
        ),
    )


def _held(world: World, told: Policy, now: Now) -> Condition:
    unfenced = [n for n in world.nodes.values() if n.fence.phase is FencePhase.OK]
    why = {node.name: grounds.held(world, node, now) for node in unfenced}
    generation = world.policy.generation
    before = find(told.conditions, Type.FAILOVER_HELD)
    was_held = before is not None and before.status == "True"
    if before is not None and was_held and any(why.values()) and grounds.only_beginning(world):
        return before  # its reason was the better one
    for reason, advice in _HELD_BY.items():
        held = sorted(name for name, found in why.items() if found == reason)
        if held:
            look = "looks" if len(held) == 1 else "look"
            late = _too_early(world.policy, now) if reason is Reason.TOO_MANY_HOSTS else ""
            message = f"{', '.join(held)} {look} dead, but {advice}{late}"
            return Condition(Type.FAILOVER_HELD, "True", reason, message, generation)
    if before is not None and was_held and any(_told_held(n) for n in unfenced):
        return before  # an operator that has just begun does not know better yet
    return Condition(Type.FAILOVER_HELD, "False", Reason.NOT_NEEDED, "", generation)


def _told_held(node: Node) -> bool:
    ready = find(node.conditions, Type.READY)
    return ready is not None and ready.reason in _HELD_BY


def _too_early(policy: Policy, now: Now) -> str:
    """A release that lies in the past does nothing, which its author may not have noticed."""
    until = policy.released_until
    if until is None or now.wall < until:
        return ""
    return f"; it is {until:%Y-%m-%dT%H:%M:%SZ} now, which lies in the past"


def _still_obeyed(policy: Policy, nodes: Iterable[Node]) -> dict[int, Timings]:
    """The timings of all generations that a host may still obey, and of this one.

    This one is among them so that it is known after the next change, whoever leads then.
    """
    known = {**policy.earlier, policy.generation: policy.timings}
    obeyed = [n.host.policy_generation for n in nodes if n.host.policy_generation > 0]
    oldest = min((*obeyed, policy.generation))
    kept = sorted(generation for generation in known if generation >= oldest)
    return {generation: known[generation] for generation in kept[-MOST:]}
