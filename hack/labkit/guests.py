"""Orders and questions about one guest: evidence, kill, panic, poweroff, reboot, ping.

Found without Respawn's help: the UID from the API object, else from libvirt's metadata, else as it
was last seen; the address from the DHCP server's leases by the MACs of its cards.
"""

from __future__ import annotations

import os
import select
import signal
import time
from functools import partial

import rbd

from labkit import cephview, controlplane, guestctl, memory, pinger, truth
from labkit import evidence as proofs
from labkit.consoles import STAMPED
from labkit.errors import LabError, Unknown
from labkit.lab import Lab
from labkit.names import ServerName
from labkit.progress import say

ORDERS = ("kill", "panic", "poweroff", "reboot")
#: a guest that has just booted may still be asking for its address
ANSWER_PATIENCE_S = 20.0
LEASE_PATIENCE_S = 20.0


class Guest:
    """One server as the lab knows it.

    Raises Unknown when nothing bears that name, LabError when that cannot be known.
    """

    def __init__(self, lab: Lab, name: ServerName) -> None:
        self.lab = lab
        self.name = name
        self.silence: LabError | None = None
        self.object = self._ask_api()
        self.memory = memory.recall(lab.folder, name)  # before the QEMUs, which are kept in it
        self.qemus = [q for q in truth.qemus(lab) if self._mine(q)]
        self.uid = self._uid()
        memory.remember(lab.folder, name, self.uid, self.macs())

    def _ask_api(self) -> dict | None:
        path = (
            f"/apis/respawn.dev/v1alpha1/namespaces/{self.name.namespace}"
            f"/virtualservers/{self.name.name}"
        )
        try:
            return controlplane.get(self.lab.folder, self.lab.state, path)
        except controlplane.Silent as error:
            self.silence = error
            return None

    def _mine(self, qemu: truth.Qemu) -> bool:
        if self.object is not None:
            return bool(qemu.uid == self.object["metadata"]["uid"])
        return (qemu.namespace, qemu.name) == (self.name.namespace, self.name.name)

    def _uid(self) -> str:
        if self.object is not None:
            return str(self.object["metadata"]["uid"])
        for qemu in self.qemus:
            if qemu.uid:
                return qemu.uid
        if self.memory is not None and (self.silence or self._may_have_images(self.memory.uid)):
            return self.memory.uid
        if self.silence:
            raise LabError(f"whether there is a server {self.name} is not known: {self.silence}")
        memory.forget(self.lab.folder, self.name)
        raise Unknown(f"no server {self.name}: neither an object nor a QEMU bears that name")

    def _may_have_images(self, uid: str) -> bool:
        """Of a server without object and QEMU: a deleted one has none, one made by hand has."""
        try:
            return bool(cephview.question(self.lab, partial(_disk_images, uid)))
        except LabError:
            return True

    def macs(self) -> list[str]:
        """Of its cards: by its QEMU, its object, or as they were when either was last seen."""
        found = [mac for qemu in self.qemus for mac in qemu.macs]
        hardware = (self.object or {}).get("status", {}).get("hardware", {})
        found += [n["macAddress"] for n in hardware.get("networks", []) if n.get("macAddress")]
        if self.memory is not None and self.memory.uid == self.uid:
            found += self.memory.macs
        return found

    def address(self) -> str:
        """Its address on the tenant network. A guest that runs is given time to take one.

        Raises LabError when it has none.
        """
        deadline = time.monotonic() + (LEASE_PATIENCE_S if self.qemus else 0.0)
        while (found := self._leased()) is None:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} has no address on the tenant network")
            time.sleep(0.1)
        return found

    def _leased(self) -> str | None:
        leases = self.lab.folder / "dhcp.leases"
        rows = leases.read_text().splitlines() if leases.exists() else []
        by_mac = {row.split()[1].lower(): row.split()[2] for row in rows if len(row.split()) > 2}
        return next((by_mac[m.lower()] for m in self.macs() if m.lower() in by_mac), None)

    def console(self) -> list[proofs.ConsoleLine] | None:
        path = self.lab.folder.consoles / STAMPED / f"vs-{self.uid}.log"
        if not path.exists():
            return None
        return proofs.parse_console(path.read_text(errors="replace").splitlines())

    def log(self) -> tuple[str, list[proofs.Record]] | None:
        """Which disk carries the log, and its records; None when it cannot be read."""
        try:
            return cephview.question(self.lab, partial(_read_log, self.uid))
        except LabError as error:
            say(f"hack/lab: the disk of {self.name} is not read: {error}")
            return None


def _disk_images(uid: str, view: cephview.View) -> list[str]:
    return [name for name in cephview.image_names(view) if name.startswith(f"vs-{uid}-")]


def _read_log(uid: str, view: cephview.View) -> tuple[str, list[proofs.Record]] | None:
    images = _disk_images(uid, view)
    for disk in proofs.LOG_DISKS:
        if (image := f"vs-{uid}-{disk}") in images:
            with rbd.Image(view.ioctx, image, read_only=True) as opened:
                return disk, proofs.read_log(opened.read, disk=disk, size=opened.size())
    return None


def evidence(lab: Lab, name: ServerName) -> dict:
    """The answer of `hack/lab guest NAMESPACE/NAME`."""
    guest = Guest(lab, name)
    console = guest.console()  # before the disk: what was acknowledged must then be on it
    disk, records = guest.log() or (proofs.acknowledged_disk(console or []), None)
    return dict(proofs.evidence(console, records, disk=disk))


def order(lab: Lab, verb: str, name: ServerName) -> None:
    """One of ORDERS; returns when its effect is true."""
    if verb not in ORDERS:
        raise Unknown(f"unknown order 'guest {verb}': one of {', '.join(ORDERS)}")
    guest = Guest(lab, name)
    if not guest.qemus:
        raise Unknown(f"{name} has no QEMU: it does not run")
    if verb == "kill":
        for qemu in guest.qemus:
            _kill(qemu.pid)
        return
    address = guest.address()
    try:
        with cephview.inside_network(lab, "tenant"):
            guestctl.order(address, verb, server=guest.uid, timeout=ANSWER_PATIENCE_S)
    except guestctl.GuestError as error:
        raise LabError(str(error)) from error


def _kill(pid: int) -> None:
    """SIGKILL one QEMU and wait until it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], 10.0)[0]:
            raise LabError(f"QEMU {pid} does not die")
    finally:
        os.close(handle)


def ping(lab: Lab, name: ServerName, seconds: float) -> dict:
    """The answer of `hack/lab ping`."""
    address = Guest(lab, name).address()
    with cephview.inside_network(lab, "tenant"):
        return dict(pinger.ping(address, seconds))
