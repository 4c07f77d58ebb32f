"""Errors of librados and librbd as those of the ports."""

import contextlib
import errno
import os
from collections.abc import Iterator

import rados
import rbd

from respawn.model.conditions import Reason
from respawn.ports.errors import Conflict, NotFound, PortError, Refused, Unavailable


class Shut(Unavailable):
    """This handle's client is blocklisted: it stays shut; another handle may be let in."""


class TimedOut(Unavailable):
    """No answer in time. It may still be done."""


_UNKNOWN_CLIENT = "Ceph does not know this client, or its key lets it not do that"


def of(number: int, what: str) -> PortError:
    """The port's error for an errno (positive or negative); `what` says what was tried."""
    number = abs(number)
    text = f"{what}: {os.strerror(number)}"
    if number == errno.ENOENT:
        return NotFound(text)
    if number == errno.EEXIST:
        return Conflict(text)
    if number == errno.ESHUTDOWN:
        return Shut(f"{what}: this client is blocklisted in Ceph")
    if number == errno.ETIMEDOUT:
        return TimedOut(f"{what}: Ceph gave no answer in time")
    if number in (errno.EACCES, errno.EPERM):
        return Refused(Reason.POOL_NOT_READY, f"{what}: {_UNKNOWN_CLIENT}")
    return Unavailable(text)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the errors of librados and librbd as those of the ports."""
    try:
        yield
    except (rados.Error, rbd.Error) as error:
        number = getattr(error, "errno", None)
        if number is None:
            raise Unavailable(f"{what}: {error}") from error
        raise of(number, what) from error
