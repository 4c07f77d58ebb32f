"""QEMU command lines, as libvirt and as people write them."""

import pytest

from labkit import blocklists, qemu_args

LIBVIRT = [
    "/usr/bin/qemu-system-x86_64", "-name", "guest=vs-1.2,debug-threads=on", "-uuid", "u-1",
    "-blockdev", '{"driver":"rbd","pool":"vms","image":"vs-1-root","node-name":"storage"}',
    "-blockdev", '{"node-name":"format","driver":"raw","file":"storage"}',
    "-device", '{"driver":"virtio-net-pci","netdev":"n","mac":"52:54:00:01:02:03"}',
]  # fmt: skip


def test_what_libvirt_writes_is_read() -> None:
    assert qemu_args.images(LIBVIRT) == ["vms/vs-1-root"]
    assert qemu_args.guest_name(LIBVIRT) == "vs-1.2"
    assert qemu_args.value(LIBVIRT, "-uuid") == "u-1"
    assert qemu_args.macs(LIBVIRT) == ["52:54:00:01:02:03"]


def test_other_ways_to_name_an_image_count_too() -> None:
    for words in (
        ["-drive", "file=rbd:vms/vs-1-root:id=admin:conf=/etc/ceph/ceph.conf,format=raw"],
        ["-blockdev", "driver=rbd,pool=vms,image=vs-1-root,node-name=x"],
        ["rbd:vms/vs-1-root@snap"],
    ):
        assert qemu_args.images(["qemu-system-x86_64", *words]) == ["vms/vs-1-root"]
    assert qemu_args.images(["qemu-system-x86_64", "-drive", "file=/disk.raw"]) == []


@pytest.mark.parametrize(
    "words",
    [
        ["-drive", "file.driver=rbd,file.pool=vms,file.image=vs-1-root,if=virtio"],
        ["-drive", "driver=raw,file.driver=raw,file.file.driver=rbd,file.file.pool=vms,"
         "file.file.image=vs-1-root"],
        ["-drive", 'file=json:{"driver":"rbd",,"pool":"vms",,"image":"vs-1-root"},format=raw'],
        ["-blockdev", '{"driver":"raw","file":{"driver":"rbd","pool":"vms","image":"vs-1-root"}}'],
        ["-blockdev", '{"driver":"raw","file.driver":"rbd","file.pool":"vms",'
         '"file.image":"vs-1-root"}'],
        ["-blockdev", '{"driver":"quorum","children":[{"driver":"rbd","pool":"vms",'
         '"image":"vs-1-root"}]}'],
        ["-drive", "file.filename=rbd:vms/vs-1-root"],
        ['json:{"driver":"raw","file":{"filename":"rbd:vms/vs-1-root"}}'],
    ],
)  # fmt: skip
def test_an_image_is_found_however_deep_it_is_named(words: list[str]) -> None:
    assert qemu_args.images(["qemu-system-x86_64", *words]) == ["vms/vs-1-root"]


@pytest.mark.parametrize("word", ['{"driver":"rbd"}', "driver=rbd,pool=vms", "{", "json:[1", "a=b"])
def test_what_names_no_image_is_none(word: str) -> None:
    assert qemu_args.images(["qemu-system-x86_64", "-blockdev", word]) == []


def test_an_image_in_a_namespace_is_another_image() -> None:
    word = "driver=rbd,pool=vms,namespace=n,image=vs-1-root"
    assert qemu_args.images(["qemu", word]) == ["vms/n/vs-1-root"]
    assert qemu_args.images(["qemu", "rbd:vms/n/vs-1-root"]) == ["vms/n/vs-1-root"]


def test_addresses_of_cards_are_read_in_any_spelling() -> None:
    words = ["-net", "nic,macaddr=52:54:00:AA:bb:01", "-device", "e1000,mac=52:54:00:aa:bb:02"]
    assert qemu_args.macs(words) == ["52:54:00:AA:bb:01", "52:54:00:aa:bb:02"]


def test_only_what_libvirt_starts_to_learn_of_qemu_is_a_probe() -> None:
    socket = "unix:/var/lib/libvirt/qemu/qmp-VZ1KZ3/qmp.monitor,server=on,wait=off"
    assert qemu_args.is_probe(["qemu-system-x86_64", "-machine", "none", "-qmp", socket])
    assert not qemu_args.is_probe(["qemu-system-x86_64", "-hda", "/disk.raw"])
    assert qemu_args.by_libvirt(["qemu", "-mon", "chardev=charmonitor,id=monitor,mode=control"])
    assert not qemu_args.by_libvirt(["qemu", "-monitor", "stdio"])


def test_a_blocklist_is_two_arrays_behind_one_another() -> None:
    text = '\n[{"addr":"10.0.0.1:0/0"},{"addr":"10.0.0.2:0/77"}][{"range":"10.0.0.8:0/31"}]'
    entries = blocklists.parse(text)
    assert entries == ["10.0.0.1:0/0", "10.0.0.2:0/77", "cidr:10.0.0.8:0/31"]
    addresses = [f"10.0.0.{n}" for n in range(1, 11)]
    blocked = [a for a in addresses if blocklists.address_blocked(entries, a)]
    assert blocked == ["10.0.0.1", "10.0.0.8", "10.0.0.9"]
    assert blocklists.blocked_nonces(entries, "10.0.0.2") == {77}
    assert blocklists.blocked_nonces(entries, "10.0.0.1") == set()
