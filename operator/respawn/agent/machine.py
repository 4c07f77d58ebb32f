"""Which boot of which machine this is, for a process that does not talk to libvirt."""

from collections.abc import Iterable
from pathlib import Path

from respawn.agent.heart_files import FOLDER

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_IDS = (FOLDER / "machine-id", Path("/sys/class/dmi/id/product_uuid"))
"""What the agent learned from libvirt in this boot; then what the firmware says, where libvirt has
it from, unless libvirtd.conf sets another."""


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's ID of this boot."""
    return path.read_text().strip()


def machine_id(places: Iterable[Path] = MACHINE_IDS) -> str:
    """The hardware's ID, the same through all its boots; empty when nobody tells it."""
    for place in places:
        try:
            found = place.read_text().strip().lower()
        except OSError:
            continue
        if found:
            return found
    return ""
