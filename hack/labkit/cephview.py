"""Reading the lab's Ceph as its administrator: blocklist, sessions, watchers, lockers, images."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import rados
import rbd

from labkit import names
from labkit.errors import LabError
from labkit.lab import Lab

CLONE_NEWNET = 0x40000000
_ADDRESS = re.compile(r"(?P<ip>[0-9.]+):(?P<port>\d+)/(?P<nonce>\d+)")


def enter_network(lab: Lab, network: str) -> None:
    """Move this thread, and the threads it starts, into one of the lab's networks, for good."""
    fd = os.open(f"/proc/{lab.pid}/root/run/netns/{network}", os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET):
            raise LabError(f"cannot enter the network {network}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


@dataclass
class View:
    """The administrator's handles: the cluster, and the pool `vms`."""

    cluster: rados.Rados
    ioctx: rados.Ioctx


@contextlib.contextmanager
def pool(lab: Lab) -> Iterator[View]:
    """The pool `vms`, as the administrator; raises LabError when Ceph does not answer."""
    enter_network(lab, "ceph")
    handle = rados.Rados(
        conffile=str(lab.folder.ceph / "ceph.conf"),
        rados_id="admin",
        conf={
            "rados_mon_op_timeout": "5",
            "rados_osd_op_timeout": "5",
            "client_mount_timeout": "5",
            "keyring": str(lab.folder.ceph / "client.admin.keyring"),
        },
    )
    try:
        handle.connect()
        with handle.open_ioctx(names.POOL) as ioctx:
            yield View(handle, ioctx)
    except (rados.Error, rbd.Error) as error:
        raise LabError(f"Ceph does not answer: {error}") from error
    finally:
        handle.shutdown()


def blocklist(view: View) -> list[str]:
    """Every entry: `ip:port/nonce`, and `cidr:ip:0/bits` for ranges."""
    command = json.dumps({"prefix": "osd blocklist ls", "format": "json"})
    code, out, error = view.cluster.mon_command(command, b"")
    if code:
        raise LabError(f"osd blocklist ls: {error}")
    return parse_blocklist(out.decode())


def parse_blocklist(text: str) -> list[str]:
    """The answer is two JSON arrays behind one another: single entries, then ranges."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        array, end = decoder.raw_decode(text)
        for entry in array:
            address = entry.get("addr") or entry["range"]
            found.append(address if "addr" in entry else f"cidr:{address.removeprefix('cidr:')}")
        text = text[end:].strip()
    return found


def address_blocked(entries: list[str], address: str) -> bool:
    """Whether a whole address is shut out, by `ip:0/0` or by a range."""
    if f"{address}:0/0" in entries:
        return True
    ranges = [e.removeprefix("cidr:") for e in entries if e.startswith("cidr:")]
    return any(_in_range(entry, address) for entry in ranges)


def _in_range(entry: str, address: str) -> bool:
    ip, _, bits = entry.partition("/")
    network = ipaddress.ip_network(f"{ip.rpartition(':')[0]}/{bits}", strict=False)
    return ipaddress.ip_address(address) in network


def blocked_nonces(entries: list[str], address: str) -> set[int]:
    matches = [m for m in map(_ADDRESS.match, entries) if m]
    return {int(m["nonce"]) for m in matches if m["ip"] == address and m["nonce"] != "0"}


def nonce_of(address: str) -> tuple[str, int] | None:
    """`198.51.100.11:0/123` -> (198.51.100.11, 123)."""
    match = _ADDRESS.match(address)
    return (match["ip"], int(match["nonce"])) if match else None


@dataclass
class ImageClients:
    """Who watches an image and who holds its lock, as Ceph lists them."""

    watchers: list[str] = field(default_factory=list)
    lockers: list[dict[str, str]] = field(default_factory=list)
    cookies: list[tuple[str, int]] = field(default_factory=list)
    """(address, cookie) of both: a cookie is an address in the memory of the client's process."""


def clients(view: View, image: str) -> ImageClients:
    """Read-only: a write-open would add a watcher of our own."""
    with rbd.Image(view.ioctx, image, read_only=True) as opened:
        watchers = list(opened.watchers_list())
        lockers = (opened.list_lockers() or {}).get("lockers", [])
    cookies = [(w["addr"], int(w["cookie"])) for w in watchers]
    for _, cookie, address in lockers:
        number = cookie.removeprefix("auto ")  # an exclusive lock's, named after its watch
        if number.isdigit():
            cookies.append((address, int(number)))
    return ImageClients(
        watchers=[w["addr"] for w in watchers],
        lockers=[
            {"client": client, "cookie": cookie, "address": address}
            for client, cookie, address in lockers
        ],
        cookies=cookies,
    )


def image_names(view: View) -> list[str]:
    return list(rbd.RBD().list(view.ioctx))
