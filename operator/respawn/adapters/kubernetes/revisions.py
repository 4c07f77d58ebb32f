"""How new the API's answers to LISTs have been: they only ever get newer, unless it was restored.

A LIST without a resourceVersion is answered with what is true now, so its resourceVersion is never
below that of one that was answered before it began, whichever API server answers. Kinds are judged
apart: each may be kept in an etcd of its own.
"""

import logging
import os
from collections.abc import Callable

from respawn.adapters.kubernetes.resources import Resource

log = logging.getLogger(__name__)

EXIT_CODE = 72


def end(complaint: str) -> None:
    """Say why, and go at once: what this process knows is of a time that never was.

    Nothing that it would do in order is worth doing on that knowledge, and its end stops no server
    (S5). Its supervisor starts it anew, from nothing.
    """
    log.critical("%s: the process ends, to begin anew from what the API says now", complaint)
    os._exit(EXIT_CODE)


class Revisions:
    """What all clients of one process have seen, in whichever thread; `went_back` is told if the
    API was set back."""

    def __init__(self, went_back: Callable[[str], None] = end) -> None:
        self._went_back = went_back
        self._newest: dict[Resource, int] = {}

    def newest(self, resource: Resource) -> int:
        """The newest resourceVersion of a LIST so far; 0 if there was none."""
        return self._newest.get(resource, 0)

    def listed(self, resource: Resource, version: int, before: int) -> None:
        """A LIST of `version` was answered; `before` was the newest one when it began."""
        if version < before:
            self._went_back(
                f"the API lists {resource.plural} as of resourceVersion {version}, and did as of "
                f"{before} before: it was restored from a backup"
            )
        # One that was answered meanwhile, by another thread, may be newer.
        self._newest[resource] = max(version, self.newest(resource))
