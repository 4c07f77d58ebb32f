"""Conditions, in the shape of metav1.Condition, which kstatus, Argo CD and `kubectl wait` read."""

from typing import Annotated, Literal

from pydantic import Field

from respawn.api.base import Model, keyed
from respawn.api.types import Time

# The patterns are those of upstream's metav1.Condition, to the letter.
ConditionType = Annotated[
    str,
    Field(
        max_length=316,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
    ),
]
ConditionReason = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
]


class Condition(Model):
    """One aspect of the object's state."""

    type: ConditionType = Field(
        description="What is judged, in CamelCase: Ready, Reconciling, Stalled, ..."
    )
    status: Literal["True", "False", "Unknown"] = Field(
        description="Whether it holds: True, False or Unknown."
    )
    observed_generation: int | None = Field(
        default=None,
        ge=0,
        json_schema_extra={"format": "int64"},
        description="The metadata.generation this was judged on.",
    )
    last_transition_time: Time = Field(description="When the status last changed.")
    reason: ConditionReason = Field(
        description="Why, in one CamelCase word that programs may compare."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="Why, for people; while something is waited for, what would end the wait."
    )


Conditions = Annotated[list[Condition], Field(max_length=16), keyed("type")]


def condition_status(conditions: list[Condition], kind: str) -> str:
    """The status of the condition of type `kind`: `True`, `False`, or `Unknown` if absent."""
    return next((c.status for c in conditions if c.type == kind), "Unknown")
