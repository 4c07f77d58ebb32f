"""Port Host: the machine itself. Who it is, what it has, and which QEMUs have a pool's image."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from respawn.adapters.libvirt.accelerator import KVM
from respawn.adapters.libvirt.connection import LOCAL, Workers
from respawn.adapters.libvirt.journal import FOLDER
from respawn.adapters.libvirt.processes import Processes
from respawn.adapters.libvirt.sockets import Monitors, TowardsCeph
from respawn.model.host import Identity
from respawn.model.node import Capacity, Node
from respawn.model.storage import Entry, Pool
from respawn.ports.errors import Unavailable
from respawn.ports.together import Together

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MEMORY = Path("/proc/meminfo")
INTERFACES = Path("/sys/class/net")
MOST_BRIDGES = 4096
"""That a Node's status holds."""
DEADLINE = 2.0
PROBE_DEADLINE = 20.0
"""Seconds for libvirt's first look at its QEMU, which takes a few and then is remembered."""
EMULATED_CPU = "qemu64"


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """What a host says of itself beyond what can be measured. Bytes."""

    accelerator: str
    emulator: str = "/usr/bin/qemu-system-x86_64"
    reserved: int = 1 << 30
    """Memory left to the host itself."""
    overhead: int = 160 << 20
    """QEMU's own memory per server: 121 MiB were measured with one RBD disk, 124 with two."""
    memory: int | None = None
    """Counts instead of the machine's own memory, where several hosts share a machine."""
    cores: int | None = None
    machine_id: str | None = None
    """Hardware identity; libvirt's host UUID if absent."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the host's QEMU offers to a server that starts here for the first time."""

    machine: str
    cpu_model: str


def read_offer(capabilities: str, accelerator: str) -> Offer:
    """The newest machine type and a CPU model, from libvirt's domain capabilities."""
    root = ElementTree.fromstring(capabilities)
    model = root.findtext("cpu/mode[@name='host-model']/model")
    # emulation can do few of a modern CPU's features, whatever model it is asked for
    usable = model if accelerator == KVM and model else EMULATED_CPU
    return Offer(root.findtext("machine", "q35"), usable)


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's ID of this boot."""
    return path.read_text().strip()


def total_memory(path: Path = MEMORY) -> int:
    """Bytes of memory of the machine."""
    lines = path.read_text().splitlines()
    line = next(line for line in lines if line.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024


def bridges(interfaces: Path = INTERFACES) -> tuple[str, ...] | None:
    """The kernel's bridges, into which libvirt can plug an interface; None: too many to tell."""
    found = tuple(sorted(path.parent.name for path in interfaces.glob("*/bridge")))
    return found if len(found) <= MOST_BRIDGES else None


class LibvirtHost:
    """`pools` are the StoragePools known now, `blocklist` reads Ceph's with the host's own key."""

    def __init__(
        self,
        node: str,
        settings: MachineSettings,
        *,
        processes: Processes,
        pools: Callable[[], Collection[Pool]],
        blocklist: Callable[[], Awaitable[frozenset[Entry]]],
        uri: str = LOCAL,
        folder: Path = FOLDER,
    ) -> None:
        self._node, self._settings, self._processes = node, settings, processes
        self._pools, self._blocklist = pools, blocklist
        self._workers = Workers(uri, "machine")
        self._remembered = folder / "machine-id"
        self._machine_id: str | None = settings.machine_id
        self._offer: Offer | None = None
        self._addresses: frozenset[str] = frozenset()
        self._monitors = Monitors()
        self._towards = TowardsCeph(processes.ceph_sockets)
        # The kernel walks all its connections for it, 2 ms and more: in a crowd of starts one look
        # answers all who asked before it began.
        self._used: Together[frozenset[str], frozenset[str]] = Together(
            lambda monitors: asyncio.to_thread(self._towards.addresses, monitors)
        )

    def close(self) -> None:
        """End its thread."""
        self._workers.close()

    async def identity(self) -> Identity:
        """The real boot ID and machine ID, and the addresses used towards Ceph in this boot.

        Asks libvirt once per boot: the hook's answer needs this while libvirt waits for it.
        """
        monitors = {monitor for pool in self._pools() for monitor in pool.monitors}
        known = await self._monitors.by_address(monitors)
        found = await self._used(known)
        # safety: a fence covers what this boot ever used. Added in one go, after the wait: others
        # add theirs meanwhile.
        self._addresses |= found
        return Identity(
            node=self._node,
            machine_id=await self._machine(),
            boot_id=boot_id(),
            storage=tuple(sorted(self._addresses)),
        )

    async def _machine(self) -> str:
        """libvirt's host UUID: the hardware's, or what libvirtd.conf sets where that lies."""
        if self._machine_id is None and self._remembered.exists():
            self._machine_id = self._remembered.read_text().strip() or None
        if self._machine_id is None:
            self._machine_id = await self._workers.call(_host_uuid, PROBE_DEADLINE)
            self._remembered.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._remembered.write_text(self._machine_id)
        return self._machine_id

    async def capacity(self, node: Node | None) -> Capacity:
        """What it has. Domains that are not ours count by their command lines."""
        settings = self._settings
        foreign = [q for q in await self._processes.fresh() if q.command.incarnation is None]
        offer = await self._offered()
        return Capacity(
            cores=settings.cores or os.cpu_count() or 1,
            memory=settings.memory or total_memory(),
            reserved=settings.reserved,
            foreign=sum(q.command.memory + settings.overhead for q in foreign if q.command.memory),
            overhead=settings.overhead,
            machine=offer.machine,
            cpu_model=offer.cpu_model,
            bridges=bridges(),
        )

    async def _offered(self) -> Offer:
        """Asked early, this also makes libvirt know its QEMU before the first start needs it."""
        if self._offer is None:
            accelerator, emulator = self._settings.accelerator, self._settings.emulator

            def ask(connection: "libvirt.virConnect") -> str:
                return str(connection.getDomainCapabilities(emulator, "x86_64", "q35", accelerator))

            self._offer = read_offer(await self._workers.call(ask, PROBE_DEADLINE), accelerator)
        return self._offer

    async def pool_processes(self) -> tuple[int, ...]:
        """PIDs of all QEMUs with an image of a pool on their command line, foreign ones too.

        As long as no pool is known every image counts: a host is not clean by ignorance.
        """
        pools = {pool.pool for pool in self._pools()}
        found = await self._processes.fresh()
        return tuple(
            q.pid for q in found if q.command.images and (not pools or q.command.pools & pools)
        )

    async def blocklist(self) -> frozenset[Entry]:
        """Ceph's blocklist as this host sees it."""
        return await self._blocklist()


def _host_uuid(connection: "libvirt.virConnect") -> str:
    found = ElementTree.fromstring(connection.getCapabilities()).findtext("host/uuid")
    if not found:
        raise Unavailable("libvirt does not tell this machine's UUID")
    return found
