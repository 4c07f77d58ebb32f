"""What a QEMU command line says: whose it is, its images, its cards. Pure."""

from __future__ import annotations

import json
import re

_RBD_NAME = re.compile(r"rbd:(?P<image>[^:@]+)")
_MAC = re.compile(r'"?mac(?:addr)?"?[=:] ?"?((?:[0-9a-f]{2}:){5}[0-9a-f]{2})', re.I)
_PROBE = re.compile(r"/qmp-[^/]+/qmp\.monitor")
#: what libvirt calls the socket by which it commands a domain's QEMU
_MONITOR = "charmonitor"


def value(argv: list[str], option: str) -> str | None:
    return argv[argv.index(option) + 1] if option in argv[:-1] else None


def guest_name(argv: list[str]) -> str | None:
    name = value(argv, "-name")
    if name is None:
        return None
    return name.removeprefix("guest=").partition(",")[0]


def is_probe(argv: list[str]) -> bool:
    """Whether libvirt started it only to learn QEMU's abilities: it has no guest."""
    return any(_PROBE.search(word) for word in argv)


def by_libvirt(argv: list[str]) -> bool:
    return any(_MONITOR in word for word in argv)


def images(argv: list[str]) -> list[str]:
    """RBD images on a QEMU command line, as POOL/NAME (POOL/NAMESPACE/NAME in a namespace)."""
    return sorted({image for word in argv for image in _in_text(word)})


def _in_text(text: str) -> list[str]:
    """Images in one value: a file name, JSON, or options by `=` and `,`."""
    if match := _RBD_NAME.match(text):
        return [match["image"].partition(",")[0]]
    if text.startswith(("{", "json:")):
        try:
            return _in_node("", json.loads(text.removeprefix("json:")))
        except ValueError:
            return []
    if "=" not in text:
        return []
    # a comma that belongs to a value is written twice
    parts = [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]
    options = {k: v for k, equals, v in (part.partition("=") for part in parts) if equals}
    return _in_options(options)


def _in_node(path: str, node: object) -> list[str]:
    """Images in JSON, however deep: `{"file": {"driver": …}}` is `{"file.driver": …}`."""
    flat: dict[str, str] = {}
    _flatten(path, node, flat)
    return _in_options(flat)


def _flatten(path: str, node: object, into: dict[str, str]) -> None:
    if isinstance(node, dict):
        for key, inner in node.items():
            _flatten(f"{path}.{key}" if path else str(key), inner, into)
    elif isinstance(node, list):
        for number, inner in enumerate(node):
            _flatten(f"{path}.{number}" if path else str(number), inner, into)
    elif isinstance(node, str):
        into[path] = node


def _in_options(options: dict[str, str]) -> list[str]:
    """Images among flat options: by driver, or by a file name of their own."""
    found = []
    for key, text in options.items():
        prefix = key.removesuffix("driver")
        if text == "rbd" and (prefix == "" or prefix.endswith(".")) and prefix != key:
            parts = [options.get(prefix + part) for part in ("pool", "namespace", "image")]
            if parts[0] and parts[2]:
                found.append("/".join(part for part in parts if part))
        elif text.startswith(("rbd:", "json:", "{")):
            found += _in_text(text)
    return found


def macs(argv: list[str]) -> list[str]:
    """MAC addresses of its network cards."""
    return _MAC.findall(" ".join(argv))
