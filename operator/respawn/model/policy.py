"""The RespawnPolicy: timings and the brake."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime

from respawn.model.conditions import Condition


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. The API server refuses combinations that are unsafe (`fits`)."""

    lease_renew: float = 2.0
    heartbeat: float = 1.0
    pause_after: float = 5.0
    fence_after: float = 8.0
    unresponsive_after: float = 60.0
    storage_lost_after: float = 60.0

    def slower(self, other: "Timings") -> "Timings":
        """The more patient of the two, field by field."""
        return Timings(
            **{f.name: max(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        )

    def fits(self) -> bool:
        """S8: a host pauses before it is fenced, and neither for one lost renewal or beat."""
        margin = max(0.5, self.fence_after / 10)
        return (
            self.pause_after + margin <= self.fence_after
            and 2 * self.lease_renew <= self.pause_after
            and 4 * self.heartbeat <= self.pause_after
            and self.lease_renew >= 0.5
            and self.heartbeat >= 0.25
            and self.unresponsive_after >= max(45.0, self.fence_after)
            and self.storage_lost_after >= self.fence_after
        )


FAST = Timings(lease_renew=1.0, heartbeat=0.5, pause_after=2.5, fence_after=3.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """The one policy. `earlier` holds the timings of generations that hosts may still obey."""

    timings: Timings = Timings()
    generation: int = 1
    earlier: Mapping[int, Timings] = field(default_factory=dict)
    brake_window: float = 60.0
    """Hosts that fail within this many seconds count together."""
    brake_released: bool = False
    """A person has looked and says: go on."""
    resource_version: str = ""
    released_until: datetime | None = None
    """Until when it is released; `brake_released` is what that means now."""
    worst_case: float = 0.0
    """Seconds from a host's loss to the first start elsewhere, as last told in its status."""
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = -1
    uid: str = ""

    def binding(self, acknowledged: int, obeyed: Timings | None = None) -> Timings:
        """The timings that a host is judged by: the new ones only once its agent obeys them.

        `obeyed` is what it said that it obeys; `acknowledged` the generation that counts for one
        that does not say so.
        """
        if obeyed is not None:
            return self.timings.slower(obeyed)
        if acknowledged >= self.generation:
            return self.timings
        return self.timings.slower(self.earlier.get(acknowledged, Timings()))
