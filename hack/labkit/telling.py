"""What the demo says, live in the terminal, and how it waits."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from labkit.errors import LabError

T = TypeVar("T")


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def clock(at: datetime.datetime) -> str:
    return at.strftime("%H:%M:%S.%f")[:-3]


def parse_time(text: str | None) -> datetime.datetime:
    """RFC 3339 -> UTC; the beginning of time for None."""
    if not text:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


class Patience:
    """Says every 10 s that something is still being waited for."""

    EVERY = 10.0

    def __init__(self, what: str) -> None:
        self.what, self.started = what, time.monotonic()
        self._due = self.started + self.EVERY

    @property
    def waited(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.started

    def tell(self) -> None:
        if time.monotonic() >= self._due:
            self._due += self.EVERY
            say(f"… {self.waited:.0f} s, and still waiting until {self.what}")


def wait_for(what: str, ask: Callable[[], T | None], timeout: float) -> T:
    patience = Patience(what)
    while True:
        answer = ask()
        if answer:
            say(f"{what}  ({patience.waited:.1f} s)")
            return answer
        if patience.waited > timeout:
            raise LabError(f"not within {timeout:.0f} s: {what}")
        patience.tell()
        time.sleep(0.2)
