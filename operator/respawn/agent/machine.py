"""Which boot of which machine this is."""

from pathlib import Path
from uuid import UUID

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HARDWARE_ID = Path("/sys/class/dmi/id/product_uuid")
#: what firmware that was never given a UUID says
_BLANK = {UUID(int=0), UUID(int=(1 << 128) - 1), UUID("03000200-0400-0500-0006-000700080009")}


class NoMachineId(Exception):
    """The hardware has no identity of its own: its administrator must give it one."""


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's ID of this boot."""
    return path.read_text().strip()


def machine_id(configured: str | None = None, path: Path = HARDWARE_ID) -> str:
    """The ID of this hardware, the same through all its boots and installations.

    It is the firmware's UUID, unless one is configured. Not /etc/machine-id: that is on the disk,
    and goes with it into other hardware. Raises NoMachineId.
    """
    if configured:
        return configured.lower()
    try:
        found = UUID(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise NoMachineId(_advice(f"{path} cannot be read ({error})")) from error
    if found in _BLANK:
        raise NoMachineId(_advice(f"{path} says {found}, as many boards do"))
    return str(found)


def _advice(why: str) -> str:
    return f"{why}: set machineID in agent.yaml, and the same host_uuid in libvirtd.conf (uuidgen)"
