"""The XML of a domain, against files that were read by a person and taken by a real libvirt."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from respawn.adapters.libvirt.domain_xml import DomainSettings, domain_xml, secret_xml
from respawn.adapters.libvirt.names import secret_uuid, tap
from respawn.adapters.libvirt.reading import describe, question
from respawn.model.host import Ask, Identity
from respawn.model.placement import Phase, Placement
from respawn.model.server import (
    Disk,
    DiskHardware,
    Hardware,
    Nic,
    NicHardware,
    Server,
    ServerSpec,
    ServerStatus,
)
from respawn.model.storage import Pool
from respawn.ports.hypervisor import DomainOrder

GOLDEN = Path(__file__).parent / "golden"
UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
FSID = "338dca9b-696c-4866-9c6b-9eb75d717fbd"
POOL = Pool("ceph", FSID, "vms", "respawn", ("198.51.100.1:3300",))
ME = Identity("host-1", "machine", "5f0c9f9e-0000-4000-8000-00000000b007", ("198.51.100.11",))

SMALL = Server(
    UID,
    "customer-a",
    "web-1",
    ServerSpec(
        cores=1,
        memory=128 << 20,
        disks=(Disk("root", "ceph", 128 << 20, "lab-guest"),),
        networks=(Nic("public", "tenant"),),
    ),
    ServerStatus(
        placement=Placement(Phase.PLACED, 7, "host-1", "machine", ME.boot_id),
        hardware=Hardware(
            "pc-q35-7.2",
            "qemu64",
            (NicHardware("public", "52:54:00:12:34:56", 5),),
            (DiskHardware("root", "root", 4),),
        ),
    ),
)


def grown() -> Server:
    """The same server later: a disk and a card removed, others added, far beyond eight slots."""
    spec = ServerSpec(
        cores=4,
        memory=4 << 30,
        disks=(Disk("root", "ceph", 20 << 30, "debian"), Disk("data", "bulk", 1 << 40)),
        networks=(Nic("public", "br-a&b"), Nic("backup", "br1")),
    )
    hardware = Hardware(
        "pc-q35-7.2",
        "EPYC",
        (
            NicHardware("public", "52:54:00:12:34:56", 5),
            NicHardware("gone", "52:54:00:00:00:01", 7),
            NicHardware("backup", "52:54:00:00:00:02", 19),
        ),
        (
            DiskHardware("root", "root", 4),
            DiskHardware("removed", "removed", 6),
            DiskHardware("data", "data", 11),
        ),
    )
    return replace(SMALL, spec=spec, status=replace(SMALL.status, hardware=hardware))


BULK = Pool("bulk", FSID, "slow", "respawn", ("[2001:db8::1]:3300", "[2001:db8::2]:3300"))
POOLS = {"ceph": POOL, "bulk": BULK}
EMULATED = DomainSettings("qemu", "host-1")
KVM = DomainSettings(
    "kvm", "hv-17", emulator="/usr/bin/kvm", consoles="/srv/c", ceph_conf="/etc/respawn/qemu.conf"
)


@pytest.mark.parametrize(
    ("name", "server", "settings"), [("small", SMALL, EMULATED), ("grown", grown(), KVM)]
)
def test_golden(name: str, server: Server, settings: DomainSettings) -> None:
    made = domain_xml(DomainOrder(server, ME, POOLS), settings)
    assert made == (GOLDEN / f"{name}.xml").read_text()


def addresses(server: Server) -> dict[str, tuple[str | None, str | None]]:
    """Alias of a device -> device and function of the port that it sits behind."""
    root = ElementTree.fromstring(domain_xml(DomainOrder(server, ME, POOLS), EMULATED))
    ports = {}
    for port in root.iterfind("devices/controller[@model='pcie-root-port']"):
        place = port.find("address")
        assert place is not None
        ports[int(port.get("index", "0"))] = (place.get("slot"), place.get("function"))
    found = {}
    for alias in root.iterfind("devices/*/alias"):
        device = next(d for d in root.iterfind("devices/*") if alias in list(d))
        place = device.find("address")
        assert place is not None
        found[alias.get("name", "")] = ports[int(place.get("bus", ""), 16)]
    return found


def test_what_was_there_keeps_its_place_when_others_come_and_go() -> None:
    before, after = addresses(SMALL), addresses(grown())
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == len(after)


def test_function_0_of_every_port_device_is_there_or_the_guest_sees_none_of_it() -> None:
    root = ElementTree.fromstring(domain_xml(DomainOrder(grown(), ME, POOLS), EMULATED))
    places = [
        (place.get("slot"), place.get("function"))
        for place in root.iterfind("devices/controller[@model='pcie-root-port']/address")
    ]
    assert {(slot, "0x0") for slot, _ in places} <= set(places)


def test_what_is_made_is_read_back_as_the_question_of_that_incarnation() -> None:
    made = domain_xml(DomainOrder(grown(), ME, POOLS), EMULATED)
    described = describe(made)
    assert described.images == (f"vms/vs-{UID}-root", f"slow/vs-{UID}-data")
    assert question(described, "prepare") == Ask(
        UID, 7, ME.boot_id, "customer-a", "web-1", "prepare"
    )


@pytest.mark.parametrize(
    ("server", "pools", "why"),
    [
        (replace(SMALL, status=replace(SMALL.status, hardware=None)), POOLS, "hardware"),
        (
            replace(SMALL, status=replace(SMALL.status, hardware=Hardware("q35", "qemu64"))),
            POOLS,
            "'root'",
        ),
        (SMALL, {}, "StoragePool 'ceph'"),
    ],
)
def test_an_order_that_lacks_something_says_what(
    server: Server, pools: dict[str, Pool], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        domain_xml(DomainOrder(server, ME, pools), EMULATED)


def test_secrets_are_one_per_cluster_and_client_and_never_readable() -> None:
    root = ElementTree.fromstring(secret_xml(POOL, "host-1"))
    assert (root.get("private"), root.get("ephemeral")) == ("yes", "yes")
    assert root.findtext("uuid") == secret_uuid(FSID, "host-1")
    assert secret_uuid(FSID, "host-1") == "df71783a-eac7-5352-ba85-1273873e279d"
    assert secret_uuid(FSID, "host-2") != secret_uuid(FSID, "host-1")


def test_a_tap_has_a_name_of_its_own_that_the_kernel_takes() -> None:
    names = {tap(UID, nic) for nic in ("public", "backup")} | {tap(UID[::-1], "public")}
    assert len(names) == 3
    assert all(len(name) <= 15 and not name.startswith("vnet") for name in names)
