"""What a QEMU command line says: whose it is, its images, its cards. Pure."""

from __future__ import annotations

import json
import re

_RBD_DRIVE = re.compile(r"(?:^|file=)rbd:(?P<pool>[^/:,]+)/(?P<image>[^:,@]+)")
_MAC = re.compile(r'"?mac"?[=:]"?((?:[0-9a-f]{2}:){5}[0-9a-f]{2})')


def value(argv: list[str], option: str) -> str | None:
    return argv[argv.index(option) + 1] if option in argv[:-1] else None


def guest_name(argv: list[str]) -> str | None:
    name = value(argv, "-name")
    if name is None:
        return None
    return name.removeprefix("guest=").partition(",")[0]


def images(argv: list[str]) -> list[str]:
    """RBD images on a QEMU command line, as POOL/NAME."""
    found = []
    for word in argv:
        if word.startswith("{"):
            try:
                device = json.loads(word)
            except ValueError:
                continue
            if device.get("driver") == "rbd":
                found.append(f"{device['pool']}/{device['image']}")
        else:
            found += [f"{m['pool']}/{m['image']}" for m in _RBD_DRIVE.finditer(word)]
            if "driver=rbd" in word:
                fields = dict(part.partition("=")[::2] for part in word.split(","))
                found.append(f"{fields.get('pool')}/{fields.get('image')}")
    return sorted(set(found))


def macs(argv: list[str]) -> list[str]:
    """MAC addresses of its network cards."""
    return _MAC.findall(" ".join(argv))
