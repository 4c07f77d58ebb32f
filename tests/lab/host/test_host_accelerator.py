"""The probe runs a real guest: one that ends is believed, one that hangs is not waited for."""

import asyncio
import time
from pathlib import Path

import pytest

from respawn.adapters.libvirt import accelerator

pytestmark = pytest.mark.lab
EMULATOR = "/usr/bin/qemu-system-x86_64"


def test_a_guest_that_boots_counts_and_ends_is_proof() -> None:
    assert asyncio.run(accelerator.works("tcg", EMULATOR, 20))


def test_a_guest_that_hangs_is_ended_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa"
    monkeypatch.setattr(accelerator, "boot_sector", lambda: hangs)
    begun = time.monotonic()
    assert not asyncio.run(accelerator.works("tcg", EMULATOR, 1))
    assert time.monotonic() - begun < 3


def test_an_accelerator_that_is_none_fails_at_once() -> None:
    assert not asyncio.run(accelerator.works("no-such-thing", EMULATOR, 20))


def test_what_is_configured_is_taken_and_a_missing_device_is_emulated(tmp_path: Path) -> None:
    choose = accelerator.choose
    assert asyncio.run(choose("/nowhere/qemu", "kvm")) == "kvm"
    assert asyncio.run(choose(EMULATOR, device=str(tmp_path / "kvm"))) == "qemu"


def test_a_device_that_opens_is_not_believed_until_a_guest_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kvm").touch()
    for runs, kind in ((False, "qemu"), (True, "kvm")):

        async def works(name: str, emulator: str, runs: bool = runs) -> bool:
            assert (name, emulator) == ("kvm", EMULATOR)
            return runs

        monkeypatch.setattr(accelerator, "works", works)
        assert asyncio.run(accelerator.choose(EMULATOR, device=str(tmp_path / "kvm"))) == kind
