"""What a person defines is in nobody's way, on libvirt's own test driver."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from respawn.adapters.libvirt import connection, domains
from respawn.adapters.libvirt.domain_xml import DomainSettings
from respawn.adapters.libvirt.hypervisor import LibvirtHypervisor
from respawn.adapters.libvirt.journal import RunJournal
from respawn.model.host import Look
from respawn.model.server import domain_name

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a02"
URI = "test:///default"


def plain(uri: str) -> "libvirt.virConnect":
    connection.start_event_loop()
    return libvirt.open(uri)


@pytest.fixture
def libvirtd(monkeypatch: pytest.MonkeyPatch) -> Iterator["libvirt.virConnect"]:
    monkeypatch.setattr(connection, "opened", plain)
    monkeypatch.setattr(domains, "_WITH_ALL_OF_IT", 0)  # the test driver knows no such flags
    own = plain(URI)
    yield own
    for domain in own.listAllDomains():
        if domain.UUIDString() == UID:
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefine()
    own.close()


def xml(name: str) -> str:
    return (
        f"<domain type='test'><name>{name}</name><uuid>{UID}</uuid><memory>1024</memory>"
        "<os><type>hvm</type></os></domain>"
    )


def looked(folder: Path) -> Look:
    """What the agent sees of it."""

    async def story() -> Look:
        nothing: Any = lambda *_: None  # noqa: E731
        settings = DomainSettings(accelerator="tcg", ceph_client="host-1", consoles=str(folder))
        it = LibvirtHypervisor(
            settings, boot_id="boot-1", journal=RunJournal(folder), on_change=nothing,
            on_exit=nothing, on_connected=nothing, uri=URI, folder=folder, keyring=folder,
        )  # fmt: skip
        try:
            await it.ping()
            return await it.look(UID)
        finally:
            it.close()

    return asyncio.run(story())


def test_a_definition_of_ours_is_taken_away(libvirtd: Any, tmp_path: Path) -> None:
    libvirtd.defineXML(xml(domain_name(UID, 3)))
    assert looked(tmp_path).absent
    with pytest.raises(libvirt.libvirtError):
        libvirtd.lookupByUUIDString(UID)


def test_what_runs_is_left_alone_though_it_is_defined(libvirtd: Any, tmp_path: Path) -> None:
    libvirtd.defineXML(xml(domain_name(UID, 3))).create()
    found = looked(tmp_path).domain
    assert found is not None and found.epoch == 3
    domain = libvirtd.lookupByUUIDString(UID)
    assert domain.isActive()
    domain.destroy()
    assert looked(tmp_path).absent, "and taken away once it has ended"


def test_a_domain_of_another_name_is_somebody_elses(libvirtd: Any, tmp_path: Path) -> None:
    libvirtd.defineXML(xml("mine"))
    found = looked(tmp_path).domain
    assert found is not None and found.epoch == 0
    assert libvirtd.lookupByUUIDString(UID).name() == "mine"
