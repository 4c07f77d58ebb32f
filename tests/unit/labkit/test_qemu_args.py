"""QEMU command lines, as libvirt and as people write them."""

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


def test_a_blocklist_is_two_arrays_behind_one_another() -> None:
    text = '\n[{"addr":"10.0.0.1:0/0"},{"addr":"10.0.0.2:0/77"}][{"range":"10.0.0.8:0/31"}]'
    entries = blocklists.parse(text)
    assert entries == ["10.0.0.1:0/0", "10.0.0.2:0/77", "cidr:10.0.0.8:0/31"]
    addresses = [f"10.0.0.{n}" for n in range(1, 11)]
    blocked = [a for a in addresses if blocklists.address_blocked(entries, a)]
    assert blocked == ["10.0.0.1", "10.0.0.8", "10.0.0.9"]
    assert blocklists.blocked_nonces(entries, "10.0.0.2") == {77}
    assert blocklists.blocked_nonces(entries, "10.0.0.1") == set()
