"""Who has an image open. Blocking."""

import rados
import rbd

from respawn.model.placement import Locker
from respawn.model.storage import ImageClients
from respawn.ports.errors import NotFound


def of(ioctx: rados.Ioctx, name: str) -> ImageClients:
    """Its lockers and watchers. A read-only open adds no watcher of ours. Raises NotFound."""
    try:
        image = rbd.Image(ioctx, name, read_only=True)
    except rbd.ImageNotFound as error:
        raise NotFound(f"there is no image {name}") from error
    with image:
        held = image.list_lockers()
        watchers = [Locker("", "", watcher["addr"]) for watcher in image.watchers_list()]
    lockers = [Locker(*locker) for locker in held["lockers"]] if held else []
    return ImageClients(tuple(lockers), tuple(watchers))
