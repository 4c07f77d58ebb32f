"""The sweep begins the watches anew when they do not hear, and only then."""

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.test_feed import Fed, run, server

from respawn.adapters.kubernetes.errors import Forbidden
from respawn.adapters.kubernetes.resources import VIRTUAL_SERVERS
from respawn.runtime import sweep as module
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


def test_a_sweep_that_is_due_waits_for_an_answer_alone_and_then_the_watches_begin_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before that they would be refused as the sweep was."""
    monkeypatch.setattr(module, "AGAIN", 0.01)

    async def scenario(fed: Fed) -> None:
        enough, anew = asyncio.Event(), asyncio.Event()
        api = Refusing(3)
        sweep = Sweep(
            fed.feed,
            asyncio.get_running_loop(),
            lambda: api,  # type: ignore[arg-type, return-value]
            deaf=anew.set,
            every=3600,
        )
        sweep.due()
        running = asyncio.ensure_future(sweep.run(enough))
        async with asyncio.timeout(5):
            await anew.wait()
        assert fed.store.servers and api.refusals == 0
        await asyncio.sleep(0.05)
        enough.set()
        await running
        assert api.sweeps == 1, "no other one is due"

    run(scenario)


class Refusing(Lists):
    """The same, as a client is used; it does not know its roles at first."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.sweeps = refusals, 0

    async def list_all(self, resource: Any, *, deadline: float) -> tuple[list[Any], str]:
        if self.refusals:
            self.refusals -= 1
            raise Forbidden("not yet", status=403)
        self.sweeps += resource is VIRTUAL_SERVERS
        return await super().list_all(resource, deadline=deadline)

    async def __aenter__(self) -> "Refusing":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
