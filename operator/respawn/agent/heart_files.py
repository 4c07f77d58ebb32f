"""Two files in /run/respawn through which agent and heart know of each other.

`heart.in`, written by the agent each heartbeat:

    {"at": 81.5, "heartbeat": 1.0, "servers": [{"uid": "…", "epoch": 3, "state": "running"}]}

`heart.out`, written by the heart after each beat it tried:

    {"begun": 82.0, "acknowledged": 81.0, "refused": false, "error": ""}

Times are seconds of CLOCK_MONOTONIC, which all processes of one boot share; /run is empty after a
boot. A file is replaced as a whole. Neither process waits for the other; either may be missing.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from respawn.model.sight import HeartServer

FOLDER = Path("/run/respawn")
STALE_AFTER = 10.0
"""Seconds after which nobody vouches any more for what the agent handed over."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the agent hands to the heart."""

    heartbeat: float | None = None
    servers: tuple[HeartServer, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """What the heart tells of its last try."""

    begun: float
    acknowledged: float | None = None
    """When the last beat that was acknowledged had begun."""
    refused: bool = False
    """Whether Ceph said that this host is blocklisted."""
    error: str = ""


class HeartFiles:
    """Both files, for both sides."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._orders = folder / "heart.in"
        self._account = folder / "heart.out"

    def hand_over(self, servers: Iterable[HeartServer], *, heartbeat: float, now: float) -> None:
        """The agent's part. Raises OSError."""
        told = [{"uid": s.uid, "epoch": s.epoch, "state": s.state} for s in servers]
        _replace(self._orders, {"at": now, "heartbeat": heartbeat, "servers": told})

    def orders(self, now: float) -> Orders:
        """What was handed over; servers only while an agent vouches for them."""
        found = _read(self._orders)
        try:
            heartbeat, fresh = float(found["heartbeat"]), now - float(found["at"]) < STALE_AFTER
            servers = tuple(
                HeartServer(str(s["uid"]), int(s["epoch"]), str(s["state"]))
                for s in found["servers"]
            )
        except (KeyError, TypeError, ValueError):
            return Orders()
        return Orders(heartbeat, servers if fresh else ())

    def tell(self, account: Account) -> None:
        """The heart's part. Raises OSError."""
        _replace(self._account, asdict(account))

    def account(self) -> Account | None:
        """What the heart told last; None: nothing yet in this boot."""
        found = _read(self._account)
        try:
            return Account(**found) if found else None
        except TypeError:
            return None


def _replace(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content))
    os.replace(fresh, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
