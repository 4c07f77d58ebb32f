"""Servers made by hand, without Respawn: images by rbd, domains by virsh."""

from __future__ import annotations

import uuid
from pathlib import Path

from labtool import LabTool

from labkit.guest import build

SECRET = "11111111-2222-4333-8444-555555555555"
GOLDEN = "vms/image-byhand"
CLIENT = "byhand"


def make_golden(lab: LabTool) -> None:
    if "image-byhand" not in lab.ceph("rbd", "ls", "vms").split():
        image: Path = build.ensure()
        lab.ceph("rbd", "import", "--no-progress", str(image), GOLDEN)
        lab.ceph("rbd", "snap", "create", "--no-progress", f"{GOLDEN}@golden")


def allow_ceph(lab: LabTool, host: str) -> None:
    """Give the host's libvirt a Ceph key with the usual caps.

    Not the host's own: with its lesser caps a stale QEMU cannot even take a lock back, and the
    faults that are planted here would not happen.
    """
    key = lab.ceph(
        *("ceph", "auth", "get-or-create-key", f"client.{CLIENT}"),
        *("mon", "profile rbd", "osd", "profile rbd pool=vms"),
    ).strip()
    xml = (
        f"<secret ephemeral='yes' private='yes'><uuid>{SECRET}</uuid>"
        f"<usage type='ceph'><name>by hand</name></usage></secret>"
    )
    lab.on(host, "virsh", "-q", "secret-define", "/dev/stdin", stdin=xml)
    lab.on(host, "virsh", "-q", "secret-set-value", SECRET, "--base64", key)


class ByHand:
    """One server: UID, name, and a root disk cloned from the golden image."""

    def __init__(self, lab: LabTool, name: str, *, data: bool = False) -> None:
        self.lab = lab
        self.name = name
        self.uid = str(uuid.uuid4())
        self.mac = "52:54:00:" + ":".join(self.uid[i : i + 2] for i in (0, 2, 4))
        self.disks = ["root", "data"] if data else ["root"]
        make_golden(lab)
        lab.ceph("rbd", "clone", f"{GOLDEN}@golden", self.image("root"))
        lab.ceph("rbd", "resize", "--no-progress", "--size", "128M", self.image("root"))
        if data:
            lab.ceph("rbd", "create", "--size", "64M", self.image("data"))

    def image(self, disk: str) -> str:
        return f"vms/vs-{self.uid}-{disk}"

    @property
    def full_name(self) -> str:
        return f"byhand/{self.name}"

    def domain(self, epoch: int) -> str:
        return f"vs-{self.uid}.{epoch}"

    def start(self, host: str, epoch: int = 1) -> None:
        self.lab.on(host, "virsh", "-q", "create", "/dev/stdin", stdin=self.xml(epoch))

    def xml(self, epoch: int) -> str:
        disks = "".join(
            f"""
<disk type='network' device='disk'>
  <driver name='qemu' type='raw' cache='none' error_policy='stop' rerror_policy='stop'/>
  <auth username='{CLIENT}'><secret type='ceph' uuid='{SECRET}'/></auth>
  <source protocol='rbd' name='{self.image(disk)}'>
    <host name='198.51.100.1' port='3300'/></source>
  <target dev='vd{letter}' bus='virtio'/><serial>{disk}</serial>
</disk>"""
            for disk, letter in zip(self.disks, "ab", strict=False)
        )
        return f"""<domain type='qemu'><name>{self.domain(epoch)}</name><uuid>{self.uid}</uuid>
<metadata><respawn:server xmlns:respawn='https://respawn.dev/domain/v1' uid='{self.uid}'
  namespace='byhand' name='{self.name}' epoch='{epoch}'/></metadata>
<memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/><bootmenu enable='no'/></os>
<features><acpi/></features><clock offset='utc'/>
<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}
<interface type='bridge'><mac address='{self.mac}'/><source bridge='tenant'/>
  <model type='virtio'/><rom enabled='no'/></interface>
<serial type="file">
  <source path="/var/log/respawn/consoles/vs-{self.uid}.log" append="on"/></serial>
<panic model='isa'/><memballoon model='none'/><controller type='usb' model='none'/>
</devices></domain>"""
