"""QEMU processes, as /proc shows them: the truth that no libvirtd is needed for.

A QEMU that nobody can stop from outside (its storage is cut, it is stopped by a signal, libvirtd
is gone) is still seen and still ended here.
"""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from respawn.adapters.libvirt.names import incarnation_of
from respawn.ports.errors import Unavailable

PROC = Path("/proc")
_OLD_RBD = re.compile(r"(?:^|[=,])rbd:(?P<pool>[^/:,]+)/(?P<image>[^:,@]+)")
_OPTION_RBD = re.compile(r"(?:^|,)(?P<node>(?:[^=,]+\.)?)driver=rbd(?=,|$)")
_SOCKET = re.compile(r"socket:\[([0-9]+)\]")
_MEMORY = re.compile(r"(?:size=)?([0-9]+)([bkmgtBKMGT]?)")
_UNITS = {"b": 1, "k": 1 << 10, "": 1 << 20, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True)
class Command:
    """What a QEMU's command line says."""

    uid: str | None
    """Its `-uuid`."""
    domain: str | None
    """libvirt's name of it."""
    images: tuple[str, ...]
    """RBD images, as POOL/IMAGE."""
    memory: int
    """Bytes of guest memory, 0 when it does not say."""
    incoming: bool

    @property
    def incarnation(self) -> tuple[str, int] | None:
        """(UID, epoch), when it is one of ours by name *and* UUID."""
        found = incarnation_of(self.domain or "")
        return found if found is not None and found[0] == self.uid else None

    @property
    def pools(self) -> frozenset[str]:
        """Ceph pools of its images."""
        return frozenset(image.partition("/")[0] for image in self.images)


@dataclass(frozen=True, slots=True)
class Qemu:
    """One live QEMU process; `stopped` by a signal (SIGSTOP), not paused by its monitor."""

    pid: int
    started: datetime
    command: Command
    stopped: bool = False


def parse_command(argv: Sequence[str]) -> Command | None:
    """Read a command line; None when it is no QEMU program's."""
    if not argv or not Path(argv[0]).name.startswith(("qemu", "kvm")):
        return None
    name = _value(argv, "-name")
    return Command(
        uid=_uuid(_value(argv, "-uuid") or ""),
        domain=_guest(name) if name else None,
        images=tuple(dict.fromkeys(image for word in argv[1:] for image in _images(word))),
        memory=_memory(_value(argv, "-m") or ""),
        incoming="-incoming" in argv,
    )


def _value(argv: Sequence[str], option: str) -> str | None:
    """QEMU takes an option with one dash or with two."""
    return next((value for word, value in pairwise(argv) if word in (option, f"-{option}")), None)


def _uuid(text: str) -> str | None:
    """As libvirt writes it, whatever a person wrote."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


def _guest(name: str) -> str:
    words = name.split(",")
    return next((w.removeprefix("guest=") for w in words if w.startswith("guest=")), words[0])


def _memory(text: str) -> int:
    match = _MEMORY.match(text)
    return int(match[1]) * _UNITS[match[2].lower()] if match else 0


def _images(word: str) -> Iterator[str]:
    if word.startswith("{"):
        yield from _json_images(word)
    for option in _OPTION_RBD.finditer(word):
        fields = dict(part.partition("=")[::2] for part in word.split(","))
        pool, image = (
            fields.get(option["node"] + key, fields.get(key, "")) for key in ("pool", "image")
        )
        yield f"{pool}/{image}"
    for match in _OLD_RBD.finditer(word):
        yield f"{match['pool']}/{match['image']}"


def _json_images(word: str) -> Iterator[str]:
    try:
        device = json.loads(word)
    except ValueError:
        return
    places = [device]
    while places:
        place = places.pop()
        if isinstance(place, dict):
            if place.get("driver") == "rbd":
                yield f"{place.get('pool', '')}/{place.get('image', '')}"
            places += place.values()
        elif isinstance(place, list):
            places += place


class Processes:
    """The QEMUs of this host."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._ticks = os.sysconf("SC_CLK_TCK")
        # Once, so that a process has the same start time at every look; and to the millisecond, as
        # the API keeps it, so that what is read back is what was said.
        booted = datetime.now(UTC) - timedelta(seconds=self._uptime())
        self._booted = booted.replace(microsecond=booted.microsecond // 1000 * 1000)
        self._pool = ThreadPoolExecutor(1, "proc")
        self._running: asyncio.Task[tuple[Qemu, ...]] | None = None
        self._next: asyncio.Task[tuple[Qemu, ...]] | None = None

    async def fresh(self) -> tuple[Qemu, ...]:
        """All QEMUs, by a scan that began after this call; calls that wait share one scan."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, previous: asyncio.Task[tuple[Qemu, ...]] | None) -> tuple[Qemu, ...]:
        if previous is not None:
            await asyncio.wait([previous])
        self._running, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.scan)

    def scan(self) -> tuple[Qemu, ...]:
        """All QEMUs, now; some 20 microseconds for each process of the host."""
        pids = (int(name) for name in os.listdir(self._proc) if name.isdigit())
        return tuple(qemu for pid in pids if (qemu := self.read(pid)) is not None)

    def read(self, pid: int) -> Qemu | None:
        """The QEMU that `pid` is now, if it is one and lives."""
        folder = self._proc / str(pid)
        try:
            command = parse_command(self._argv(folder))
            if command is None:
                return None
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None  # it has ended meanwhile
        started = self._booted + timedelta(milliseconds=1000 * int(stat[19]) // self._ticks)
        return Qemu(pid, started, command, stopped=stat[0] in ("T", "t"))

    def _argv(self, folder: Path) -> list[str]:
        """The command line; of a dead leader whose threads live on, that of one of its threads."""
        raw = (folder / "cmdline").read_bytes()
        if not raw and (folder / "comm").read_bytes().startswith((b"qemu", b"kvm")):
            threads = (folder / "task").iterdir()
            raw = next((line for thread in threads if (line := _read(thread / "cmdline"))), b"")
        return raw.decode(errors="replace").rstrip("\0").split("\0") if raw else []

    def ceph_sockets(self) -> frozenset[int]:
        """Inodes of the sockets of our QEMUs, of others with an RBD image, and of this process."""
        clients = [q.pid for q in self.scan() if q.command.incarnation or q.command.images]
        return frozenset(inode for pid in (os.getpid(), *clients) for inode in self._sockets(pid))

    def _sockets(self, pid: int) -> Iterator[int]:
        folder = self._proc / str(pid) / "fd"
        try:
            descriptors = os.listdir(folder)
        except OSError:
            return  # it has ended meanwhile
        for descriptor in descriptors:
            with suppress(OSError):  # closed meanwhile
                if (found := _SOCKET.fullmatch(os.readlink(folder / descriptor))) is not None:
                    yield int(found[1])

    def _uptime(self) -> float:
        return float((self._proc / "uptime").read_text().split()[0])

    async def end(
        self, pid: int, expected: Callable[[Qemu], bool], *, patience: float, deadline: float
    ) -> None:
        """End the process, if it is still the expected one; returns when it is gone.

        SIGTERM first: QEMU then closes its images in order. After `patience` seconds, or at once
        when it is stopped by a signal, SIGKILL. Raises Unavailable when it outlives `deadline`.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # safety: the descriptor is held before the process is looked at, so the signal
            # reaches the very process that was seen to be the one to end, or none.
            qemu = self.read(pid)
            if qemu is None or not expected(qemu):
                return
            if not qemu.stopped:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                if await _ended(descriptor, patience):
                    return
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not await _ended(descriptor, deadline):
                raise Unavailable(f"QEMU {pid} outlives SIGKILL")
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)


def _read(file: Path) -> bytes:
    """Its content; nothing of a thread that is gone: it does not hide those that live."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


async def _ended(descriptor: int, patience: float) -> bool:
    """Whether the process of a pidfd ends within `patience` seconds, all its threads with it."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(patience):
            await gone.wait()
    except TimeoutError:
        return False
    else:
        return True
    finally:
        loop.remove_reader(descriptor)
