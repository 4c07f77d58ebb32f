"""One lab: bringing it up, taking it down, and access to its parts."""

from __future__ import annotations

import os

from labkit.errors import Unknown
from labkit.host import Host
from labkit.names import number
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
        if pid is None:
            raise Unknown(f"lab '{name}' has crashed: hack/lab up --name {name} repairs it")
        return cls(folder, state, pid)

    def host(self, name: str) -> Host:
        self.state.host(name)
        return Host(self.folder, self.state, self.inside, name)

    def hosts(self) -> list[Host]:
        return [self.host(name) for name in self.state.hosts]

    def authority(self) -> Authority:
        return Authority(self.folder.pki)

    def operator_service(self, word: str) -> str:
        index = number(word)
        if index is None or not 1 <= index <= self.state.operators:
            raise Unknown(f"no operator {word}: they are numbered 1 … {self.state.operators}")
        return f"operator-{index}"


def require_root() -> None:
    if os.geteuid() != 0:
        raise Unknown("the lab makes namespaces and bridges: run it as root")
