"""What a host says of itself, on libvirt's own test driver."""

import asyncio
from collections.abc import Collection
from pathlib import Path
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
    """A fence covers what this boot ever used: two looks at the same time lose none of it."""

    class Towards:
        def __init__(self) -> None:
            self.found = [frozenset({"198.51.100.11"}), frozenset({"198.51.100.12"}), frozenset()]

        def addresses(self, _: Collection[str]) -> frozenset[str]:
            return self.found.pop(0)

    async def story() -> None:
        it = host(tmp_path)
        it._towards = Towards()  # type: ignore[assignment]
        await asyncio.gather(it.identity(), it.identity())
        assert (await it.identity()).storage == ("198.51.100.11", "198.51.100.12")
        it.close()

    asyncio.run(story())
