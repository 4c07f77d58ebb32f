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
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from labkit import qemu_args
from labkit.lab import Lab

#: our own metadata in a domain: who it is and which incarnation
DOMAIN_METADATA = "https://respawn.dev/domain/v1"
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


def qemus(lab: Lab) -> list[Qemu]:
    """Every QEMU of every host of the lab, from the machine's /proc and each host's libvirt."""
    owners = _owners(lab)
    found = [q for q in (_read(pid, owners) for pid in _pids()) if q is not None]
    for host in {q.host for q in found if q.host}:
        _ask_libvirt(lab, host, [q for q in found if q.host == host])
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


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _read(pid: int, owners: dict[str, str | None]) -> Qemu | None:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if "qemu-system" not in argv[0]:
            return None
        namespace = os.readlink(f"/proc/{pid}/ns/pid")
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if namespace not in owners or stat[0] in ("Z", "X"):
        return None
    if "-uuid" not in argv and not qemu_args.images(argv):
        return None  # a probe of QEMU's abilities
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
    )


def _start_time(ticks: int) -> str:
    """Start of a process, from its ticks after boot, by the machine's clock."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    at = datetime.datetime.fromtimestamp(boot + ticks / os.sysconf("SC_CLK_TCK"), datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


# --- libvirt's own state


def _ask_libvirt(lab: Lab, host: str, here: list[Qemu]) -> None:
    """Fill in state, namespace and name. Unix socket: no plane matters; lookups, never lists."""
    pid = lab.host(host).pid()
    frozen = lab.host(host).frozen()
    connection = None if frozen else _connect(pid)
    for qemu in here:
        qemu.state = "incoming" if qemu.incoming else "starting"
        if connection is not None and qemu.uid:
            _fill(connection, qemu)
        if qemu.name is None and qemu.domain:
            _recall(Path(f"/proc/{pid}/root/run/libvirt/qemu/{qemu.domain}.xml"), qemu)
        if qemu.stopped:
            qemu.state = "frozen"
    if connection is not None:
        connection.close()


def _connect(pid: int | None) -> libvirt.virConnect | None:
    socket = f"/proc/{pid}/root/run/libvirt/libvirt-sock-ro"
    if not os.path.exists(socket):
        return None
    try:
        return libvirt.openReadOnly(f"qemu+unix:///system?socket={socket}")
    except libvirt.libvirtError:
        return None


def _fill(connection: libvirt.virConnect, qemu: Qemu) -> None:
    try:
        domain = connection.lookupByUUIDString(qemu.uid)
        if qemu.domain and domain.name() != qemu.domain:
            return
        state, reason = domain.state()
        xml = domain.XMLDesc()
    except libvirt.libvirtError:
        return
    _name(qemu, ElementTree.fromstring(xml))
    qemu.state = _state(qemu, state, reason)
    qemu.migrating_out = reason == libvirt.VIR_DOMAIN_PAUSED_MIGRATION and not qemu.incoming


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
    if status.get("state") in ("running", "paused") and status.get("reason") != "starting up":
        qemu.state = str(status.get("state"))


def _state(qemu: Qemu, state: int, reason: int) -> str:
    if state == libvirt.VIR_DOMAIN_RUNNING:
        return "running"
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
