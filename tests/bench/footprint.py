"""How long `up` takes once everything is built, and how much memory a lab with 5 servers needs.

    .venv/bin/python tests/bench/footprint.py

Memory is the sum of PSS (proportional set size, man proc_pid_smaps_rollup) over every process of
the lab, and what its tmpfs mounts hold: the part of the machine that would be free without it.
Needs root and a machine on which `up` has run before.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lab"), str(ROOT / "tests/bench"), str(ROOT / "hack")]

from labtool import LabTool, eventually  # noqa: E402
from recovery import NAMESPACE, manifest, ready  # noqa: E402

from labkit.lab import Lab  # noqa: E402

SERVERS = 5
IDLE_S = 30.0
MIB = 1024
"""KiB."""


def main() -> int:
    lab = LabTool("footprint")
    lab("down")
    begun = time.monotonic()
    try:
        lab("up", timeout=180)
        print(f"up, until every host is ready: {time.monotonic() - begun:.1f} s (at most 60)")
        settle(lab)
        report(memory(Lab.open(lab.name)))
    finally:
        lab("down")
    return 0


def report(parts: dict[str, int]) -> None:
    for name, kib in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"  {kib / MIB:8.0f} MiB  {name}")
    total = sum(parts.values()) / MIB
    print(f"the lab with {SERVERS} idle servers: {total / 1024:.2f} GiB (at most 6)")


def settle(lab: LabTool) -> None:
    """SERVERS run, and have written for a while."""
    lab.kubectl("create", "namespace", NAMESPACE)
    names = [f"idle-{n}" for n in range(SERVERS)]
    for name in names:
        lab.kubectl("apply", "-f", "-", stdin=manifest(name))
    for name in names:
        eventually(f"{name} runs", lambda n=name: ready(lab, n), 120)
        eventually(f"{name} writes", lambda n=name: lab.guest(f"{NAMESPACE}/{n}")["lastSeq"], 120)
    time.sleep(IDLE_S)  # what is measured is a lab at rest


def memory(lab: Lab) -> dict[str, int]:
    """KiB by program, and the tmpfs of the lab."""
    parts: dict[str, int] = {}
    mounts: dict[int, int] = {}
    for pid in descendants(lab.pid):
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            mounts |= tmpfs(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        parts[name] = parts.get(name, 0) + pss
    assert any(name.startswith("qemu") for name in parts), "its servers were not counted"
    parts["tmpfs"] = sum(mounts.values()) // 1024
    return parts


def descendants(pid: int) -> list[int]:
    """PID and all that came from it; orphans stay in the tree of their namespace's PID 1."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def tmpfs(pid: int) -> dict[int, int]:
    """Bytes in use by device number, of the tmpfs mounts that PID sees and the machine does not."""
    machine = {os.stat(path).st_dev for path in mounted("/proc/self/mounts")}
    sizes: dict[int, int] = {}
    for path in mounted(f"/proc/{pid}/mounts"):
        inside = f"/proc/{pid}/root{path}"
        try:
            device, usage = os.stat(inside).st_dev, os.statvfs(inside)
        except FileNotFoundError:
            continue  # another mount lies over it
        if device not in machine:
            sizes[device] = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    return sizes


def mounted(table: str) -> list[str]:
    """Mount points of all tmpfs in a mount table."""
    lines = (line.split() for line in Path(table).read_text().splitlines())
    return [fields[1] for fields in lines if fields[2] == "tmpfs"]


if __name__ == "__main__":
    sys.exit(main())
