"""What a running server's spec asks for that only its next start can give it."""

from collections.abc import Iterator

from respawn.model.placement import Phase
from respawn.model.server import Server
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
        if disk.name not in made:
            yield f"disk {disk.name} of {size} is added"
        elif made[disk.name].size < disk.size:
            yield f"disk {disk.name} {format_quantity(made[disk.name].size)} -> {size}"


def _networks(server: Server) -> Iterator[str]:
    started = server.status.hardware
    known = {nic.name for nic in started.nics} if started else set()
    for nic in server.spec.networks:
        if started and nic.name not in known:
            yield f"network {nic.name} is added"
