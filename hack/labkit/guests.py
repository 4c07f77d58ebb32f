"""Orders and questions about one guest: evidence, kill, panic, poweroff, reboot, ping.

Found without Respawn's help: the UID from the API object, else from libvirt's metadata; the
address from the DHCP server's leases by the MAC on QEMU's command line.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import rbd

from labkit import cephview, controlplane, guestctl, pinger, truth
from labkit import evidence as proofs
from labkit.consoles import STAMPED
from labkit.errors import LabError, Unknown
from labkit.lab import Lab
from labkit.names import ServerName

ORDERS = ("kill", "panic", "poweroff", "reboot")
#: a guest that has just booted may still be asking for its address
ANSWER_PATIENCE_S = 20.0


class Guest:
    """One server as the lab knows it. Raises Unknown when nothing bears that name."""

    def __init__(self, lab: Lab, name: ServerName) -> None:
        self.lab = lab
        self.name = name
        self.object = _api_object(lab, name)
        self.qemus = [q for q in truth.qemus(lab) if self._mine(q, name)]
        self.uid = self._uid()

    def _mine(self, qemu: truth.Qemu, name: ServerName) -> bool:
        if self.object is not None:
            return bool(qemu.uid == self.object["metadata"]["uid"])
        return (qemu.namespace, qemu.name) == (name.namespace, name.name)

    def _uid(self) -> str:
        if self.object is not None:
            return str(self.object["metadata"]["uid"])
        for qemu in self.qemus:
            if qemu.uid:
                return self._remember(qemu.uid)
        if self._memory.exists():
            return self._memory.read_text()
        raise Unknown(f"no server {self.name}: neither an object nor a QEMU bears that name")

    @property
    def _memory(self) -> Path:
        """Where the UID of a server without an object is kept, for when its QEMU is gone."""
        return self.lab.folder / f"names/{self.name.namespace}_{self.name.name}"

    def _remember(self, uid: str) -> str:
        self._memory.parent.mkdir(exist_ok=True)
        self._memory.write_text(uid)
        return uid

    def macs(self) -> list[str]:
        found = [mac for qemu in self.qemus for mac in qemu.macs]
        status = (self.object or {}).get("status", {})
        found += [nic["mac"] for nic in status.get("hardware", {}).get("nics", []) if "mac" in nic]
        return found

    def address(self) -> str:
        """Its address on the tenant network; raises LabError when it never had one."""
        leases = self.lab.folder / "dhcp.leases"
        rows = leases.read_text().splitlines() if leases.exists() else []
        by_mac = {row.split()[1].lower(): row.split()[2] for row in rows if len(row.split()) > 2}
        for mac in self.macs():
            if mac.lower() in by_mac:
                return by_mac[mac.lower()]
        raise LabError(f"{self.name} has no address on the tenant network yet")

    def console(self) -> list[proofs.ConsoleLine] | None:
        path = self.lab.folder.consoles / STAMPED / f"vs-{self.uid}.log"
        if not path.exists():
            return None
        return proofs.parse_console(path.read_text(errors="replace").splitlines())

    def records(self) -> tuple[str, list[proofs.Record] | None]:
        """Which disk carries the log, and its records (None when Ceph does not answer)."""
        try:
            with cephview.pool(self.lab) as view:
                return self._read_disk(view)
        except LabError:
            return self._log_disk([d["name"] for d in self._disks()]), None

    def _disks(self) -> list[dict]:
        disks: list[dict] = (self.object or {}).get("spec", {}).get("disks", [])
        return disks

    def _log_disk(self, disks: list[str]) -> str:
        return "data" if "data" in disks else "root"

    def _read_disk(self, view: cephview.View) -> tuple[str, list[proofs.Record] | None]:
        prefix = f"vs-{self.uid}-"
        images = [n for n in cephview.image_names(view) if n.startswith(prefix)]
        disk = self._log_disk([n.removeprefix(prefix) for n in images])
        image = f"{prefix}{disk}"
        if image not in images:
            return disk, None
        with rbd.Image(view.ioctx, image, read_only=True) as opened:
            return disk, proofs.read_log(opened.read, disk=disk, size=opened.size())


def _api_object(lab: Lab, name: ServerName) -> dict | None:
    command = [
        str(controlplane.kubectl_path()), "--kubeconfig", str(lab.folder.kubeconfig),
        "--request-timeout=3s", "-n", name.namespace, "get",
        "virtualservers.respawn.dev", name.name, "-o", "json",
    ]  # fmt: skip
    if lab.supervisor.services()["kube-apiserver"]["state"] != "running":
        return None
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        return None
    found: dict = json.loads(answer.stdout)
    return found


def evidence(lab: Lab, name: ServerName) -> dict:
    """The answer of `hack/lab guest NAMESPACE/NAME`."""
    guest = Guest(lab, name)
    console = guest.console()  # before the disk: what was acknowledged must then be on it
    disk, records = guest.records()
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


def ping(lab: Lab, name: ServerName, seconds: int) -> dict:
    """The answer of `hack/lab ping`."""
    address = Guest(lab, name).address()
    with cephview.inside_network(lab, "tenant"):
        return dict(pinger.ping(address, float(seconds)))
