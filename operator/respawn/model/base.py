"""What every other value is named by."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """The kinds that are decided about one object at a time, or waited for."""

    SERVER = "server"
    NODE = "node"
    IMAGE = "image"
    POOL = "pool"
    POLICY = "policy"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One thing: a server by UID, all others by name, under which they are waited for before they
    are there.
    """

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


@dataclass(frozen=True, slots=True)
class Now:
    """The moment a decision is made at.

    `mono` (seconds) is this process's monotonic clock: everything is judged by it. `wall` is only
    for what people read and for back-off that must outlive a process.
    """

    mono: float
    wall: datetime


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """One life of one operator: `name` is the same after a restart, `incarnation` is not."""

    name: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.name}/{self.incarnation}"

    @classmethod
    def parse(cls, text: str) -> "Owner":
        """The owner that `str()` wrote; a text without `/` is a name without incarnation."""
        name, _, incarnation = text.partition("/")
        return cls(name, incarnation)
