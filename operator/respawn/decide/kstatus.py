"""The three conditions that kubectl, Argo CD and Flux read of any kind."""

from respawn.model.conditions import Condition, Reason, Type


def kstatus(
    *, ready: bool, stalled: bool = False, reason: str, message: str, generation: int
) -> tuple[Condition, ...]:
    """Ready, Reconciling and Stalled. Stalled: only the user can change it."""
    working = not ready and not stalled
    idle = Reason.AS_SPECIFIED if ready else Reason.NOT_NEEDED
    return (
        Condition(Type.READY, "True" if ready else "False", reason, message, generation),
        Condition(
            Type.RECONCILING,
            "True" if working else "False",
            reason if working else idle,
            message if working else "",
            generation,
        ),
        Condition(
            Type.STALLED,
            "True" if stalled else "False",
            reason if stalled else Reason.NOT_NEEDED,
            message if stalled else "",
            generation,
        ),
    )


def tells_more(told: tuple[Condition, ...], fresh: tuple[Condition, ...]) -> bool:
    """Whether writing `fresh` over `told` would tell anything new."""
    known = {c.type: c for c in told}
    return not all(c.same_as(known.get(c.type)) for c in fresh)
