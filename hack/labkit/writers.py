"""Who could write to which image: QEMU command lines joined with Ceph's own lists.

More than one QEMU that is active and not blocklisted on one image is the violation that must
never be. A QEMU counts whatever state it is in: paused and frozen ones can be let go.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from labkit import blocklists, cephview, names, truth
from labkit.lab import Lab


def writers(lab: Lab) -> dict:
    """The answer of `hack/lab writers -o json`. Raises LabError when Ceph does not answer."""
    qemus = truth.qemus(lab)
    with cephview.pool(lab) as view:
        seen = _Ceph(
            blocklist=cephview.blocklist(view),
            clients={
                f"{names.POOL}/{image}": listed
                for image in cephview.image_names(view)
                if (listed := cephview.clients(view, image)) is not None
            },
        )
    attributed = _attribute(lab, qemus, seen)
    used = {image for qemu in qemus for image in qemu.images}
    return {
        "images": [
            _image(image, qemus, seen, attributed) for image in sorted(used | set(seen.clients))
        ]
    }


@dataclass
class _Ceph:
    blocklist: list[str]
    clients: dict[str, cephview.ImageClients]

    def image(self, name: str) -> cephview.ImageClients:
        return self.clients.get(name, cephview.ImageClients())


def _image(
    image: str, qemus: list[truth.Qemu], seen: _Ceph, attributed: dict[str, list[int]]
) -> dict:
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
                    "blocklisted": _blocklisted(image, qemu, seen, attributed),
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


def _blocklisted(
    image: str, qemu: truth.Qemu, seen: _Ceph, attributed: dict[str, list[int]]
) -> bool:
    """By its host's address, or by the nonce of every client it was ever seen to have there."""
    if qemu.host is None:
        return False
    address = names.host_address("storage", names.host_index(qemu.host))
    if blocklists.address_blocked(seen.blocklist, address):
        return True
    own = set(attributed.get(_memory_key(qemu, image), []))
    return bool(own) and own <= blocklists.blocked_nonces(seen.blocklist, address)


# --- which Ceph client is in which QEMU
#
# A watch's cookie is an address in the memory of the process that watches. So a nonce belongs to
# the QEMU that has the cookie's address mapped. Watchers vanish when they are blocklisted, hence
# what was once seen is remembered for as long as the process lives.


def _attribute(lab: Lab, qemus: list[truth.Qemu], seen: _Ceph) -> dict[str, list[int]]:
    """(process, image) -> nonces of the clients with which it was seen to have the image open."""
    path = lab.folder / "clients.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    now: dict[str, list[int]] = {}
    for qemu in qemus:
        for image in qemu.images:
            key = _memory_key(qemu, image)
            fresh = _nonces_in(qemu, seen.image(image)) if qemu.host else set()
            now[key] = sorted(fresh | set(known.get(key, [])))
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(now))
    os.replace(scratch, path)
    return now


def _memory_key(qemu: truth.Qemu, image: str) -> str:
    return f"{qemu.pid}@{qemu.start_ticks} {image}"


def _nonces_in(qemu: truth.Qemu, clients: cephview.ImageClients) -> set[int]:
    address = names.host_address("storage", names.host_index(qemu.host or ""))
    mapped = _mappings(qemu.pid)
    found = set()
    for client_address, cookie in clients.cookies:
        ip, nonce = blocklists.nonce_of(client_address) or ("", 0)
        if ip == address and any(low <= cookie < high for low, high in mapped):
            found.add(nonce)
    return found


def _mappings(pid: int) -> list[tuple[int, int]]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []
    ranges = (line.split(" ", 1)[0].partition("-") for line in lines)
    return [(int(low, 16), int(high, 16)) for low, _, high in ranges]
