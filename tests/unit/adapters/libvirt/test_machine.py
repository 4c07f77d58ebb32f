"""What a host says of itself, on libvirt's own test driver."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from threading import Event
from typing import Any

from respawn.adapters.libvirt.machine import LibvirtHost, MachineSettings


class NoQemus:
    def ceph_sockets(self) -> frozenset[int]:
        return frozenset()


def host(folder: Path) -> LibvirtHost:
    async def nothing() -> Any:
        return frozenset()

    return LibvirtHost(
        "host-1", MachineSettings("tcg", machine_id="machine-1"), processes=NoQemus(),  # type: ignore[arg-type]
        pools=tuple, blocklist=nothing, uri="test:///default", folder=folder,
    )  # fmt: skip


def test_an_address_once_used_stays_though_another_look_ends_meanwhile(tmp_path: Path) -> None:
    """A fence covers what this boot ever used: two looks at the same time lose none of it. Who asks
    while a look is under way gets one that begins later; those who ask together share it.
    """

    class Towards:
        def __init__(self) -> None:
            self.found = [frozenset({"198.51.100.11"}), frozenset({"198.51.100.12"}), frozenset()]
            self.begun, self.go_on = Event(), Event()

        def addresses(self, _: Collection[str]) -> frozenset[str]:
            self.begun.set()
            assert self.go_on.wait(10)
            return self.found.pop(0)

    async def story() -> None:
        it, towards = host(tmp_path), Towards()
        it._towards = towards  # type: ignore[assignment]
        first = asyncio.ensure_future(it.identity())
        assert await asyncio.to_thread(towards.begun.wait, 10)
        others = [asyncio.ensure_future(it.identity()) for _ in range(5)]
        await asyncio.sleep(0)
        towards.go_on.set()
        assert (await first).storage == ("198.51.100.11",)
        both = ("198.51.100.11", "198.51.100.12")
        assert [found.storage for found in await asyncio.gather(*others)] == [both] * 5
        assert (await it.identity()).storage == both and not towards.found
        it.close()

    asyncio.run(story())
