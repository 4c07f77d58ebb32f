"""Who could write to which image: QEMU command lines joined with Ceph's own lists.

More than one QEMU that is active and not blocklisted on one image is the violation that must
never be. A QEMU counts whatever state it is in: paused and frozen ones can be let go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from labkit import cephview, names, truth
from labkit.errors import LabError
from labkit.lab import Lab

_SOCKET = re.compile(r"socket:\[(\d+)\]")


def writers(lab: Lab) -> dict:
    """The answer of `hack/lab writers -o json`. Raises LabError when Ceph does not answer."""
    qemus = truth.qemus(lab)
    with cephview.pool(lab) as view:
        seen = _Ceph(
            blocklist=cephview.blocklist(view),
            clients={
                f"{names.POOL}/{image}": cephview.clients(view, image)
                for image in cephview.image_names(view)
            },
            nonces=_nonces(lab, qemus),
        )
    used = {image for qemu in qemus for image in qemu.images}
    return {"images": [_image(image, qemus, seen) for image in sorted(used | set(seen.clients))]}


@dataclass
class _Ceph:
    blocklist: list[str]
    clients: dict[str, cephview.ImageClients]
    nonces: dict[int, set[int]]  # by pid

    def image(self, name: str) -> cephview.ImageClients:
        return self.clients.get(name, cephview.ImageClients())


def _image(image: str, qemus: list[truth.Qemu], seen: _Ceph) -> dict:
    rows = []
    for qemu in qemus:
        if image in qemu.images:
            rows.append(
                {
                    "host": qemu.host,
                    "pid": qemu.pid,
                    "uid": qemu.uid,
                    "epoch": qemu.epoch,
                    "state": qemu.state,
                    "role": _role(qemu),
                    "blocklisted": _blocklisted(image, qemu, seen),
                }
            )
    listed = seen.image(image)
    return {
        "image": image,
        "active": sum(r["role"] == "active" and not r["blocklisted"] for r in rows),
        "qemus": rows,
        "watchers": [{"address": address} for address in listed.watchers],
        "lockers": listed.lockers,
    }


def _role(qemu: truth.Qemu) -> str:
    if qemu.state == "incoming":
        return "incoming"
    return "outgoing" if qemu.migrating_out else "active"


def _blocklisted(image: str, qemu: truth.Qemu, seen: _Ceph) -> bool:
    """By its host's address, or by the nonce of every client that it may have for this image."""
    if qemu.host is None:
        return False
    address = names.host_address("storage", names.host_index(qemu.host))
    if cephview.address_blocked(seen.blocklist, address):
        return True
    own = seen.nonces.get(qemu.pid, set())
    elsewhere = {
        nonce
        for other, clients in seen.clients.items()
        if other != image
        for ip, nonce in filter(None, map(cephview.nonce_of, clients.watchers))
        if ip == address
    }
    candidates = own - elsewhere
    return bool(candidates) and candidates <= cephview.blocked_nonces(seen.blocklist, address)


def _nonces(lab: Lab, qemus: list[truth.Qemu]) -> dict[int, set[int]]:
    """The Ceph clients inside each QEMU: its TCP sockets joined with the monitor's sessions."""
    try:
        sessions = cephview.monitor_sessions(lab)
    except LabError:
        return {}
    found: dict[int, set[int]] = {}
    for qemu in qemus:
        if qemu.host is None:
            continue
        address = names.host_address("storage", names.host_index(qemu.host))
        ports = _local_ports(qemu.pid)
        found[qemu.pid] = {sessions[address, p] for p in ports if (address, p) in sessions}
    return found


def _local_ports(pid: int) -> set[int]:
    """Local ports of the TCP sockets that a process holds."""
    inodes = set()
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            match = _SOCKET.match(str(fd.readlink()))
            if match:
                inodes.add(match[1])
        rows = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    fields = [row.split() for row in rows]
    return {int(f[1].rpartition(":")[2], 16) for f in fields if f[9] in inodes}
