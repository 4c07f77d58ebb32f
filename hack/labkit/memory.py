"""Which server bore which name, kept by the lab for when nobody can be asked any more."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labkit.names import ServerName
from labkit.state import Folder


@dataclass(frozen=True)
class Remembered:
    """A server as it was last seen, by its object or by its QEMU."""

    uid: str
    macs: list[str] = field(default_factory=list)


def _path(folder: Folder, name: ServerName) -> Path:
    return folder / f"servers/{name.namespace}_{name.name}.json"  # neither may have a `_`


def recall(folder: Folder, name: ServerName) -> Remembered | None:
    try:
        return Remembered(**json.loads(_path(folder, name).read_text()))
    except FileNotFoundError:
        return None


def remember(folder: Folder, name: ServerName, uid: str, macs: list[str]) -> None:
    """Keep it; what was known of the cards stays if nothing is seen of them now."""
    before = recall(folder, name)
    if not macs and before is not None and before.uid == uid:
        macs = before.macs
    now = Remembered(uid, sorted({mac.lower() for mac in macs}))
    if now == before:
        return
    path = _path(folder, name)
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(f".{threading.get_native_id()}")
    scratch.write_text(json.dumps(asdict(now)))
    os.replace(scratch, path)


def forget(folder: Folder, name: ServerName) -> None:
    _path(folder, name).unlink(missing_ok=True)
