"""Which servers a scan of the host looks for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from respawn.adapters.libvirt.hypervisor import LibvirtHypervisor
from respawn.adapters.libvirt.journal import RunJournal
from respawn.adapters.libvirt.processes import Command, Qemu
from respawn.model.host import Look

A, B = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01", "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a02"


class Host(LibvirtHypervisor):
    """With libvirt and /proc as a test says."""

    def __init__(self, folder: Path) -> None:
        self.journal, nothing = RunJournal(folder), lambda *_: None
        settings: Any = None
        super().__init__(
            settings, boot_id="boot-1", journal=self.journal, on_change=nothing, on_exit=nothing,
            on_connected=nothing, processes=self, folder=folder, keyring=folder,  # type: ignore[arg-type]
        )  # fmt: skip
        self.here: set[str] = set()
        self.looked: list[str] = []
        self.qemus: list[Qemu] = []

    async def fresh(self) -> list[Qemu]:
        return self.qemus

    async def look(self, uid: str) -> Look:
        self.looked.append(uid)
        return Look(uid, processes=(7,)) if uid in self.here else Look(uid)

    def scanned(self) -> tuple[list[str], list[str]]:
        """Whom it found, and whom it looked for."""
        self.looked.clear()
        found = asyncio.run(self.scan())
        return [look.uid for look in found], self.looked


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_was_admitted_and_has_gone_is_not_looked_for_again(host: Host) -> None:
    host.here = {A, B}
    host.journal.admit(A, 1)
    host.journal.admit(B, 1)
    assert host.scanned() == ([A, B], [A, B])
    host.here = {B}
    assert host.scanned() == ([B], [A, B])
    assert host.scanned() == ([B], [B])


def test_a_new_epoch_is_looked_for(host: Host) -> None:
    host.journal.admit(A, 1)
    assert host.scanned() == ([], [A])
    host.journal.admit(A, 2)
    host.here = {A}
    assert host.scanned() == ([A], [A])


def test_an_epoch_admitted_during_the_look_is_not_taken_for_gone(host: Host) -> None:
    host.journal.admit(A, 1)
    slow = host.look

    async def look(uid: str) -> Look:
        found = await slow(uid)
        host.journal.admit(A, 2)
        return found

    host.look = look  # type: ignore[method-assign]
    assert host.scanned() == ([], [A])
    host.look = slow  # type: ignore[method-assign]
    host.here = {A}
    assert host.scanned() == ([A], [A])


def test_a_qemu_is_looked_at_whatever_is_known_of_it(host: Host, tmp_path: Path) -> None:
    host.journal.admit(A, 1)
    host.scanned()
    command = Command(A, f"vs-{A}.1", (), 0, False)
    host.qemus, host.here = [Qemu(7, None, command)], {A}  # type: ignore[arg-type]
    assert host.scanned() == ([A], [A])
