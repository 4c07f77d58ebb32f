"""What the operator has seen of each host's signs of life, by its own monotonic clock.

Only *change observed* counts: no host's clock is ever compared with another's. What could not be
read is unknown, never stale.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Pulse:
    """One sign of life (the Lease, or the heart objects): its content and when it last changed."""

    token: str = ""
    """The raw content; any change of it is a beat."""
    changed_at: float | None = None
    """When a change was last seen; the first sight of a content counts as a change."""
    changed_wall: datetime | None = None
    read_at: float | None = None
    """When it was last read for certain (begin of that read): later contents are unknown."""
    broke: float = 0.0
    """Seconds of certain silence that its last change has ended."""

    def seen(self, token: str, at: float, wall: datetime) -> "Pulse":
        """This pulse after a read begun at `at` that showed `token`."""
        if token != self.token or self.changed_at is None:
            return Pulse(token, at, wall, at, self.silence or 0.0)
        return replace(self, read_at=at)

    @property
    def silence(self) -> float | None:
        """Seconds for which it *certainly* did not change: up to the last read, not to now."""
        if self.changed_at is None or self.read_at is None:
            return None
        return self.read_at - self.changed_at


class Answer(StrEnum):
    """What came back when a silent host was asked."""

    LIBVIRT = "Libvirt"
    """libvirtd answered over TLS."""
    KERNEL = "Kernel"
    """Only its kernel: ICMP, or a TCP reset, on the management or the storage address."""
    SILENCE = "Silence"


@dataclass(frozen=True, slots=True)
class Testimony:
    """One question to the witnesses. `boot_id` is None where libvirt cannot tell it."""

    asked_at: float
    answer: Answer
    boot_id: str | None = None


@dataclass(frozen=True, slots=True)
class WatchLook:
    """One look at the watchers of a host's images, begun at `begun_at`."""

    begun_at: float
    alive: bool
    """Whether any client at the host's addresses, not blocklisted, still watches one."""


@dataclass(frozen=True, slots=True)
class HeartServer:
    """What a heart says of one server, handed over by the agent."""

    uid: str
    epoch: int
    state: str


@dataclass(frozen=True, slots=True)
class Beat:
    """Content of a heart object."""

    machine_id: str
    boot_id: str
    counter: int
    servers: tuple[HeartServer, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """All that is remembered about one host."""

    lease: Pulse = Pulse()
    heart: Pulse = Pulse()
    beat: Beat | None = None
    testimony: Testimony | None = None
    answered_at: float | None = None
    """When a question was asked that libvirt or the kernel answered."""
    watches: WatchLook | None = None
    back_at: float | None = None
    """When it was heard again, after silence in both signs for which it would be condemned."""
    asking: bool = field(default=False, compare=False)
    """Whether a question to its witnesses is under way."""
