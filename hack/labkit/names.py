"""Names and addresses of the lab's parts. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labkit.errors import Unknown

PLANES = ("management", "storage", "migration", "tenant")
#: bridge in the lab's namespace, device in the host, first three bytes of the plane's /24
PLANE_DEVICES = {
    "management": "mgmt",
    "storage": "stor",
    "migration": "migr",
    "tenant": "ten",
}
PLANE_NETS = {"management": "192.0.2", "storage": "198.51.100", "migration": "203.0.113"}
TENANT_GATEWAY = "10.40.0.1"
API_ADDRESS = f"{PLANE_NETS['management']}.1"
API_PORT = 6443
CEPH_ADDRESS = f"{PLANE_NETS['storage']}.1"
PROBE_HOST_PART = 254
MAX_HOSTS = 180
MAX_OPERATORS = 9
CEPH_DAEMONS = ("mon.a", "mgr.x", "osd.0", "osd.1", "osd.2")
POOL = "vms"
NAMESPACE = "respawn"

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,15}\Z")
_HOST_NAME = re.compile(r"host-([1-9][0-9]{0,2})\Z")


def number(text: str) -> int | None:
    """A whole number in plain digits, without a zero before it; None for anything else."""
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,8}", text) else None


def check_lab_name(name: str) -> str:
    """Return NAME, or raise Unknown if it is no name of a lab."""
    if not _LAB_NAME.match(name):
        raise Unknown(
            f"'{name}' is no name for a lab: a lower-case letter, then up to 15 of a-z, 0-9 and '-'"
        )
    return name


def host_index(host: str) -> int:
    """host-3 -> 3; raises Unknown for anything else."""
    match = _HOST_NAME.match(host)
    if not match or int(match[1]) > MAX_HOSTS:
        raise Unknown(f"'{host}' is no host: they are called host-1 … host-{MAX_HOSTS}")
    return int(match[1])


def planes(words: list[str]) -> list[str]:
    """Planes named on a command line; `all` stands for every one."""
    for word in words:
        if word != "all" and word not in PLANES:
            raise Unknown(f"'{word}' is no plane: one of {', '.join(PLANES)}, all")
    return list(PLANES) if "all" in words else [p for p in PLANES if p in words]


def bridge(plane: str) -> str:
    return "br-" + PLANE_DEVICES[plane]


def host_port(plane: str, index: int) -> str:
    """The switch's port that host INDEX is plugged into."""
    return f"{PLANE_DEVICES[plane]}{index}"


def host_device(plane: str) -> str:
    """The device of a plane as the host sees it."""
    return f"{PLANE_DEVICES[plane]}0"


def host_mac(plane: str, index: int) -> str:
    """A host's card keeps its address over power cycles, as hardware does."""
    return f"02:52:53:50:{PLANES.index(plane):02x}:{index:02x}"


def host_address(plane: str, index: int) -> str:
    return f"{PLANE_NETS[plane]}.{10 + index}"


def operator_address(plane: str, index: int) -> str:
    return f"{PLANE_NETS[plane]}.{200 + index}"


@dataclass(frozen=True)
class ServerName:
    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServerName:
        namespace, slash, name = text.partition("/")
        if not (slash and _LABEL.match(namespace) and _LABEL.match(name)):
            raise Unknown(f"'{text}' is no server: say NAMESPACE/NAME")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
