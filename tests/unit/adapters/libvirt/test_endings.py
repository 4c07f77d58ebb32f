"""Which ends are news: none of our own doing, and every other one once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from tests.unit.decide.builders import placed, server

from respawn.adapters.libvirt import connection, events, hypervisor
from respawn.adapters.libvirt.domain_xml import DomainSettings
from respawn.adapters.libvirt.hypervisor import LibvirtHypervisor
from respawn.adapters.libvirt.journal import RunJournal
from respawn.adapters.libvirt.processes import Command, Qemu
from respawn.model.conditions import Reason
from respawn.model.host import Exit, Identity, Incarnation
from respawn.model.server import domain_name
from respawn.model.storage import Pool
from respawn.ports.errors import Refused, Unavailable
from respawn.ports.hypervisor import DomainOrder

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
STOPPED, SHUTDOWN = libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN
BY_GUEST = (SHUTDOWN, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST)
BY_HOST = (SHUTDOWN, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
PANICKED = (libvirt.VIR_DOMAIN_EVENT_CRASHED, libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED)
AFTER_SHUTDOWN = (STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
AFTER_CRASH = (STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED)


def error(code: int) -> "libvirt.libvirtError":
    made = libvirt.libvirtError("no")
    made.err = (code, libvirt.VIR_FROM_QEMU, "no", 2, "", "", "", 0, 0)
    return made


class Libvirtd:
    """A daemon and its QEMUs: connections to it, what it knows, what it tells when it likes."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.refuses = False
        self.unkillable = False
        self.while_ending: Callable[[], None] = lambda: None
        self._listeners: list[Any] = []

    # A connection.

    def isAlive(self) -> bool:
        return True

    def close(self) -> None:
        return

    def registerCloseCallback(self, *_: object) -> None:
        return

    def domainEventRegisterAny(self, _d: object, _id: int, told: Any, _o: object) -> None:
        self._listeners.append(told)

    def lookupByUUIDString(self, uid: str) -> Any:
        if uid not in self.known:
            raise error(libvirt.VIR_ERR_NO_DOMAIN)
        return Domain(uid, self.known[uid])

    def createXML(self, _xml: str, _flags: int) -> None:
        if self.refuses:
            raise error(libvirt.VIR_ERR_INTERNAL_ERROR)
        self.known[UID] = 1

    # Its host.

    async def fresh(self) -> list[Qemu]:
        return [
            Qemu(7, None, Command(uid, domain_name(uid, epoch), (), 0, False))  # type: ignore[arg-type]
            for uid, epoch in self.known.items()
        ]

    async def end(self, _pid: int, _expected: object, **_: object) -> None:
        if self.unkillable:
            raise Unavailable("it outlives SIGKILL")
        self.known.clear()
        self.while_ending()

    def tell(self, *told: tuple[int, int], epoch: int = 1) -> None:
        for kind, detail in told:
            for listener in self._listeners:
                listener(self, Domain(UID, epoch), kind, detail, None)


class Domain:
    def __init__(self, uid: str, epoch: int) -> None:
        self._name = domain_name(uid, epoch)

    def name(self) -> str:
        return self._name

    def state(self) -> tuple[int, int]:
        return libvirt.VIR_DOMAIN_RUNNING, 1

    def metadata(self, *_: object) -> str:
        raise error(libvirt.VIR_ERR_NO_DOMAIN_METADATA)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Libvirtd:
    made = Libvirtd()
    for module in (connection, events):
        monkeypatch.setattr(module, "opened", lambda _uri: made)
    monkeypatch.setattr(hypervisor, "domain_xml", lambda _order, _settings: "<domain/>")
    monkeypatch.setattr(hypervisor, "ensure_secret", lambda *_: None)
    return made


@pytest.fixture
def exits(
    daemon: Libvirtd, tmp_path: Path
) -> Callable[[Callable[[LibvirtHypervisor], Awaitable[None]]], list[Exit]]:
    """Runs a story on a listening hypervisor; returns the ends that were told."""

    async def play(story: Callable[[LibvirtHypervisor], Awaitable[None]]) -> list[Exit]:
        told: list[Exit] = []
        listening = asyncio.Event()
        it = LibvirtHypervisor(
            DomainSettings("tcg", "host-1", consoles=str(tmp_path)), boot_id="boot-1",
            journal=RunJournal(tmp_path), on_change=lambda _: None, on_exit=told.append,
            on_connected=listening.set, processes=daemon,  # type: ignore[arg-type]
            folder=tmp_path, keyring=tmp_path,
        )  # fmt: skip
        it.start()
        await listening.wait()
        await story(it)
        for _ in range(3):  # events are handed over, and then handled
            await asyncio.sleep(0)
        it.close()
        return told

    return lambda story: asyncio.run(play(story))


def this(epoch: int = 1) -> Incarnation:
    return Incarnation(UID, epoch, "boot-1")


def order() -> DomainOrder:
    me = Identity("host-1", "machine-host-1", "boot-1", ())
    it = replace(server(placement=placed()), uid=UID)
    return DomainOrder(it, me, {"ceph": Pool("ceph", pool="vms")})


def test_an_end_of_our_own_doing_is_no_news_however_late_it_is_told(daemon, exits) -> None:
    daemon.known[UID] = 1

    async def story(it: LibvirtHypervisor) -> None:
        await it.kill(this())
        assert (await it.look(UID)).absent
        daemon.tell(BY_HOST, AFTER_SHUTDOWN)

    assert exits(story) == []


def test_nor_is_it_news_while_it_is_done(daemon, exits) -> None:
    daemon.known[UID] = 1
    daemon.while_ending = lambda: daemon.tell(BY_HOST, AFTER_SHUTDOWN)
    assert exits(lambda it: it.kill(this())) == []


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ((BY_GUEST, AFTER_SHUTDOWN), Reason.GUEST_SHUTDOWN),
        ((BY_HOST, AFTER_SHUTDOWN), Reason.QEMU_DIED),
        ((PANICKED, AFTER_CRASH), Reason.GUEST_PANICKED),
        ((AFTER_CRASH,), Reason.GUEST_PANICKED),
    ],
)
def test_any_other_end_is_told_once(daemon, exits, told, reason: Reason) -> None:
    async def story(_: LibvirtHypervisor) -> None:
        daemon.tell(*told)

    assert exits(story) == [Exit(UID, 1, reason)]


def test_what_ends_after_a_kill_that_failed_is_news(daemon, exits) -> None:
    """Whether by that kill or of something else, nobody can tell: it is told."""
    daemon.known[UID], daemon.unkillable = 1, True

    async def story(it: LibvirtHypervisor) -> None:
        with pytest.raises(Unavailable):
            await it.kill(this())
        daemon.tell(BY_GUEST, AFTER_SHUTDOWN)

    assert exits(story) == [Exit(UID, 1, Reason.GUEST_SHUTDOWN)]


def test_a_kill_silences_no_later_incarnation(daemon, exits) -> None:
    daemon.known[UID] = 1

    async def story(it: LibvirtHypervisor) -> None:
        await it.kill(this())
        daemon.tell(AFTER_CRASH, epoch=2)
        daemon.tell(AFTER_SHUTDOWN, epoch=1)

    assert exits(story) == [Exit(UID, 2, Reason.GUEST_PANICKED)]


def test_what_is_started_after_a_kill_that_found_nothing_ends_with_news(daemon, exits) -> None:
    async def story(it: LibvirtHypervisor) -> None:
        await it.kill(this())
        await it.create(order())
        daemon.tell(AFTER_CRASH)

    assert exits(story) == [Exit(UID, 1, Reason.GUEST_PANICKED)]


def test_a_create_that_fails_says_so_itself(daemon, exits) -> None:
    """libvirt sends no event of what never started; the caller knows by the error."""
    daemon.refuses = True

    async def story(it: LibvirtHypervisor) -> None:
        with pytest.raises(Refused):
            await it.create(order())

    assert exits(story) == []
