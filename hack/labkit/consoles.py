"""Collects the guests' consoles: stamps each line as it comes, and merges what hosts wrote.

Runs as `consoles.py FOLDER` outside the hosts. FOLDER/HOST/NAME.log is what the QEMUs of a host
append to; FOLDER/stamped/NAME.log gets `<RFC 3339 UTC, ms> <host> <line>` of all hosts, so that
a server's console survives its host's power-off and goes on over epochs and hosts.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from pathlib import Path

POLL_S = 0.02
STAMPED = "stamped"
#: a line without an end is given up at this length
LONGEST_LINE = 65536


def stamp() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


class Collector:
    """Remembers how far each raw file was read, on disk too: a restart repeats nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamped = folder / STAMPED
        self.stamped.mkdir(exist_ok=True)
        self.memory = folder / "offsets.json"
        self.offsets: dict[str, int] = {}
        if self.memory.exists():
            self.offsets = json.loads(self.memory.read_text())

    def round(self) -> None:
        """Take over all that is new in every raw file."""
        changed = False
        for host in os.scandir(self.folder):
            if not host.is_dir() or host.name == STAMPED:
                continue
            for raw in os.scandir(host.path):
                if raw.name.endswith(".log"):
                    changed |= self.take(host.name, Path(raw.path), raw.stat().st_size)
        if changed:
            fresh = self.memory.with_suffix(".new")
            fresh.write_text(json.dumps(self.offsets))
            os.replace(fresh, self.memory)

    def take(self, host: str, raw: Path, size: int) -> bool:
        key = f"{host}/{raw.name}"
        done = self.offsets.get(key, 0)
        if size < done:
            done = 0  # someone truncated it: what is there now is new
        if size == done:
            return False
        with raw.open("rb") as file:
            file.seek(done)
            data = file.read(size - done)
        end = data.rfind(b"\n") + 1
        if not end and len(data) < LONGEST_LINE:
            return False
        data = data[: end or len(data)]
        now = stamp()
        lines = data.decode(errors="replace").replace("\r", "").splitlines()
        with (self.stamped / raw.name).open("a") as out:
            out.writelines(f"{now} {host} {line}\n" for line in lines)
        self.offsets[key] = done + len(data)
        return True


def main() -> None:
    collector = Collector(Path(sys.argv[1]))
    while True:
        collector.round()
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
