"""Crash points: `RESPAWN_CRASH_AFTER=NAME` ends the process right after the step of that name."""

import os
from collections.abc import Callable, Mapping

from respawn.model.actions import CRASH_POINTS

Point = Callable[[str], None]

VARIABLE = "RESPAWN_CRASH_AFTER"
EXIT_CODE = 70


def nothing(name: str) -> None:
    """The usual case: the process lives on."""


def from_environment(environ: Mapping[str, str]) -> Point:
    """The hook that the environment asks for. Raises ValueError for a name that does not exist."""
    wanted = environ.get(VARIABLE)
    if not wanted:
        return nothing
    if wanted not in CRASH_POINTS:
        raise ValueError(f"{VARIABLE}={wanted}: must be one of {', '.join(CRASH_POINTS)}")

    def end(name: str) -> None:
        if name == wanted:
            os._exit(EXIT_CODE)

    return end
