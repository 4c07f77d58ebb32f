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
    read_since: float | None = None
    """Since when it has been read without a gap."""
    broke: float = 0.0
    """Seconds of `heeded` silence that its last change has ended."""
    moved: bool = False
    """Whether it was seen to change, and not only for the first time."""

    def seen(self, token: str, at: float, wall: datetime, gap: float = 4.0) -> "Pulse":
        """This pulse after a read begun at `at` that showed `token`; for `gap` seconds or longer
        nobody was listening if the last read was so long ago.
        """
        listening = self.read_at is not None and at - self.read_at < gap
        since = self.read_since if listening else at
        if token == self.token and self.changed_at is not None:
            return replace(self, read_at=at, read_since=since)
        return Pulse(token, at, wall, at, since, self.heeded, self.changed_at is not None)

    @property
    def silence(self) -> float | None:
        """Seconds for which it *certainly* did not change: up to the last read, not to now."""
        if self.changed_at is None or self.read_at is None:
            return None
        return self.read_at - self.changed_at

    @property
    def found(self) -> bool:
        """Whether its last change was there when the reading began: nobody knows since when."""
        return self.changed_at == self.read_since

    @property
    def last_sign(self) -> datetime | None:
        """When it gave a sign, for people: what was found when the reading began is no sign of that
        moment.
        """
        return self.written if self.found else self.changed_wall

    @property
    def written(self) -> datetime | None:
        """When its writer says that this content was written, if it says so: for people only."""
        try:
            at = datetime.fromisoformat(self.token.rpartition("|")[2])
        except ValueError:
            return None
        return at if at.tzinfo is not None else None

    @property
    def heeded(self) -> float:
        """Of that, the seconds for which it was read as well: who writes into an API that is away
        is silent, too.
        """
        if self.silence is None or self.read_at is None or self.read_since is None:
            return 0.0
        return min(self.silence, self.read_at - self.read_since)


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
class Former:
    """The boot that was heard before the one that is heard now."""

    boot_id: str
    seen: datetime
    """Its last sign of life, by the wall clock."""


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
    """When it was heard again, after a silence for which it might have been condemned."""
    former: Former | None = None
    asking: bool = field(default=False, compare=False)
    """Whether a question to its witnesses is under way."""

    @property
    def signs(self) -> tuple[tuple[str, Pulse], ...]:
        """Of each sign of life the boot ID of who gave it last."""
        both = (
            (_renews(self.lease.token), self.lease),
            (self.beat and self.beat.boot_id, self.heart),
        )
        return tuple((boot, pulse) for boot, pulse in both if boot)

    def signs_of(self, boot_id: str) -> list[Pulse]:
        """Those that were last given by that boot."""
        return [pulse for boot, pulse in self.signs if boot == boot_id]

    def last_of(self, boot_id: str | None) -> Former | None:
        """When that boot was last heard, as far as it is known."""
        known = [p.last_sign for boot, p in self.signs if boot == boot_id and p.last_sign]
        if boot_id and known:
            return Former(boot_id, max(known))
        return self.former if self.former and self.former.boot_id == boot_id else None

    def following(self, before: "Sight") -> "Sight":
        """This one, which follows on `before`, and what is known of a boot that is silent since."""
        heard = {boot for boot, _ in self.signs}
        over = (before.last_of(boot) for boot, _ in before.signs if boot not in heard)
        return replace(self, former=next((f for f in over if f), before.former))


def _renews(token: str) -> str:
    """The boot whose agent renewed a Lease that reads so: its holder is `node/boot ID`."""
    return token.partition("|")[0].partition("/")[2]
