"""One lab: bringing it up, taking it down, and access to its parts."""

from __future__ import annotations

import os

from labkit.errors import Unknown
from labkit.host import Host
from labkit.names import host_index, number
from labkit.namespaces import Inside
from labkit.pki import Authority
from labkit.state import Folder, LabState
from labkit.supervise import Supervisor, init_pid


class Lab:
    """A running lab. `Lab.open` raises Unknown when it does not run."""

    def __init__(self, folder: Folder, state: LabState, pid: int) -> None:
        self.folder = folder
        self.state = state
        self.pid = pid
        self.inside = Inside(pid)
        self.supervisor = Supervisor(folder.socket)

    @classmethod
    def open(cls, name: str) -> Lab:
        folder = Folder(name)
        state = folder.load()
        pid = init_pid(folder.socket)
        if pid is None or not state.complete:
            raise Unknown(f"lab '{name}' {_missing(folder, state)}")
        return cls(folder, state, pid)

    def host(self, name: str) -> Host:
        self.state.host(name)
        return Host(self.folder, self.state, self.inside, name)

    def hosts(self) -> list[Host]:
        return [self.host(name) for name in sorted(self.state.hosts, key=host_index)]

    def authority(self) -> Authority:
        return Authority(self.folder.pki)

    def operator_service(self, word: str) -> str:
        index = number(word)
        if index is None or not 1 <= index <= self.state.operators:
            raise Unknown(f"no operator {word}: they are numbered 1 … {self.state.operators}")
        return f"operator-{index}"


def _missing(folder: Folder, state: LabState) -> str:
    """Why no order can be given to a lab that has a record."""
    if not state.complete and folder.is_locked():
        return "is being brought up"
    why = "has crashed" if state.complete else "was never brought up to its end"
    return f"{why}: hack/lab up --name {folder.name} repairs it"


def require_root() -> None:
    if os.geteuid() != 0:
        raise Unknown("the lab makes namespaces and bridges: run it as root")
