"""Progress for people, on stderr: what is being done, and how long it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, and say its time when it is done. Steps may run side by side."""
    started = time.monotonic()
    say(f"  … {text}")
    yield
    say(f"  ✓ {text}  ({time.monotonic() - started:.1f} s)")
