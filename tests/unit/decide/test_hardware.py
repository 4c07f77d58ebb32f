from dataclasses import replace

from tests.unit.decide.builders import GIB, node, server

from respawn.decide import hardware
from respawn.model.server import Disk, Nic

NICS = (Nic("public", "tenant"), Nic("private", "lan", "52:54:00:AA:BB:CC"))


def test_it_is_derived_from_the_uid_and_kept_for_ever() -> None:
    it = server(spec={"networks": NICS})
    first = hardware.for_start(it, node())
    assert first.machine == "pc-q35-7.2"
    macs = {n.name: n.mac for n in first.nics}
    assert macs["private"] == "52:54:00:aa:bb:cc" and macs["public"].startswith("52:54:00:")
    assert first == hardware.for_start(it, node())
    started = replace(it, status=replace(it.status, hardware=first))
    newer = replace(node().host.capacity, machine="pc-q35-9.0", cpu_model="newer")
    other = replace(node("host-2"), host=replace(node("host-2").host, capacity=newer))
    assert hardware.for_start(started, other) == first, "an upgrade elsewhere changes nothing"


def test_what_is_added_gets_a_slot_of_its_own() -> None:
    it = server(spec={"networks": NICS})
    first = hardware.for_start(it, node())
    disks = (*it.spec.disks, Disk("data", "ceph", GIB))
    grown = replace(
        it, spec=replace(it.spec, disks=disks), status=replace(it.status, hardware=first)
    )
    second = hardware.for_start(grown, node())
    slots = [d.slot for d in second.disks] + [n.slot for n in second.nics]
    assert len(set(slots)) == 4 and second.nics == first.nics and second.disks[:1] == first.disks


def test_what_is_removed_gives_its_slot_back() -> None:
    """A name that comes and goes for ever must not fill the record, which is bounded."""
    it = server(spec={"networks": NICS})
    for n in range(20):
        spec = replace(it.spec, networks=(NICS[0], Nic(f"more-{n}", "lan")))
        it = replace(it, spec=spec)
        it = replace(it, status=replace(it.status, hardware=hardware.for_start(it, node())))
    fixed = it.status.hardware
    assert fixed is not None and [n.name for n in fixed.nics] == ["public", "more-19"]
    assert max(n.slot for n in fixed.nics) == 6


def test_a_mac_that_is_named_later_is_used() -> None:
    it = server(spec={"networks": NICS})
    first = hardware.for_start(it, node())
    named = replace(it.spec, networks=(replace(NICS[0], mac="52:54:00:00:00:0A"), NICS[1]))
    again = replace(it, spec=named, status=replace(it.status, hardware=first))
    found = hardware.for_start(again, node())
    assert found.nics[0].mac == "52:54:00:00:00:0a" and found.nics[0].slot == first.nics[0].slot


def test_cores_and_memory_follow_the_spec_at_each_start() -> None:
    it = server(spec={"cores": 1, "memory": GIB})
    started = replace(it, status=replace(it.status, hardware=hardware.for_start(it, node())))
    larger = replace(started, spec=replace(it.spec, cores=2, memory=2 * GIB))
    again = hardware.for_start(larger, node())
    assert (again.cores, again.memory) == (2, 2 * GIB)


def test_servers_differ() -> None:
    one, two = (hardware.mac(uid, NICS[0]) for uid in ("uid-1", "uid-2"))
    assert one != two and int(one[:2], 16) % 2 == 0, "unicast"
