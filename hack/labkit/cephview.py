"""Reading the lab's Ceph as its administrator: blocklist, sessions, watchers, lockers, images."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import rados
import rbd

from labkit import blocklists, names
from labkit.errors import LabError
from labkit.lab import Lab
from labkit.patience import ask

CLONE_NEWNET = 0x40000000
#: longer than the time-out of a single call, which is what ends most questions
PATIENCE_S = 15.0
T = TypeVar("T")


@contextlib.contextmanager
def inside_network(lab: Lab, network: str) -> Iterator[None]:
    """Move this thread, and the threads it starts, into one of the lab's networks for a while."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        away = os.open(f"/proc/{lab.pid}/root/run/netns/{network}", os.O_RDONLY)
        try:
            _set_network(away)
        finally:
            os.close(away)
        try:
            yield
        finally:
            _set_network(home)
    finally:
        os.close(home)


def _set_network(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        raise LabError(f"cannot change the network: {os.strerror(ctypes.get_errno())}")


@dataclass
class View:
    """The administrator's handles: the cluster, and the pool `vms`."""

    cluster: rados.Rados
    ioctx: rados.Ioctx


def question(lab: Lab, about: Callable[[View], T]) -> T:
    """What ABOUT finds in the pool `vms`; raises LabError when Ceph does not answer in time.

    Asked in another process: the handles of a Ceph that is stopped in the middle of a call may
    never come back, not even from being closed.
    """

    def inside() -> T:
        with _pool(lab) as view:
            return about(view)

    return ask("Ceph", inside, PATIENCE_S)


@contextlib.contextmanager
def _pool(lab: Lab) -> Iterator[View]:
    """The pool `vms`, as the administrator; raises LabError when Ceph does not answer."""
    with inside_network(lab, "ceph"), _connected(lab) as view:
        yield view


@contextlib.contextmanager
def _connected(lab: Lab) -> Iterator[View]:
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
    return blocklists.parse(out.decode())


@dataclass
class ImageClients:
    """Who watches an image and who holds its lock, as Ceph lists them."""

    watchers: list[str] = field(default_factory=list)
    lockers: list[dict[str, str]] = field(default_factory=list)
    cookies: list[tuple[str, int]] = field(default_factory=list)
    """(address, cookie) of both: a cookie is an address in the memory of the client's process."""


def clients(view: View, image: str) -> ImageClients | None:
    """Read-only: a write-open would add a watcher of our own. None: it was deleted just now."""
    try:
        with rbd.Image(view.ioctx, image, read_only=True) as opened:
            watchers = list(opened.watchers_list())
            lockers = (opened.list_lockers() or {}).get("lockers", [])
    except rbd.ImageNotFound:
        return None
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
