"""From objects of the API server to the store: newer readings only, and no ghosts.

Objects come from three sides: kopf's watches, our own LIST (at the start and in every sweep), and
the answers to our own writes. They are understood in the thread they come in; only slim values
cross over to the store's loop.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from respawn.adapters.kubernetes.codec_base import Malformed
from respawn.adapters.kubernetes.resources import Resource

log = logging.getLogger(__name__)

V = TypeVar("V")
Object = Mapping[str, Any]

TOMBSTONES = 10_000
"""UIDs of deleted objects that are remembered: what comes late does not revive them."""


@dataclass(frozen=True, slots=True)
class Intake(Generic[V]):
    """What is done with the objects of one kind."""

    resource: Resource
    decode: Callable[[Object], V]
    put: Callable[[V], None]
    drop: Callable[[str, str], None]
    """Drop the object of that UID and name."""
    held: Callable[[], Mapping[str, tuple[str, int]]]
    """UID -> name and resourceVersion of all that the store has."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An object as it was understood; `misfit` is why it was not."""

    intake: Intake[Any]
    uid: str
    name: str
    version: int
    value: Any = None
    misfit: str = ""
    body: Object = field(default_factory=dict)
    """The object itself, of a misfit."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """An object that makes no sense, as last read."""

    resource: Resource
    body: Object
    complaint: str


class Feed:
    """Feeds the store. Everything but `read`, `offer` and `is_gone` belongs to the store's loop."""

    def __init__(self, intakes: Iterable[Intake[Any]], loop: asyncio.AbstractEventLoop) -> None:
        self.intakes = tuple(intakes)
        self.misfits: dict[str, Misfit] = {}
        self.heard: dict[str, int] = {}
        """UID -> newest resourceVersion that a watch has brought."""
        self._loop = loop
        self._known: dict[str, int] = {}
        self._gone: dict[str, None] = {}

    # In any thread.

    def offer(self, intake: Intake[Any], change: str | None, body: Object) -> None:
        """What a watch has brought: `change` is DELETED, or something else."""
        uid, version = _identity(body)
        self.heard[uid] = max(version, self.heard.get(uid, 0))
        if change == "DELETED":
            name = str(body["metadata"].get("name"))
            self._loop.call_soon_threadsafe(self.gone, intake, uid, name)
        elif version > self._known.get(uid, 0):
            self._loop.call_soon_threadsafe(self.take, read(intake, body))

    def is_gone(self, uid: str) -> bool:
        """Whether the object of that UID is known to be deleted."""
        return uid in self._gone

    # In the store's loop.

    def take(self, reading: Reading) -> None:
        """A reading, from wherever; an older one than known changes nothing."""
        uid, version = reading.uid, reading.version
        if version <= self._known.get(uid, 0) or uid in self._gone:
            return
        self._known[uid] = version
        if reading.misfit:
            self._set_apart(reading)
            return
        self.misfits.pop(uid, None)
        reading.intake.put(reading.value)

    def _set_apart(self, reading: Reading) -> None:
        """What was known of it before stays: nothing that runs is forgotten for a typing error."""
        misfit = Misfit(reading.intake.resource, reading.body, reading.misfit)
        before = self.misfits.get(reading.uid)
        if before is None or before.complaint != misfit.complaint:
            kind = reading.intake.resource.kind
            log.error("%s %s is left alone: %s", kind, reading.name, reading.misfit)
        self.misfits[reading.uid] = misfit

    def gone(self, intake: Intake[Any], uid: str, name: str) -> None:
        """The object of that UID is deleted for good."""
        self._known.pop(uid, None)
        self.heard.pop(uid, None)
        self.misfits.pop(uid, None)
        self._gone[uid] = None
        if len(self._gone) > TOMBSTONES:
            del self._gone[next(iter(self._gone))]
        intake.drop(uid, name)

    def listed(self, intake: Intake[Any], uids: Iterable[str], version: int) -> list[str]:
        """A whole LIST as of `version` was taken: what it lacks is gone. Returns those names."""
        there, lost = set(uids), []
        for uid, (name, known) in list(intake.held().items()):
            # What was read or written after the LIST may rightly be missing in it.
            if uid not in there and known <= version:
                log.warning("%s %s is gone; no watch has told", intake.resource.kind, name)
                self.gone(intake, uid, name)
                lost.append(name)
        for uid, misfit in list(self.misfits.items()):
            if misfit.resource is intake.resource and uid not in there:
                self.gone(intake, uid, str(misfit.body["metadata"].get("name")))
        return lost


def read(intake: Intake[Any], body: Object) -> Reading:
    """Understand an object. Never raises: one that makes no sense is a misfit."""
    uid, version = _identity(body)
    name = str(body["metadata"].get("name"))
    try:
        value = intake.decode(body)
    except Malformed as complaint:
        return Reading(intake, uid, name, version, misfit=str(complaint), body=body)
    return Reading(intake, uid, name, version, value)


def _identity(body: Object) -> tuple[str, int]:
    metadata = body["metadata"]
    return str(metadata["uid"]), int(metadata["resourceVersion"])
