"""Orders do not wait behind creates that hang, on libvirt's own test driver."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import libvirt
import pytest
from tests.unit.decide.builders import placed, server

from respawn.adapters.libvirt import connection, hypervisor
from respawn.adapters.libvirt.domain_xml import DomainSettings
from respawn.adapters.libvirt.hypervisor import CREATING, LibvirtHypervisor
from respawn.adapters.libvirt.journal import RunJournal
from respawn.model.host import Identity, Incarnation
from respawn.model.storage import Pool
from respawn.ports.errors import NotFound
from respawn.ports.hypervisor import DomainOrder

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"


def test_a_shutdown_does_not_wait_for_creates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More creates hang than there are threads for them; the guest is asked all the same."""
    free, begun = threading.Event(), threading.Semaphore(0)

    def plain(uri: str) -> "libvirt.virConnect":
        connection.start_event_loop()
        return libvirt.open(uri)

    def hang(*_: object) -> None:
        begun.release()
        free.wait(30)
        raise OSError("enough")

    monkeypatch.setattr(connection, "opened", plain)
    monkeypatch.setattr(hypervisor, "domain_xml", lambda order, settings: "<domain/>")
    monkeypatch.setattr(hypervisor, "ensure_secret", hang)

    async def story() -> None:
        settings = DomainSettings(
            accelerator="tcg", ceph_client="host-1", consoles=str(tmp_path / "consoles")
        )
        nothing: Any = lambda *_: None  # noqa: E731
        it = LibvirtHypervisor(
            settings, boot_id="boot-1", journal=RunJournal(tmp_path), on_change=nothing,
            on_exit=nothing, on_connected=nothing, uri="test:///default", folder=tmp_path,
            keyring=tmp_path,
        )  # fmt: skip
        me = Identity("host-1", "machine-host-1", "boot-1", ())
        order = DomainOrder(server(placement=placed()), me, {"ceph": Pool("ceph", pool="vms")})
        creates = [asyncio.create_task(it.create(order)) for _ in range(CREATING + 1)]
        for _ in range(CREATING):
            await asyncio.to_thread(begun.acquire)
        with pytest.raises(NotFound):  # libvirt has been asked, and has no such domain
            await it.shut_down(Incarnation(UID, 1, "boot-1"))
        assert not any(create.done() for create in creates)
        free.set()
        await asyncio.wait(creates)
        it.close()

    asyncio.run(story())
