"""The client of supervisor.py: orders to a lab's or a host's PID 1, and who it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from labkit.errors import LabError

ANSWER_PATIENCE_S = 15.0
#: of a stop order, which is answered when the process has ended: above every stop_patience
STOP_PATIENCE_S = 75.0
LOCK = "hhqqi4x"
"""struct flock: type, whence, start, length, holder."""
NS_GET_PARENT = 0xB702
"""ioctl: the namespace around a namespace."""


class Gone(LabError):
    """There is no process behind the socket."""


def _connect(path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise Gone(f"nothing answers at {path}") from None
    return connection


def init_pid(path: Path) -> int | None:
    """PID 1 of the namespace behind the socket, as the caller's /proc shows it; None if gone.

    The kernel tells who holds its lock, so this works for a frozen one too, however often.
    """
    try:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return _peer(path)
    try:
        asked = struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(LOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    finally:
        os.close(fd)
    return pid or None if kind != fcntl.F_UNLCK else None


def _peer(path: Path) -> int | None:
    """The same of a lab that was brought up before there was a lock."""
    try:
        with _connect(path, 2.0) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except Gone:
        return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


class Supervisor:
    """Orders for one PID 1. Every method raises Gone, or LabError with the refusal."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def order(self, **order: object) -> dict:
        patience = STOP_PATIENCE_S if order["op"] == "stop" else ANSWER_PATIENCE_S
        with _connect(self.path, patience) as connection:
            try:
                connection.sendall(json.dumps(order).encode() + b"\n")
                answer = connection.makefile().readline()
            except (TimeoutError, ConnectionError) as error:
                raise LabError(f"no answer from the supervisor at {self.path}: {error}") from error
        if not answer:
            raise Gone(f"the supervisor at {self.path} ended")
        reply: dict = json.loads(answer)
        if not reply["ok"] and "error" in reply:
            raise LabError(reply["error"])
        return reply

    def define(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        restart: bool = True,
        pass_listener: bool = False,
        stop_patience: float | None = None,
    ) -> None:
        self.order(
            op="define",
            name=name,
            argv=list(argv),
            env=dict(env or {}),
            restart=restart,
            pass_listener=pass_listener,
            stop_patience=stop_patience,
        )

    def start(self, name: str) -> None:
        reply = self.order(op="start", name=name)
        if not reply["ok"]:
            raise LabError(f"{name} does not start: see its log")

    def stop(self, name: str) -> None:
        self.order(op="stop", name=name)

    def services(self) -> dict[str, dict]:
        services: dict[str, dict] = self.order(op="status")["services"]
        return services


def kill_namespace(path: Path, patience_s: float = 10.0) -> bool:
    """SIGKILL the PID 1 behind PATH and wait until every process of its namespace is gone.

    Returns False when it was gone already. The kernel reaps a PID namespace before its init's
    exit is seen, so a vanished init means that no process of it is left.
    """
    pid = init_pid(path)
    if pid is None:
        return False
    handle = os.pidfd_open(pid)
    try:
        if init_pid(path) != pid:
            return False
        outside = doors(pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
    deadline = time.monotonic() + patience_s
    while os.path.exists(f"/proc/{pid}/ns/pid") and _state(pid) not in ("Z", "X", ""):
        if time.monotonic() > deadline:
            raise LabError(f"process {pid} does not die")
        wake(outside)
        time.sleep(0.005)
    return True


def doors(init: int) -> set[int]:
    """The processes outside whose children are in the namespace of INIT, or in one within it.

    An `nsenter` stops itself when its child is stopped. It must run on for that child to be
    reaped, and a namespace is gone only when all of it is.
    """
    known: dict[str, bool] = {}
    within = {p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if _in(p, init, known)}
    return {parent for p in within if (parent := _parent(p)) and parent not in within}


def wake(pids: set[int]) -> None:
    """SIGCONT to each that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _in(pid: int, init: int, known: dict[str, bool]) -> bool:
    """Whether PID is in the PID namespace of INIT or in one within it; `known` by namespace."""
    try:
        link = os.readlink(f"/proc/{pid}/ns/pid")
        if link not in known:
            known[link] = _is_within(f"/proc/{pid}/ns/pid", os.stat(f"/proc/{init}/ns/pid").st_ino)
    except OSError:
        return False  # it has ended meanwhile
    return known[link]


def _is_within(path: str, outer: int) -> bool:
    here = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.fstat(here).st_ino != outer:
            try:
                around = fcntl.ioctl(here, NS_GET_PARENT)
            except PermissionError:
                return False  # the outermost that can be seen from here
            os.close(here)
            here = around
        return True
    finally:
        os.close(here)


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]
