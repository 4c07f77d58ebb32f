"""Virtual hardware, fixed at the first start: what the guest sees never changes by itself."""

from dataclasses import replace
from hashlib import sha256

from respawn.model.node import Node
from respawn.model.server import DiskHardware, Hardware, Nic, NicHardware, Server

FIRST_SLOT = 4
"""PCI slots below belong to the machine itself."""


def for_start(server: Server, node: Node) -> Hardware:
    """The hardware of the next start: what is recorded, what the spec has added since, and nothing
    of what it has removed.
    """
    capacity, spec = node.host.capacity, server.spec
    before = server.status.hardware or Hardware(capacity.machine, capacity.cpu_model)
    wanted = {d.name for d in spec.disks}, {n.name for n in spec.networks}
    disks = {d.name: d for d in before.disks if d.name in wanted[0]}
    nics = {n.name: n for n in before.nics if n.name in wanted[1]}
    used = {d.slot for d in disks.values()} | {n.slot for n in nics.values()}
    for disk in spec.disks:
        if disk.name not in disks:
            disks[disk.name] = DiskHardware(disk.name, disk.name, _take_slot(used))
    for nic in spec.networks:
        kept = nics.get(nic.name)
        if kept is None:
            kept = NicHardware(nic.name, mac(server.uid, nic), _take_slot(used))
        nics[nic.name] = replace(kept, mac=wanted_mac(nic) or kept.mac, bridge=nic.bridge)
    return replace(
        before,
        disks=tuple(disks.values()),
        nics=tuple(nics.values()),
        cores=server.spec.cores,
        memory=server.spec.memory,
    )


def mac(uid: str, nic: Nic) -> str:
    """The card's MAC: as wanted, else derived from the server's UID, in QEMU's own range."""
    given = wanted_mac(nic)
    if given is not None:
        return given
    tail = sha256(f"{uid}/{nic.name}".encode()).digest()[:3]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)


def wanted_mac(nic: Nic) -> str | None:
    """The MAC that the spec names, as it is recorded; None: any, as long as it stays the same."""
    return None if nic.mac is None else nic.mac.lower()


def _take_slot(used: set[int]) -> int:
    slot = next(n for n in range(FIRST_SLOT, 256) if n not in used)
    used.add(slot)
    return slot
