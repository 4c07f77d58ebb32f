"""Beating over one handle: where, and with what answer. Blocking."""

import threading
from dataclasses import dataclass, field, replace

import rados

from respawn.adapters.ceph import aio, beats, errors, monitor, places
from respawn.adapters.ceph.access import TIMEOUT
from respawn.adapters.ceph.errors import Shut, TimedOut
from respawn.adapters.ceph.handle import Handle
from respawn.model.sight import Beat
from respawn.ports.errors import NotFound, PortError, Refused, Unavailable


@dataclass(slots=True)
class _Round:
    """The answers to one beat: None for each object that took it."""

    due: int
    answers: list[PortError | None] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        return None in self.answers

    @property
    def over(self) -> bool:
        return self.acknowledged or len(self.answers) >= self.due


@dataclass(frozen=True, slots=True)
class _Write:
    """One object's part of a beat."""

    name: str
    content: bytes
    round: _Round


class Session:
    """Writes beats into the places of `prefix`. Raises Unavailable when they cannot be told."""

    def __init__(self, handle: Handle, pool: str, prefix: str) -> None:
        self.handle = handle
        self._ioctx = handle.ioctx(pool, places.NAMESPACE)
        self._changed = threading.Condition()
        self._waiting: dict[str, _Write | None] = {}
        contents = look(handle, self._ioctx, places.names(prefix))
        self.places = _choose(handle, pool, contents)
        self._counter = max((_counter(raw) for raw in contents.values() if raw), default=0)

    def beat(self, beat: Beat, patience: float) -> None:
        """Write it; returns when one object has it. Raises Shut, Unavailable."""
        self._counter = max(beat.counter, self._counter + 1)
        content = beats.encode(replace(beat, counter=self._counter))
        this = _Round(due=len(self.places))
        for name in self.places:
            self._submit(_Write(name, content, this))
        with self._changed:
            self._changed.wait_for(lambda: this.over, timeout=patience)
            _judge(this)

    def _submit(self, write: _Write) -> None:
        """One write at a time to each object, and only the newest waits: no queue of old beats."""
        with self._changed:
            if write.name in self._waiting:
                self._waiting[write.name] = write
                return
            self._waiting[write.name] = None
        self._send(write)

    def _send(self, write: _Write) -> None:
        def done(code: int) -> None:
            self._answered(write, errors.of(code, f"write {write.name}") if code < 0 else None)

        try:
            aio.write(self.handle, self._ioctx, write.name, write.content, done)
        except PortError as error:
            self._answered(write, error)

    def _answered(self, write: _Write, error: PortError | None) -> None:
        with self._changed:
            write.round.answers.append(error)
            following = self._waiting.pop(write.name)
            if following is not None:
                self._waiting[write.name] = None
            self._changed.notify_all()
        if following is not None:
            self._send(following)


def _judge(this: _Round) -> None:
    failed = [error for error in this.answers if error is not None]
    for error in failed:
        if isinstance(error, Shut):
            raise error  # also when the other OSD, which may lag behind the map, took it
    if not this.acknowledged:
        raise failed[0] if failed else TimedOut("beat: no OSD took it in time")


def look(handle: Handle, ioctx: rados.Ioctx, names: tuple[str, ...]) -> dict[str, bytes | None]:
    """The content of each object (empty: absent; None: could not be read). Raises Shut."""
    changed, answers = threading.Condition(), dict[str, bytes | PortError]()

    def start(name: str) -> None:
        def done(code: int, data: bytes) -> None:
            with changed:
                answers[name] = errors.of(code, f"read {name}") if code < 0 else data
                changed.notify()

        aio.read(handle, ioctx, name, done)

    for name in names:
        start(name)
    with changed:
        changed.wait_for(lambda: len(answers) == len(names), timeout=2 * TIMEOUT)
        return {name: content(answers.get(name)) for name in names}


def content(answer: bytes | PortError | None) -> bytes | None:
    """What a read says: empty when the object is absent, None when nobody knows.

    Raises Shut, and Refused when the key is not good for it.
    """
    if isinstance(answer, Shut | Refused):
        raise answer
    if isinstance(answer, NotFound):
        return b""
    return answer if isinstance(answer, bytes) else None


def _choose(handle: Handle, pool: str, contents: dict[str, bytes | None]) -> tuple[str, ...]:
    found = {name: None if raw is None else bool(raw) for name, raw in contents.items()}
    there = places.settled(found)
    if there is None:
        raise Unavailable("too few heart objects can be read to tell where to beat")
    if len(there) >= 2:
        return there[:2]
    return places.pick(there, {name: primary(handle, pool, name) for name in found})


def primary(handle: Handle, pool: str, name: str) -> int:
    """The acting primary OSD of an object of ours; -1: none."""
    found = monitor.answer(
        handle.cluster, "osd map", pool=pool, object=name, nspace=places.NAMESPACE
    )
    return int(found["acting_primary"])


def _counter(raw: bytes) -> int:
    try:
        return beats.decode(raw).counter
    except ValueError:
        return 0
