"""Points at which tests end or stop this process: right after the step of that name.

`RESPAWN_CRASH_AFTER=NAME` ends it, as a crash would. `RESPAWN_FREEZE_AFTER=NAME` stops it, once, by
SIGSTOP: who lets it run on wakes a leader in the middle of its work that may have been replaced.
"""

import os
import signal
from collections.abc import Callable, Mapping

from respawn.model.actions import CRASH_POINTS

Point = Callable[[str], None]

CRASH, FREEZE = "RESPAWN_CRASH_AFTER", "RESPAWN_FREEZE_AFTER"
EXIT_CODE = 70


def nothing(name: str) -> None:
    """The usual case: the process lives on."""


def from_environment(environ: Mapping[str, str]) -> Point:
    """The hook that the environment asks for. Raises ValueError for a name that does not exist."""
    for variable, make in ((CRASH, _crash_after), (FREEZE, _freeze_after)):
        wanted = environ.get(variable)
        if wanted and wanted not in CRASH_POINTS:
            raise ValueError(f"{variable}={wanted}: must be one of {', '.join(CRASH_POINTS)}")
        if wanted:
            return make(wanted)
    return nothing


def _crash_after(wanted: str) -> Point:
    def point(name: str) -> None:
        if name == wanted:
            os._exit(EXIT_CODE)

    return point


def _freeze_after(wanted: str) -> Point:
    left = {wanted}

    def point(name: str) -> None:
        if name in left:
            left.discard(name)
            os.kill(os.getpid(), signal.SIGSTOP)

    return point
