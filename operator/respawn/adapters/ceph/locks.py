"""The lock of an image, read and broken without opening the image.

Opening one, and its parent, costs librbd tens of operations and 10 ms of processor time: when a
host's servers all lose it in the same moment, that is what they would wait for. The object class
behind the lock needs one operation each (Ceph, src/cls/lock/cls_lock_ops.h).
"""

import struct

import rados

from respawn.adapters.ceph import encoding, marks
from respawn.model.placement import Locker
from respawn.ports.errors import NotFound, Unavailable

_NAME = "rbd_lock"
_REPLY = 64 << 10
_CLIENT = 8
"""The kind of entity that a client is."""


def of(ioctx: rados.Ioctx, image: str) -> tuple[Locker, ...]:
    """Who holds it. Raises NotFound, Unavailable (an answer that makes no sense)."""
    header = marks.header(ioctx, image)
    try:
        _, raw = ioctx.execute(header, "lock", "get_info", encoding.versioned(_name()), _REPLY)
    except rados.ObjectNotFound:
        raise NotFound(f"image {image} has no header") from None
    try:
        return _lockers(encoding.Reader(raw))
    except ValueError as error:
        raise Unavailable(f"the lock of {image} can not be read: {error}") from error


def break_one(ioctx: rados.Ioctx, image: str, locker: Locker) -> None:
    """Break exactly that lock; gone already, with its image or without, is done.

    Blocklists nobody, as librbd would.
    """
    who = struct.pack("<Bq", _CLIENT, int(locker.client.removeprefix("client.")))
    # safety: client *and* cookie: a lock that somebody else took meanwhile stays (R7).
    order = encoding.versioned(_name() + who + encoding.text(locker.cookie))
    try:
        ioctx.execute(marks.header(ioctx, image), "lock", "break_lock", order)
    except (rados.ObjectNotFound, NotFound):
        return  # no such image, or nobody holds it so


def _name() -> bytes:
    return encoding.text(_NAME)


def _lockers(reply: encoding.Reader) -> tuple[Locker, ...]:
    body = reply.versioned()
    return tuple(_locker(body) for _ in range(body.number32()))


def _locker(at: encoding.Reader) -> Locker:
    who = at.versioned()
    kind, number = who.number8(), who.number64()
    cookie = who.text()
    info = at.versioned()
    info.skip(8)  # when it ends by itself: never
    if kind != _CLIENT:
        raise ValueError(f"an entity of kind {kind} holds it")
    return Locker(f"client.{number}", cookie, info.address())
