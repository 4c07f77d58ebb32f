"""What is so, asked of nobody who may be wrong: QEMU processes from /proc, states from libvirt.

Nothing here uses Respawn. Host = whose PID namespace the process is in.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from labkit import memory, qemu_args
from labkit.lab import Lab
from labkit.names import ServerName
from labkit.patience import ask_all

#: our own metadata in a domain: who it is and which incarnation
DOMAIN_METADATA = "https://respawn.dev/domain/v1"
#: a libvirtd that lives answers in milliseconds; on a busy machine in tenths of a second
LIBVIRT_PATIENCE_S = 3.0
STRANGE_CODES = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG)
#: as libvirtd writes them down in the files for its own next start
WRITTEN_REASONS = {
    "starting up": libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
    "migration": libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
}
_DOMAIN_NAME = re.compile(r"vs-(?P<uid>[0-9a-f-]{36})\.(?P<epoch>[0-9]+)\Z")


@dataclass
class Qemu:
    """One live QEMU process, as its command line tells. pid is the machine's."""

    pid: int
    host: str | None
    uid: str | None
    domain: str | None
    epoch: int | None
    images: list[str]
    incoming: bool
    stopped: bool
    started_at: str | None
    start_ticks: int
    namespace: str | None = None
    name: str | None = None
    state: str = "starting"
    macs: list[str] = field(default_factory=list)
    migrating_out: bool = False
    by_libvirt: bool = True  # its command line is one that libvirt writes
    waits: bool = False  # told to wait for an order before it runs (-S)


def qemus(lab: Lab) -> list[Qemu]:
    """Every QEMU of every host of the lab, from the machine's /proc and each host's libvirt."""
    owners = _owners(lab)
    found = [q for q in (_read(pid, owners) for pid in _pids()) if q is not None]
    _ask_libvirt(lab, found, _frozen_daemons(owners))
    for qemu in sorted(found, key=lambda q: q.start_ticks):
        if qemu.uid and qemu.namespace and qemu.name:
            name = ServerName(qemu.namespace, qemu.name)
            memory.remember(lab.folder, name, qemu.uid, qemu.macs)
    return sorted(found, key=lambda q: (q.host or "", q.started_at or "", q.pid))


def _owners(lab: Lab) -> dict[str, str | None]:
    """PID namespace -> host; the lab's own namespace is that of no host."""
    owners: dict[str, str | None] = {}
    for host in lab.hosts():
        pid = host.pid()
        if pid is not None:
            with contextlib.suppress(FileNotFoundError):  # it lost power just now
                owners[os.readlink(f"/proc/{pid}/ns/pid")] = host.name
    owners[os.readlink(f"/proc/{lab.pid}/ns/pid")] = None
    return owners


def _frozen_daemons(owners: dict[str, str | None]) -> set[str]:
    """Hosts whose libvirtd is stopped by a signal: it would only be waited for in vain."""
    frozen = set()
    for pid in _pids():
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            if name.endswith("(libvirtd") and rest.split()[0] in ("T", "t"):
                frozen.add(owners.get(os.readlink(f"/proc/{pid}/ns/pid")))
        except OSError:
            continue  # it has ended meanwhile
    return {host for host in frozen if host}


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (proc(5)). Raises OSError when it is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def lives(pid: int, start_ticks: int) -> bool:
    """Whether that very process, started so many ticks after boot, is there and no zombie."""
    try:
        stat = _stat(pid)
    except OSError:
        return False
    return stat[0] not in ("Z", "X") and int(stat[19]) == start_ticks


def _read(pid: int, owners: dict[str, str | None]) -> Qemu | None:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if "qemu-system" not in argv[0]:
            return None
        namespace = os.readlink(f"/proc/{pid}/ns/pid")
        stat = _stat(pid)
    except OSError:
        return None
    if namespace not in owners or stat[0] in ("Z", "X"):
        return None
    if qemu_args.is_probe(argv):
        return None
    uid, domain = qemu_args.value(argv, "-uuid"), qemu_args.guest_name(argv)
    match = _DOMAIN_NAME.match(domain or "")
    return Qemu(
        pid=pid,
        host=owners[namespace],
        uid=uid,
        domain=domain,
        epoch=int(match["epoch"]) if match else None,
        images=qemu_args.images(argv),
        incoming="-incoming" in argv,
        stopped=stat[0] in ("T", "t"),
        started_at=_start_time(int(stat[19])),
        start_ticks=int(stat[19]),
        macs=qemu_args.macs(argv),
        by_libvirt=qemu_args.by_libvirt(argv),
        waits="-S" in argv,
    )


def _start_time(ticks: int) -> str:
    """Start of a process, from its ticks after boot, by the machine's clock."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    at = datetime.datetime.fromtimestamp(boot + ticks / os.sysconf("SC_CLK_TCK"), datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


# --- libvirt's own state


@dataclass(frozen=True)
class _Known:
    """What libvirt tells of a domain."""

    state: int
    reason: int
    xml: str


def _ask_libvirt(lab: Lab, found: list[Qemu], frozen_daemons: set[str]) -> None:
    """Fill in state, namespace and name of each, as the libvirt of its host knows it."""
    inits = {host: lab.host(host).pid() for host in {q.host for q in found if q.host}}
    questions = {
        host: partial(_look_up, _socket(pid), [q for q in found if q.host == host])
        for host, pid in inits.items()
        if host not in frozen_daemons and not lab.host(host).frozen()
    }
    # in processes of their own: libvirt has no deadline, and a daemon can freeze at any moment
    answers = ask_all(questions, LIBVIRT_PATIENCE_S)
    for qemu in found:
        known = answers.get(qemu.host or "", {})
        seen = known.get(qemu.pid)
        qemu.state = _first_guess(qemu, strange=qemu.pid in known and seen is None)
        if seen is not None:
            _name(qemu, ElementTree.fromstring(seen.xml))
            _tell_state(qemu, seen.state, seen.reason)
        elif qemu.host and qemu.domain and qemu.pid not in known:
            _recall(Path(f"{_run(inits[qemu.host])}/qemu/{qemu.domain}.xml"), qemu)
        if qemu.stopped:
            qemu.state = "frozen"


def _first_guess(qemu: Qemu, *, strange: bool) -> str:
    """By the command line alone. STRANGE: libvirt was asked, and does not know it."""
    if qemu.incoming:
        return "incoming"
    if not qemu.by_libvirt:
        return "paused" if qemu.waits else "running"
    return "running" if strange else "starting"


def _run(init: int | None) -> str:
    return f"/proc/{init}/root/run/libvirt"


def _socket(init: int | None) -> str:
    return f"{_run(init)}/libvirt-sock-ro"


def _look_up(socket: str, here: list[Qemu]) -> dict[int, _Known | None]:
    """pid -> what libvirt knows. Unix socket: no plane matters; lookups, never lists.

    Raises libvirtError when there is no answer.
    """
    libvirt.registerErrorHandler(lambda *_: None, None)  # it would write to stderr besides
    connection = libvirt.openReadOnly(f"qemu+unix:///system?socket={socket}")
    return {q.pid: _known(connection, q) for q in here}


def _known(connection: libvirt.virConnect, qemu: Qemu) -> _Known | None:
    try:
        domain = connection.lookupByUUIDString(qemu.uid) if qemu.uid else None
        if domain is None or (qemu.domain and domain.name() != qemu.domain):
            return None
        state, reason = domain.state()
        return _Known(state, reason, domain.XMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() in STRANGE_CODES:
            return None
        raise


def _name(qemu: Qemu, domain: ElementTree.Element) -> None:
    """Whose it is, by the domain's metadata."""
    element = domain.find(f"metadata/{{{DOMAIN_METADATA}}}server")
    if element is not None:
        qemu.namespace, qemu.name = element.get("namespace"), element.get("name")
        if qemu.epoch is None and element.get("epoch"):
            qemu.epoch = int(element.get("epoch", "0"))


def _recall(file: Path, qemu: Qemu) -> None:
    """What libvirtd has written down of it for its own next start, while it cannot be asked."""
    try:
        status = ElementTree.fromstring(file.read_text())
    except (OSError, ElementTree.ParseError):
        return
    domain = status.find("domain")
    if domain is not None:
        _name(qemu, domain)
    code = {"running": libvirt.VIR_DOMAIN_RUNNING, "paused": libvirt.VIR_DOMAIN_PAUSED}.get(
        status.get("state", "")
    )
    if code is not None:
        _tell_state(qemu, code, WRITTEN_REASONS.get(status.get("reason", ""), 0))


def _tell_state(qemu: Qemu, state: int, reason: int) -> None:
    qemu.state = _state(qemu, state, reason)
    leaving = state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_MIGRATION
    qemu.migrating_out = leaving and not qemu.incoming


def _state(qemu: Qemu, state: int, reason: int) -> str:
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_SHUTDOWN):
        return "running"  # until its process has ended
    if state == libvirt.VIR_DOMAIN_PAUSED:
        if reason == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP:
            return "starting"
        if reason == libvirt.VIR_DOMAIN_PAUSED_MIGRATION and qemu.incoming:
            return "incoming"
        return "paused"
    return (
        "paused"
        if state in (libvirt.VIR_DOMAIN_PMSUSPENDED, libvirt.VIR_DOMAIN_CRASHED)
        else "starting"
    )


def domains(lab: Lab) -> dict:
    """The answer of `hack/lab domains -o json`."""
    return {
        "domains": [
            {
                "host": q.host,
                "pid": q.pid,
                "uid": q.uid,
                "namespace": q.namespace,
                "name": q.name,
                "domain": q.domain,
                "epoch": q.epoch,
                "state": q.state,
                "startedAt": q.started_at,
            }
            for q in qemus(lab)
        ]
    }


def servers_by_pid(lab: Lab) -> dict[int, str]:
    """NAMESPACE/NAME of every QEMU that libvirt, or what was seen before, knows the server of."""
    return {q.pid: f"{q.namespace}/{q.name}" for q in qemus(lab) if q.name}
