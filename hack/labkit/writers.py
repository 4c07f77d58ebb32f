"""Who could write to which image: QEMU command lines joined with Ceph's own lists.

More than one QEMU that is active and not blocklisted on one image is the violation that must
never be. A QEMU counts whatever state it is in: paused and frozen ones can be let go.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from labkit import blocklists, cephview, names, truth
from labkit.errors import LabError
from labkit.lab import Lab
from labkit.progress import say


def writers(lab: Lab) -> dict:
    """The answer of `hack/lab writers -o json`; what only Ceph knows is None when it is silent."""
    qemus = truth.qemus(lab)
    try:
        seen = cephview.question(lab, _look)
    except LabError as error:
        say(f"hack/lab: who is shut out is not known: {error}")
        seen = None
    # Ceph was asked after the processes. One that has ended since may have been let in because it
    # had ended: only who lived before and after that answer lived at its moment.
    qemus = [qemu for qemu in qemus if truth.lives(qemu.pid, qemu.start_ticks)]
    return {"images": rows(qemus, seen, {} if seen is None else _attribute(lab, qemus, seen))}


def rows(
    qemus: list[truth.Qemu], seen: Seen | None, attributed: dict[str, list[int]]
) -> list[dict]:
    """One for every image that Ceph lists or a QEMU has; without Ceph for the latter."""
    used = {image for qemu in qemus for image in qemu.images}
    images = used | set(seen.clients if seen else ())
    return [_image(image, qemus, seen, attributed) for image in sorted(images)]


@dataclass
class Seen:
    """What Ceph lists. `clients` has every image of the pool."""

    blocklist: list[str]
    clients: dict[str, cephview.ImageClients]

    def image(self, name: str) -> cephview.ImageClients:
        return self.clients.get(name, cephview.ImageClients())


def _look(view: cephview.View) -> Seen:
    return Seen(
        blocklist=cephview.blocklist(view),
        clients={
            f"{names.POOL}/{image}": listed
            for image in cephview.image_names(view)
            if (listed := cephview.clients(view, image)) is not None
        },
    )


def _image(
    image: str, qemus: list[truth.Qemu], seen: Seen | None, attributed: dict[str, list[int]]
) -> dict:
    on_it = [
        {
            "host": qemu.host,
            "pid": qemu.pid,
            "uid": qemu.uid,
            "epoch": qemu.epoch,
            "state": qemu.state,
            "role": _role(qemu),
            "blocklisted": None if seen is None else _blocklisted(image, qemu, seen, attributed),
        }
        for qemu in qemus
        if image in qemu.images
    ]
    listed = None if seen is None else seen.image(image)
    return {
        "image": image,
        "active": None if seen is None else _active(on_it),
        "qemus": on_it,
        "watchers": None if listed is None else [{"address": a} for a in listed.watchers],
        "lockers": None if listed is None else listed.lockers,
    }


def _active(on_it: list[dict]) -> int:
    return sum(row["role"] == "active" and not row["blocklisted"] for row in on_it)


def _role(qemu: truth.Qemu) -> str:
    if qemu.state == "incoming":
        return "incoming"
    return "outgoing" if qemu.migrating_out else "active"


def _blocklisted(
    image: str, qemu: truth.Qemu, seen: Seen, attributed: dict[str, list[int]]
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


def _attribute(lab: Lab, qemus: list[truth.Qemu], seen: Seen) -> dict[str, list[int]]:
    """(process, image) -> nonces of the clients with which it was seen to have the image open."""
    fresh = {
        _memory_key(qemu, image): _nonces_in(qemu, seen.image(image)) if qemu.host else set()
        for qemu in qemus
        for image in qemu.images
    }
    return remember(lab.folder / "clients.json", fresh)


def remember(path: Path, fresh: dict[str, set[int]]) -> dict[str, list[int]]:
    """Add FRESH to what PATH keeps of processes that still live, and return all of it.

    Under a lock, and by what is in the file then: another `writers` may have seen, meanwhile, what
    this one did not.
    """
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(path.read_text()) if path.exists() else {}
        kept = {key: set(nonces) for key, nonces in known.items() if _lives(key)}
        now = {k: sorted(kept.get(k, set()) | fresh.get(k, set())) for k in kept.keys() | fresh}
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(now))
        os.replace(scratch, path)
    return now


def _lives(key: str) -> bool:
    process, _, start = key.partition(" ")[0].partition("@")
    return truth.lives(int(process), int(start))


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
