"""What a lab remembers on disk, and the lock that keeps two orders from interfering."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from labkit.errors import Unknown
from labkit.names import host_index
from labkit.progress import say

ROOT = Path("/var/lib/respawn-lab")
TELL_OF_WAITING_S = 1.0
#: locks of this process, by folder
_held: dict[Path, int] = {}
_saving = threading.Lock()


@dataclass
class HostState:
    """`installed`: all its files are there; `booted`: it is on with all cables and services."""

    name: str
    installed: bool = False
    booted: bool = False
    machine_id: str = ""
    boot_id: str = ""

    @property
    def index(self) -> int:
        return host_index(self.name)


@dataclass
class LabState:
    """The lab's own record. `complete` is set when `up` has finished once."""

    name: str
    profile: str = "default"
    operators: int = 2
    port: int = 0
    complete: bool = False
    bare: bool = False  # without Respawn in it
    fsid: str = ""
    mark: str = ""  # what was last written into Ceph's pool
    environment: dict[str, str] = field(default_factory=dict)  # of the operators
    hosts: dict[str, HostState] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)  # host -> its machine ID

    def host(self, name: str) -> HostState:
        if name not in self.hosts:
            known = ", ".join(self.hosts) or "none"
            raise Unknown(f"no host {name} in lab {self.name} (there are: {known})")
        return self.hosts[name]


def _known(kind: type[HostState] | type[LabState], raw: dict) -> dict:
    """Without what another version of the lab has written into its record."""
    return {name: raw[name] for name in (f.name for f in fields(kind)) if name in raw}


class Folder:
    """The folder of one lab: every path that it uses, and its record."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name

    def __truediv__(self, part: str) -> Path:
        return self.path / part

    @property
    def record(self) -> Path:
        return self / "lab.json"

    @property
    def socket(self) -> Path:
        return self / "init.sock"

    @property
    def logs(self) -> Path:
        return self / "logs"

    @property
    def pki(self) -> Path:
        return self / "pki"

    @property
    def ceph(self) -> Path:
        return self / "ceph"

    @property
    def consoles(self) -> Path:
        return self / "consoles"

    @property
    def kubeconfig(self) -> Path:
        return self / "kubeconfig"

    @property
    def kube_cache(self) -> Path:
        """What kubectl keeps of this lab's API server: it goes with the lab."""
        return self / "kube-cache"

    def kubectl_environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.kube_cache)}

    def host(self, host: str) -> Path:
        return self.path / "hosts" / host

    def host_socket(self, host: str) -> Path:
        return self.host(host) / "init.sock"

    def host_logs(self, host: str) -> Path:
        return self.host(host) / "logs"

    def exists(self) -> bool:
        return self.record.exists()

    def load(self) -> LabState:
        """Raises Unknown when there is no such lab."""
        try:
            raw = json.loads(self.record.read_text())
        except FileNotFoundError:
            raise Unknown(
                f"there is no lab '{self.name}': start one with hack/lab up --name {self.name}"
            ) from None
        hosts = {name: HostState(**_known(HostState, h)) for name, h in raw.pop("hosts").items()}
        return LabState(hosts=hosts, **_known(LabState, raw))

    def save(self, state: LabState) -> None:
        with _saving:  # hosts boot side by side
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            fresh = self / "lab.json.new"
            fresh.write_text(json.dumps(asdict(state), indent=1))
            os.replace(fresh, self.record)

    def clear(self) -> None:
        """Remove all that is in the folder. It stays itself, since the lock lies on it."""
        for path in self.path.iterdir() if self.path.exists() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab for one order. The lock lies on the folder, so it leaves no file behind."""
        fd = self._lock()
        _held[self.path] = fd
        try:
            yield
        finally:
            del _held[self.path]
            # while it is ours still: who waits for it sees that the folder is no more
            with contextlib.suppress(OSError):
                self.path.rmdir()  # only succeeds when no lab is in it
            with contextlib.suppress(OSError):
                ROOT.rmdir()
            os.close(fd)

    def _lock(self) -> int:
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # another order took the folder away just now
            try:
                self._wait_lock(fd)
                if os.stat(self.path).st_ino == os.fstat(fd).st_ino:
                    return fd
            except FileNotFoundError:
                pass  # the same, while we waited
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _wait_lock(self, fd: int) -> None:
        told_after = time.monotonic() + TELL_OF_WAITING_S
        while time.monotonic() < told_after:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.02)
        say(f"another order to lab '{self.name}' is being carried out: waiting for its end")
        fcntl.flock(fd, fcntl.LOCK_EX)

    def is_locked(self) -> bool:
        """Whether somebody else carries out an order to the lab."""
        if self.path in _held:
            return False
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def bequeath_lock(self) -> None:
        """The lock, if it is ours, stays with the program that this process becomes."""
        fd = _held.get(self.path)
        if fd is not None:
            os.set_inheritable(fd, True)
