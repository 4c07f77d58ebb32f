"""Virtual hardware, fixed at the first start: what the guest sees never changes by itself."""

from dataclasses import replace
from hashlib import sha256

from respawn.model.node import Node
from respawn.model.server import DiskHardware, Hardware, Nic, NicHardware, Server

FIRST_SLOT = 4
"""PCI slots below belong to the machine itself."""


def for_start(server: Server, node: Node) -> Hardware:
    """The hardware of the next start: what is recorded, and what the spec has added since."""
    capacity = node.host.capacity
    kept = server.status.hardware or Hardware(capacity.machine, capacity.cpu_model)
    disks = {d.name: d for d in kept.disks}
    nics = {n.name: n for n in kept.nics}
    used = {d.slot for d in kept.disks} | {n.slot for n in kept.nics}
    for disk in server.spec.disks:
        if disk.name not in disks:
            disks[disk.name] = DiskHardware(disk.name, disk.name, _take_slot(used))
    for nic in server.spec.networks:
        if nic.name not in nics:
            nics[nic.name] = NicHardware(nic.name, mac(server.uid, nic), _take_slot(used))
    return replace(
        kept,
        disks=tuple(disks.values()),
        nics=tuple(nics.values()),
        cores=server.spec.cores,
        memory=server.spec.memory,
    )


def mac(uid: str, nic: Nic) -> str:
    """The card's MAC: as wanted, else derived from the server's UID, in QEMU's own range."""
    if nic.mac is not None:
        return nic.mac.lower()
    tail = sha256(f"{uid}/{nic.name}".encode()).digest()[:3]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)


def _take_slot(used: set[int]) -> int:
    slot = next(n for n in range(FIRST_SLOT, 256) if n not in used)
    used.add(slot)
    return slot
