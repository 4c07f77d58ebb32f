"""The sweep begins the watches anew when they do not hear, and only then."""

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.test_feed import Fed, run, server

from respawn.adapters.kubernetes.resources import VIRTUAL_SERVERS
from respawn.runtime.sweep import Sweep


class Lists:
    """An API that lists one server."""

    async def list_all(self, resource: Any, *, deadline: float) -> tuple[list[Any], str]:
        return [server(7)] if resource is VIRTUAL_SERVERS else [], "7"


@pytest.mark.parametrize(
    ("change", "deaf"), [(None, True), ("ADDED", False), ("DELETED", False)]
)  # fmt: skip
def test_the_watches_are_deaf_when_they_do_not_bring_what_a_list_shows(
    change: str | None, deaf: bool
) -> None:
    async def scenario(fed: Fed) -> None:
        begun_anew, taken = list[bool](), asyncio.Event()
        fed.store.changed = lambda key: taken.set()
        sweep = Sweep(
            fed.feed,
            asyncio.get_running_loop(),
            Lists,
            deaf=lambda: begun_anew.append(True),
            patience=0.02,
        )
        look = asyncio.ensure_future(sweep._sweep(Lists(), asyncio.Event()))
        await taken.wait()
        if change:
            await fed.offer(VIRTUAL_SERVERS, change, server(8))
        await look
        assert bool(begun_anew) is deaf

    run(scenario)


def test_a_sweep_that_is_due_does_not_wait_for_its_time() -> None:
    async def scenario(fed: Fed) -> None:
        taken, enough = asyncio.Event(), asyncio.Event()
        fed.store.changed = lambda key: taken.set()
        connect: Any = Connected
        sweep = Sweep(fed.feed, asyncio.get_running_loop(), connect, every=3600, patience=0.01)
        sweep.due()
        running = asyncio.ensure_future(sweep.run(enough))
        async with asyncio.timeout(5):
            await taken.wait()
        enough.set()
        await running

    run(scenario)


class Connected(Lists):
    """The same, as a client is used."""

    async def __aenter__(self) -> "Connected":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
