"""RespawnPolicy: the timings by which a host is missed, paused and fenced, and the brake.

Timings that do not fit together could restart a server before its old host has paused it, so the
API server refuses them when they are set.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import POLICY_NAME, Model, Resource, Status, keyed, rule, rules
from respawn.api.conditions import Conditions
from respawn.api.types import Count, Duration, Span, Time, is_duration


def _fits(fields: list[str], expression: str, message: str) -> dict[str, str]:
    """A rule over durations; silent where one of `fields` is none, which is refused by itself.

    In `expression` each field stands for its milliseconds.
    """
    for field in fields:
        expression = expression.replace(field, f"duration(self.{field}).getMilliseconds()")
    malformed = " || ".join(f"!{is_duration(f'self.{field}')}" for field in fields)
    return rule(f"{malformed} || {expression}", message)


class Timings(Model):
    """How soon a silent host is paused and fenced. The values must fit together."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _fits(
                ["leaseRenew"],
                "leaseRenew >= 500",
                "leaseRenew is too short: set it to 500ms or more",
            ),
            _fits(
                ["heartbeat"],
                "heartbeat >= 250",
                "heartbeat is too short: set it to 250ms or more",
            ),
            _fits(
                ["leaseRenew", "pauseAfter"],
                "2 * leaseRenew <= pauseAfter",
                "one lost renewal would pause servers: set pauseAfter to at least 2 x leaseRenew, "
                "or shorten leaseRenew",
            ),
            _fits(
                ["heartbeat", "pauseAfter"],
                "4 * heartbeat <= pauseAfter",
                "a few lost beats would pause servers: set pauseAfter to at least 4 x heartbeat, "
                "or shorten heartbeat",
            ),
            # safety: a host must have paused its servers before they may start elsewhere.
            _fits(
                ["pauseAfter", "fenceAfter"],
                "pauseAfter + 500 <= fenceAfter && 10 * pauseAfter <= 9 * fenceAfter",
                "servers could be restarted elsewhere before their host has paused them: set "
                "fenceAfter to at least pauseAfter + 500ms and pauseAfter / 0.9, or shorten "
                "pauseAfter",
            ),
            # safety: a dead client's watch lives about 30 s; judged sooner it would mean nothing.
            _fits(
                ["unresponsiveAfter", "fenceAfter"],
                "unresponsiveAfter >= 45000 && unresponsiveAfter >= fenceAfter",
                "unresponsiveAfter is too short: set it to at least 45s and at least fenceAfter",
            ),
            _fits(
                ["storageLostAfter", "fenceAfter"],
                "storageLostAfter >= fenceAfter",
                "storageLostAfter is too short: set it to at least fenceAfter",
            ),
        )
    )
    lease_renew: Duration = Field(
        default="2s", description="How often an agent renews its host's Lease; at least 500ms."
    )
    heartbeat: Duration = Field(
        default="1s", description="How often a host beats in Ceph; at least 250ms."
    )
    pause_after: Duration = Field(
        default="5s",
        description="A host that could neither renew nor beat for so long pauses its servers; at "
        "least 2 x leaseRenew and 4 x heartbeat.",
    )
    fence_after: Duration = Field(
        default="8s",
        description="A host silent in both for so long is fenced, and its servers start elsewhere; "
        "at least pauseAfter + max(500ms, fenceAfter / 10).",
    )
    unresponsive_after: Duration = Field(
        default="60s",
        description="A host of which only the kernel answers for so long is fenced; at least 45s "
        "and fenceAfter.",
    )
    storage_lost_after: Duration = Field(
        default="60s",
        description="A host that renews its Lease but reports that its own storage fails for so "
        "long is fenced; at least fenceAfter.",
    )


class Brake(Model):
    """When so many hosts fail at once that the fault is rather elsewhere, nothing is fenced.

    That is more than max(1, a third of the hosts) within `window`; hosts proven dead do not count.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            _fits(["window"], "window >= 10000", "window is too short: set it to 10s or more")
        )
    )
    window: Duration = Field(
        default="60s", description="Hosts that fail within so long of each other count together."
    )
    released_until: Time | None = Field(
        default=None,
        description="A person has looked, and held failovers may go on until this moment, such as "
        "2030-01-31T08:30:00Z. After it the brake works again by itself.",
    )


class RespawnPolicySpec(Model):
    """Timings and limits of the cluster."""

    timings: Timings = Field(
        default=Timings(), description="How soon a silent host is paused and fenced."
    )
    brake: Brake = Field(default=Brake(), description="What stops a mass failover.")


class EarlierTimings(Model):
    """Timings of an earlier generation, which hosts may still obey."""

    generation: Count = Field(description="The metadata.generation they were set by.")
    lease_renew: Span = Field(description="leaseRenew of that generation.")
    heartbeat: Span = Field(description="heartbeat of that generation.")
    pause_after: Span = Field(description="pauseAfter of that generation.")
    fence_after: Span = Field(description="fenceAfter of that generation.")
    unresponsive_after: Span = Field(description="unresponsiveAfter of that generation.")
    storage_lost_after: Span = Field(description="storageLostAfter of that generation.")


class RespawnPolicyStatus(Status):
    """What Respawn makes of the policy."""

    worst_case_recovery: Annotated[str, Field(max_length=16)] | None = Field(
        default=None,
        description="Longest time from a host's loss to the start of its first server elsewhere "
        "that these timings imply.",
    )
    earlier: Annotated[list[EarlierTimings], Field(max_length=16), keyed("generation")] = Field(
        default_factory=list,
        description="Timings of earlier generations that hosts may still obey: such a host is "
        "judged by the slower of the two.",
    )
    conditions: Conditions = Field(
        default_factory=list, description="Ready, Accepted, FailoverHeld."
    )


class RespawnPolicy(Resource):
    """How hosts are judged, for the whole cluster. There is one, named default."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"self.metadata.name == '{POLICY_NAME}'",
                "there is one RespawnPolicy for the cluster: name it default",
            )
        )
    )
    kind: Literal["RespawnPolicy"] = "RespawnPolicy"
    spec: RespawnPolicySpec = Field(
        default=RespawnPolicySpec(),
        description="Timings and limits of the cluster. Respawn never writes it.",
    )
    status: RespawnPolicyStatus = Field(
        default=RespawnPolicyStatus(), description="What Respawn makes of the policy."
    )
