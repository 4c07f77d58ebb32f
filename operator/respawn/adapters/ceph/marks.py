"""Our marks in an image's metadata, read and written without opening the image.

`Image.metadata_set` wants the exclusive lock: behind a dead locker it waits half a minute. The
object class that it calls in the end does not care who holds what, so we call that. A set of marks
is written, and read, in one operation.
"""

import rados

from respawn.adapters.ceph import encoding
from respawn.ports.errors import NotFound

PREFIX = "respawn."
OWNER = PREFIX + "owner"
"""UID of the object the image belongs to; written last, when the image is complete."""
SERVER = PREFIX + "server"
"""Namespace and name of the server a disk is of: tells people whose it was, when that is gone."""
MAKER = PREFIX + "maker"
"""Entity address of the operator's client that last opened it for writing."""
CHECKSUM = PREFIX + "checksum"
EPOCH = PREFIX + "epoch"
RESOURCE_VERSION = PREFIX + "resourceVersion"

_MOST = 64


def image_id(ioctx: rados.Ioctx, image: str) -> str:
    """The ID that an image's objects are named by. Raises NotFound."""
    try:
        raw = ioctx.read(f"rbd_id.{image}", 256)
        return encoding.read_text(raw)
    except rados.ObjectNotFound as error:
        raise NotFound(f"there is no image {image}") from error


def read(ioctx: rados.Ioctx, image: str) -> dict[str, str]:
    """All our marks on an image. Raises NotFound."""
    name = header(ioctx, image)
    ask = encoding.text(PREFIX) + encoding.number64(_MOST)
    try:
        _, raw = ioctx.execute(name, "rbd", "metadata_list", ask, 65536)
    except rados.ObjectNotFound as error:
        raise NotFound(f"image {image} has no header") from error
    found = encoding.read_mapping(raw)
    return {key: value for key, value in found.items() if key.startswith(PREFIX)}


def write(ioctx: rados.Ioctx, image: str, marks: dict[str, str]) -> None:
    """Write them over what is there, all in one operation. Raises NotFound."""
    name = header(ioctx, image)
    try:
        ioctx.stat(name)  # writing would create it
    except rados.ObjectNotFound as error:
        raise NotFound(f"image {image} has no header") from error
    ioctx.execute(name, "rbd", "metadata_set", encoding.mapping(marks))


def header(ioctx: rados.Ioctx, image: str) -> str:
    """The name of its header, which the object classes work on. Raises NotFound."""
    return f"rbd_header.{image_id(ioctx, image)}"
