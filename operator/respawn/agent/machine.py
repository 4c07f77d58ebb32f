"""Which boot of which machine this is."""

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's ID of this boot."""
    return path.read_text().strip()


def machine_id(path: Path = MACHINE_ID) -> str:
    """The ID of this machine, the same through all its boots."""
    return path.read_text().strip()
