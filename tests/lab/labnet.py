"""Running the product's code inside the lab's networks, and the lab's keys for it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from labkit import names
from labkit.lab import Lab
from respawn.adapters.ceph.access import Access
from respawn.model.storage import Pool

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
MONITORS = (f"{names.CEPH_ADDRESS}:3300",)


class Inside:
    """An event loop in a thread of its own that lives in another network namespace.

    So do all threads that are started from it, those of librados too; nobody else does.
    """

    def __init__(self, network: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._network = network
        self._ready: threading.Event = threading.Event()
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._live, daemon=True, name=f"in {network}")
        self._thread.start()
        self._ready.wait()
        if self._failed:
            raise self._failed

    def _live(self) -> None:
        try:
            self._enter()
        except OSError as error:
            self._failed = error
        self._ready.set()
        if not self._failed:
            self.loop.run_forever()
        self.loop.close()

    def _enter(self) -> None:
        fd = os.open(self._network, os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {self._network}")
        os.close(fd)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 60) -> T:
        """Carry it out there; raises what it raises."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def call(self, work: Callable[[], T], timeout: float = 60) -> T:
        """Do blocking work in a thread there."""

        async def do() -> T:
            return await self.loop.run_in_executor(None, work)

        return self.run(do(), timeout)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


@contextmanager
def inside(network: Path) -> Iterator[Inside]:
    there = Inside(network)
    try:
        yield there
    finally:
        there.close()


def operator_network(lab: Lab, index: int = 1) -> Path:
    return Path(f"/proc/{lab.pid}/root/run/netns/op-{index}")


def host_network(lab: Lab, host: str) -> Path:
    return Path(f"/proc/{lab.host(host).on()}/ns/net")


def operator_access(lab: Lab) -> Access:
    key = (lab.folder.ceph / "client.respawn.key").read_text().strip()
    return Access("respawn", lab.state.fsid, MONITORS, key)


def host_access(lab: Lab, host: str) -> Access:
    """The host's own key, read from its disk."""
    keyring = (lab.folder.host(host) / f"etc/ceph/ceph.client.{host}.keyring").read_text()
    key = next(line.split("=", 1)[1] for line in keyring.splitlines() if "key =" in line)
    return Access(host, lab.state.fsid, MONITORS, key.strip())


def pool_of(lab: Lab) -> Pool:
    return Pool("ceph", fsid=lab.state.fsid, pool=names.POOL, client="respawn", monitors=MONITORS)
