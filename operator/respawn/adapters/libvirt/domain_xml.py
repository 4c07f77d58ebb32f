"""The domain XML of one incarnation of a server. Pure.

Everything the guest can see (machine type, CPU, PCI addresses, MACs, serials, UUID) comes from the
recorded hardware, so it stays the same through restarts, failovers and QEMU upgrades. Domains are
transient: nothing of them is left on the host when they end.
"""

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from respawn.adapters.libvirt.names import METADATA_URI, secret_uuid, tap
from respawn.model.server import (
    Disk,
    DiskHardware,
    Hardware,
    Nic,
    NicHardware,
    Server,
    disk_image,
    domain_name,
)
from respawn.model.storage import Pool
from respawn.ports.hypervisor import DomainOrder

GUEST_AGENT = "org.qemu.guest_agent.0"
SERIAL_SLOT = 2
"""The slot of the virtio-serial controller that carries the guest agent's channel."""
PORTS_PER_DEVICE = 8
FIRST_PORT_DEVICE = 2


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """What a host adds to every domain: how its QEMU runs, and how it reaches Ceph."""

    accelerator: str
    """libvirt's domain type: `kvm`, or `qemu` for software emulation."""
    ceph_client: str
    """The host's cephx name, without `client.`."""
    emulator: str = "/usr/bin/qemu-system-x86_64"
    consoles: str = "/var/log/respawn/consoles"
    ceph_conf: str | None = None
    """A ceph.conf for QEMU alone (its timeouts); None is Ceph's own default."""


def domain_xml(order: DomainOrder, settings: DomainSettings) -> str:
    """The XML for createXML. Raises ValueError when the order lacks hardware, disks or a pool."""
    server, hardware = order.server, order.server.status.hardware
    if hardware is None:
        raise ValueError("its hardware is not recorded")
    root = Element("domain", type=settings.accelerator)
    _text(root, "name", domain_name(server.uid, server.placement.epoch))
    _text(root, "uuid", server.uid)
    _metadata(root, order)
    _text(root, "memory", str(server.spec.memory), unit="bytes")
    _text(root, "vcpu", str(server.spec.cores), placement="static")
    _firmware(root, server, hardware)
    _cpu(root, server, hardware)
    _clock(root)
    _lifecycle(root)
    _devices(root, order, hardware, settings)
    indent(root)
    return tostring(root, encoding="unicode")


def _text(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    child = SubElement(parent, tag, attributes)
    child.text = text
    return child


def _metadata(root: Element, order: DomainOrder) -> None:
    server = order.server
    attributes = {
        "xmlns:respawn": METADATA_URI,
        "uid": server.uid,
        "namespace": server.namespace,
        "name": server.name,
        "epoch": str(server.placement.epoch),
        "bootID": order.me.boot_id,
    }
    SubElement(SubElement(root, "metadata"), "respawn:server", attributes)


def _firmware(root: Element, server: Server, hardware: Hardware) -> None:
    system = SubElement(root, "os")
    _text(system, "type", "hvm", arch="x86_64", machine=hardware.machine)
    SubElement(system, "bootmenu", enable="no")
    SubElement(system, "smbios", mode="sysinfo")
    table = SubElement(SubElement(root, "sysinfo", type="smbios"), "system")
    values = {
        "manufacturer": "Respawn",
        "product": "VirtualServer",
        "serial": server.uid,
        "uuid": server.uid,
    }
    for name, value in values.items():
        _text(table, "entry", value, name=name)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")


def _cpu(root: Element, server: Server, hardware: Hardware) -> None:
    cpu = SubElement(root, "cpu", mode="custom", match="exact", check="none")
    _text(cpu, "model", hardware.cpu_model, fallback="forbid")
    SubElement(cpu, "topology", sockets="1", dies="1", cores=str(server.spec.cores), threads="1")


def _clock(root: Element) -> None:
    clock = SubElement(root, "clock", offset="utc")
    SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    SubElement(clock, "timer", name="pit", tickpolicy="delay")
    SubElement(clock, "timer", name="hpet", present="no")


def _lifecycle(root: Element) -> None:
    """A reboot stays in its QEMU; power-off and panic end it, and the run policy goes on."""
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    power = SubElement(root, "pm")
    SubElement(power, "suspend-to-mem", enabled="no")
    SubElement(power, "suspend-to-disk", enabled="no")


def _devices(
    root: Element, order: DomainOrder, hardware: Hardware, settings: DomainSettings
) -> None:
    devices = SubElement(root, "devices")
    _text(devices, "emulator", settings.emulator)
    disk_of = {d.name: d for d in hardware.disks}
    nic_of = {n.name: n for n in hardware.nics}
    try:
        disks = [(d, disk_of[d.name]) for d in order.server.spec.disks]
        nics = [(n, nic_of[n.name]) for n in order.server.spec.networks]
    except KeyError as missing:
        raise ValueError(f"no hardware is recorded for {missing}") from missing
    ports = _Ports(devices, {SERIAL_SLOT, *(h.slot for _, h in disks), *(c.slot for _, c in nics)})
    for index, (disk, place) in enumerate(disks):
        element = _disk(devices, order, disk, place, index, settings)
        ports.plug(element, place.slot)
    for nic, card in nics:
        ports.plug(_nic(devices, order.server, nic, card), card.slot)
    _console(devices, order.server, settings)
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name=GUEST_AGENT)
    SubElement(devices, "panic", model="isa")
    SubElement(devices, "memballoon", model="none")


class _Ports:
    """PCIe ports, one for each slot of the recorded hardware, so that devices can be plugged later.

    A slot's port always has the same device and function, whatever other slots are in use.
    """

    def __init__(self, devices: Element, slots: set[int]) -> None:
        SubElement(devices, "controller", type="usb", model="none")
        SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
        # a function is only found when function 0 of its device is there
        heads = {slot - (slot - SERIAL_SLOT) % PORTS_PER_DEVICE for slot in slots}
        self._bus = {slot: bus for bus, slot in enumerate(sorted(slots | heads), 1)}
        for slot, bus in self._bus.items():
            self._port(devices, slot, bus)
        serial = SubElement(devices, "controller", type="virtio-serial", index="0")
        self.plug(serial, SERIAL_SLOT)

    def _port(self, devices: Element, slot: int, bus: int) -> None:
        port = SubElement(devices, "controller", type="pci", index=str(bus), model="pcie-root-port")
        device, function = divmod(slot - SERIAL_SLOT, PORTS_PER_DEVICE)
        device += FIRST_PORT_DEVICE
        SubElement(port, "target", chassis=str(slot), port=hex(device * 8 + function))
        first = {} if function else {"multifunction": "on"}
        _pci(port, bus=0, slot=device, function=function, **first)

    def plug(self, device: Element, slot: int) -> None:
        """Put a device into its slot."""
        _pci(device, bus=self._bus[slot], slot=0, function=0)


def _pci(device: Element, *, bus: int, slot: int, function: int, **more: str) -> None:
    place = {"domain": 0, "bus": bus, "slot": slot, "function": function}
    SubElement(device, "address", {"type": "pci", **{k: hex(v) for k, v in place.items()}, **more})


def _disk(
    devices: Element,
    order: DomainOrder,
    disk: Disk,
    place: DiskHardware,
    index: int,
    settings: DomainSettings,
) -> Element:
    """Not cached by the host, stopped by its first I/O error: a fenced guest is told nothing."""
    server, pool = order.server, order.pools.get(disk.pool)
    if pool is None:
        raise ValueError(f"its StoragePool {disk.pool!r} is not known here")
    element = SubElement(devices, "disk", type="network", device="disk")
    SubElement(
        element, "driver", name="qemu", type="raw", cache="none", discard="unmap",
        error_policy="stop", rerror_policy="stop",
    )  # fmt: skip
    _rbd(element, pool, disk_image(server.uid, disk.name), settings)
    SubElement(element, "target", dev=_device(index), bus="virtio")
    _text(element, "serial", place.serial)
    if index == 0:
        SubElement(element, "boot", order="1")
    SubElement(element, "alias", name=f"ua-disk-{disk.name}")
    return element


def _rbd(element: Element, pool: Pool, image: str, settings: DomainSettings) -> None:
    source = SubElement(element, "source", protocol="rbd", name=f"{pool.pool}/{image}")
    for monitor in pool.monitors:
        host, _, port = monitor.rpartition(":")
        SubElement(source, "host", name=host.strip("[]"), port=port)
    if settings.ceph_conf is not None:
        SubElement(source, "config", file=settings.ceph_conf)
    auth = SubElement(source, "auth", username=settings.ceph_client)
    SubElement(auth, "secret", type="ceph", uuid=secret_uuid(pool.fsid, settings.ceph_client))


def _device(index: int) -> str:
    """vda … vdz, vdaa …: only a name; what the guest goes by is address and serial."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return f"vd{letters}"


def _nic(devices: Element, server: Server, nic: Nic, card: NicHardware) -> Element:
    element = SubElement(devices, "interface", type="bridge")
    SubElement(element, "mac", address=card.mac)
    SubElement(element, "source", bridge=nic.bridge)
    SubElement(element, "target", dev=tap(server.uid, nic.name))
    SubElement(element, "model", type="virtio")
    SubElement(element, "rom", enabled="no")
    SubElement(element, "alias", name=f"ua-nic-{nic.name}")
    return element


def _console(devices: Element, server: Server, settings: DomainSettings) -> None:
    serial = SubElement(devices, "serial", type="file")
    # without append QEMU empties it at every start
    SubElement(serial, "source", path=console_path(server.uid, settings), append="on")
    SubElement(serial, "target", port="0")


def console_path(uid: str, settings: DomainSettings) -> str:
    """The file that a server's serial console is appended to."""
    return f"{settings.consoles}/vs-{uid}.log"


def secret_xml(pool: Pool, client: str) -> str:
    """libvirt's secret for that cluster: not on disk, and its value can never be read back."""
    secret = Element("secret", ephemeral="yes", private="yes")
    _text(secret, "uuid", secret_uuid(pool.fsid, client))
    usage = SubElement(secret, "usage", type="ceph")
    _text(usage, "name", f"respawn client.{client} of {pool.fsid}")
    return tostring(secret, encoding="unicode")
