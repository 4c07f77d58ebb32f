"""Freezing processes of every kind, and thawing while some end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import host
from labkit.host import Host
from labkit.state import Folder, LabState

#: the parent of a vfork: it sleeps in the kernel until its child has opened a pipe with no writer
VFORK = """
import os, sys
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[
    (os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])
"""


class Those(Host):
    """A host made of some processes of the machine; the first is its PID 1."""

    def __init__(self, *pids: int) -> None:
        super().__init__(Folder("none"), LabState("none"), None, "host-1")  # type: ignore[arg-type]
        self.pids = pids

    def pid(self) -> int:
        return self.pids[0]

    def processes(self) -> Iterator[int]:
        yield from self.pids


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(pid: int, wanted: str) -> None:
    deadline = time.monotonic() + 20
    while state(pid) != wanted:
        assert time.monotonic() < deadline, f"{pid} is {state(pid)}, not {wanted}"
        time.sleep(0.01)


def first_child(pid: int) -> int:
    children, deadline = Path(f"/proc/{pid}/task/{pid}/children"), time.monotonic() + 20
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline, f"{pid} has no child"
        time.sleep(0.01)
    return int(found[0])


def test_the_parent_of_a_stopped_vfork_is_frozen_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    parent = subprocess.Popen([sys.executable, "-c", VFORK, str(pipe)])
    try:
        child = first_child(parent.pid)  # before it has one, D is only a wait for the disk
        until(parent.pid, "D")
        Those(parent.pid, child).freeze()
        assert state(child) == "T"
        os.kill(child, 18)
        pipe.write_text("")  # the child runs, and the parent leaves the kernel: into its stop
        until(parent.pid, "T")
    finally:
        parent.kill()
        parent.wait()


def test_what_cannot_be_stopped_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "FREEZE_PATIENCE_S", 0.05)
    monkeypatch.setattr(host, "_signal", lambda *_: None)
    with pytest.raises(host.LabError, match="host-1 does not freeze"):
        Those(os.getpid()).freeze()
