"""What a running server's spec asks for that only its next start can give it."""

from collections.abc import Iterator

from respawn.decide.hardware import wanted_mac
from respawn.model.placement import Phase
from respawn.model.server import Nic, NicHardware, Server
from respawn.model.units import format_quantity


def at_next_start(server: Server) -> tuple[str, ...]:
    """Each difference in words; nothing while it does not run."""
    if server.placement.phase is not Phase.PLACED:
        return ()
    return (*_machine(server), *disks(server), *_networks(server))


def _machine(server: Server) -> Iterator[str]:
    spec, started = server.spec, server.status.hardware
    if started is None or not started.memory:
        return
    if spec.cores != started.cores:
        yield f"cpu.cores {started.cores} -> {spec.cores}"
    if spec.memory != started.memory:
        sizes = (format_quantity(size) for size in (started.memory, spec.memory))
        yield f"memory {' -> '.join(sizes)}"


def disks(server: Server) -> Iterator[str]:
    """Of these, what is about its disks."""
    made = {disk.name: disk for disk in server.status.disks}
    for disk in server.spec.disks:
        size = format_quantity(disk.size)
        if disk.name not in made or not made[disk.name].exists:
            yield f"disk {disk.name} of {size} is added"
        elif made[disk.name].pool == disk.pool and made[disk.name].size < disk.size:
            yield f"disk {disk.name} {format_quantity(made[disk.name].size)} -> {size}"

    wanted = {disk.name for disk in server.spec.disks}
    started = server.status.hardware
    for name in (d.name for d in started.disks if d.name not in wanted) if started else ():
        yield f"disk {name} is removed"


def _networks(server: Server) -> Iterator[str]:
    started = server.status.hardware
    if started is None:
        return
    known = {nic.name: nic for nic in started.nics}
    for nic in server.spec.networks:
        card = known.pop(nic.name, None)
        if card is None:
            yield f"network {nic.name} is added"
        else:
            yield from _card(nic, card)
    for name in known:
        yield f"network {name} is removed"


def _card(nic: Nic, card: NicHardware) -> Iterator[str]:
    mac = wanted_mac(nic)
    if mac is not None and mac != card.mac:
        yield f"network {nic.name} macAddress {card.mac} -> {mac}"
    if card.bridge and nic.bridge != card.bridge:
        yield f"network {nic.name} bridge {card.bridge} -> {nic.bridge or 'a Network'}"
