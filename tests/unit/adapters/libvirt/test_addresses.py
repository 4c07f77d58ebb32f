"""What is remembered of guests, and for how long."""

import asyncio
from typing import Any

import pytest

from respawn.adapters.libvirt import addresses
from respawn.adapters.libvirt.addresses import GuestAddresses, Told
from respawn.model.host import Incarnation

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
ANSWER = '{"return":[{"ip-addresses":[{"ip-address":"10.40.0.7"}]}]}'


class Guest:
    """Stands for the workers: its agent answers at once, or there is none."""

    def __init__(self) -> None:
        self.answer: str | None = ANSWER

    async def call(self, *_: Any) -> tuple[tuple[str, ...], str | None]:
        return (), self.answer

    def close(self) -> None:
        return


def test_what_one_incarnation_told_is_not_said_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though libvirt's word of its end was lost: its guest is not ready before it has booted."""
    guest = Guest()
    monkeypatch.setattr(addresses, "Workers", lambda *_: guest)

    async def story() -> None:
        memory = GuestAddresses("", lambda _: None)

        async def known(epoch: int) -> Told:
            memory.known(Incarnation(UID, epoch, "boot-1"))
            await asyncio.sleep(0.01)
            return memory.known(Incarnation(UID, epoch, "boot-1"))

        assert await known(1) == Told(("10.40.0.7",), True)
        guest.answer = None
        assert await known(1) == Told(("10.40.0.7",), True)
        assert await known(2) == Told()

    asyncio.run(story())
