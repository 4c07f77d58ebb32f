"""Runs on a host of the lab: the adapters as an agent would hold them, driven by JSON lines.

One order a line on stdin, `{"id", "do", ...}`; one answer a line on stdout, `{"id", "ms", "ok"}` or
`{"id", "ms", "error", "text"}`. Orders run side by side. It ends with its stdin.
"""

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from respawn.adapters.libvirt.accelerator import EMULATED
from respawn.adapters.libvirt.ceph_access import write_conf
from respawn.adapters.libvirt.domain_xml import DomainSettings, domain_xml
from respawn.adapters.libvirt.hypervisor import LibvirtHypervisor
from respawn.adapters.libvirt.journal import RunJournal
from respawn.adapters.libvirt.machine import LibvirtHost, MachineSettings, boot_id
from respawn.agent.guard_server import GuardServer, publish_pools
from respawn.model.host import Ask, Exit, GuardAnswer, Identity, Incarnation
from respawn.model.placement import Phase, Placement
from respawn.model.server import (
    Disk,
    DiskHardware,
    Hardware,
    Nic,
    NicHardware,
    Server,
    ServerSpec,
    ServerStatus,
)
from respawn.model.storage import Entry, Pool
from respawn.ports.errors import PortError
from respawn.ports.hypervisor import DomainOrder


class Driver:
    """What an agent's process holds, with a guard whose answer is set from outside."""

    def __init__(self, host: str, fsid: str, op_timeout: float | None) -> None:
        self.pool = Pool("ceph", fsid, "vms", "respawn", ("198.51.100.1:3300",))
        self.mode = "yes"
        self.asked: list[Ask] = []
        self.events: list[dict[str, Any]] = []
        self.journal = RunJournal()
        conf = Path("/run/respawn/qemu-ceph.conf") if op_timeout else None
        if conf and op_timeout:
            write_conf(conf, op_timeout=op_timeout)
        self.settings = DomainSettings(EMULATED, host, ceph_conf=str(conf) if conf else None)
        self.hypervisor = LibvirtHypervisor(
            self.settings,
            boot_id=boot_id(),
            journal=self.journal,
            on_change=lambda uid: self._note("change", uid),
            on_exit=self._exit,
            on_connected=lambda: self._note("connected", ""),
        )
        self.host = LibvirtHost(
            host,
            MachineSettings(EMULATED),
            processes=self.hypervisor.processes,
            pools=lambda: [self.pool],
            blocklist=self._blocklist,
        )
        self.guard = GuardServer(self._answer)

    async def _blocklist(self) -> frozenset[Entry]:
        return frozenset()

    def _note(self, what: str, uid: str, **more: Any) -> None:
        self.events.append({"what": what, "uid": uid, "at": time.monotonic(), **more})

    def _exit(self, gone: Exit) -> None:
        self._note("exit", gone.uid, epoch=gone.epoch, reason=gone.reason)

    async def _answer(self, ask: Ask) -> GuardAnswer:
        self.asked.append(ask)
        if self.mode == "hang":
            await asyncio.sleep(3600)
        if self.mode == "crash":
            raise RuntimeError("planted")
        if self.mode == "yes" and not self.journal.admit(ask.uid, ask.epoch):
            return GuardAnswer(False, "admitted before in this boot")
        return GuardAnswer(self.mode == "yes", f"the test says {self.mode}")

    def order(self, uid: str, epoch: int, disks: list[str], cores: int = 1) -> DomainOrder:
        mac = "52:54:00:" + ":".join(uid[i : i + 2] for i in (0, 2, 4))
        hardware = Hardware(
            "pc-q35-7.2",
            "qemu64",
            (NicHardware("public", mac, 4),),
            tuple(DiskHardware(d, d, 5 + n) for n, d in enumerate(disks)),
        )
        server = Server(
            uid,
            "tests",
            f"s-{uid[:8]}",
            ServerSpec(
                memory=128 << 20,
                cores=cores,
                disks=tuple(Disk(d, "ceph", 128 << 20) for d in disks),
                networks=(Nic("public", "tenant"),),
            ),
            ServerStatus(
                placement=Placement(Phase.PLACED, epoch, self.settings.ceph_client),
                hardware=hardware,
            ),
        )
        me = Identity(self.settings.ceph_client, "", boot_id(), ())
        return DomainOrder(server, me, {"ceph": self.pool})

    # Orders.

    async def create(self, **order: Any) -> Incarnation:
        return await self.hypervisor.create(self.order(**order))

    async def xml(self, **order: Any) -> str:
        return domain_xml(self.order(**order), self.settings)

    async def look(self, uid: str) -> dict[str, Any]:
        look = await self.hypervisor.look(uid)
        return {**dataclasses.asdict(look), "absent": look.absent}

    async def scan(self) -> Any:
        return [look.uid for look in await self.hypervisor.scan()]

    async def _on(self, method: str, uid: str, epoch: int) -> None:
        incarnation = Incarnation(uid, epoch, boot_id())
        await getattr(self.hypervisor, method)(incarnation)

    async def kill(self, **of: Any) -> None:
        await self._on("kill", **of)

    async def suspend(self, **of: Any) -> None:
        await self._on("suspend", **of)

    async def resume(self, **of: Any) -> None:
        await self._on("resume", **of)

    async def shut_down(self, **of: Any) -> None:
        await self._on("shut_down", **of)

    async def details(self, uid: str) -> Any:
        return await self.hypervisor.details(await self.hypervisor.look(uid))

    async def identity(self) -> Any:
        return await self.host.identity()

    async def capacity(self) -> Any:
        return await self.host.capacity(None)

    async def pool_processes(self) -> Any:
        return await self.host.pool_processes()

    async def set_guard(self, mode: str) -> None:
        self.mode = mode

    async def close_guard(self) -> None:
        await self.guard.close()

    async def open_guard(self) -> None:
        await self.guard.start()

    async def block(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - an agent that stands still is what is wanted

    async def told(self) -> Any:
        """Events and questions so far; they are forgotten with it."""
        events, self.events = self.events, []
        asked, self.asked = self.asked, []
        return {"events": events, "asked": [dataclasses.asdict(a) for a in asked]}


ORDERS = frozenset(
    ("create", "xml", "look", "scan", "kill", "suspend", "resume", "shut_down", "details",
     "identity", "capacity", "pool_processes", "set_guard", "close_guard", "open_guard", "block",
     "told")
)  # fmt: skip


def plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


async def obey(driver: Driver, line: bytes) -> None:
    order = json.loads(line)
    ident, what = order.pop("id"), order.pop("do")
    assert what in ORDERS, what
    method: Callable[..., Awaitable[Any]] = getattr(driver, what)
    begun = time.monotonic()
    answer: dict[str, Any] = {"id": ident}
    try:
        answer["ok"] = plain(await method(**order))
    except PortError as error:
        answer |= {"error": type(error).__name__, "text": str(error)}
    answer["ms"] = round((time.monotonic() - begun) * 1000, 1)
    print(json.dumps(answer, default=str), flush=True)


async def main() -> None:
    driver = Driver(sys.argv[1], sys.argv[2], float(sys.argv[3]) or None)
    publish_pools(frozenset({"vms"}))
    await driver.guard.start()
    driver.hypervisor.start()
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(obey(driver, line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    driver.hypervisor.close()
    await driver.guard.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    asyncio.run(main())
