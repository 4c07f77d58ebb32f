"""kopf as a source: that it ends when it is told to. What it brings, the lab's tests show."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any

import pytest
from aiohttp import web

from respawn.adapters.kubernetes.config import Endpoint
from respawn.adapters.kubernetes.resources import (
    NODES,
    POLICIES,
    SERVER_IMAGES,
    STORAGE_POOLS,
    VIRTUAL_SERVERS,
    Resource,
)
from respawn.runtime import kopf_source
from respawn.runtime.feed import Feed, Intake
from respawn.runtime.kopf_source import Backoffs, KopfSource
from respawn.runtime.threads import LoopThread


def source() -> KopfSource:
    feed = Feed((), asyncio.get_running_loop())
    return KopfSource(feed, Endpoint("https://127.0.0.1:1", tls=None), identity="test")


class Kopf:
    """Ends as the real one does: once its watchers have; each hears only the Nth cancellation."""

    def __init__(self, deaf_to: int) -> None:
        self.deaf_to, self.ended = deaf_to, False

    async def operator(self, *, stop_flag: asyncio.Event, **_: Any) -> None:
        watchers = [asyncio.create_task(self._watcher()) for _ in range(3)]
        await stop_flag.wait()
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        self.ended = True

    async def _watcher(self) -> None:
        for _ in range(self.deaf_to):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.Event().wait()


@pytest.mark.parametrize("deaf_to", [0, 1, 4])
def test_watchers_that_take_no_notice_are_told_again(
    monkeypatch: pytest.MonkeyPatch, deaf_to: int
) -> None:
    """Seen with kopf 1.45 whenever the API server had been away: from then on changes were heard
    once a minute, by the sweep, for kopf never ended and so never began anew.
    """
    kopf = Kopf(deaf_to)
    monkeypatch.setattr(kopf_source.kopf, "operator", kopf.operator)
    monkeypatch.setattr(kopf_source, "TO_END", 0.02)
    monkeypatch.setattr(kopf_source, "TOLD_AGAIN", 0.01)

    async def main() -> None:
        enough = asyncio.Event()
        running = asyncio.create_task(source().run(enough))
        await asyncio.sleep(0.05)
        assert not running.done(), "nobody is told anything before it is enough"
        enough.set()
        async with asyncio.timeout(5):
            await running
        assert kopf.ended

    asyncio.run(main())


def test_a_kopf_that_ends_by_itself_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def over(**_: Any) -> None:
        return None

    async def broken(**_: Any) -> None:
        raise ValueError("no such resource")

    async def main() -> None:
        for operator, error in ((over, RuntimeError), (broken, ValueError)):
            monkeypatch.setattr(kopf_source.kopf, "operator", operator)
            with pytest.raises(error):
                await source().run(asyncio.Event())

    asyncio.run(main())


def test_no_failure_of_a_request_is_the_last() -> None:
    pauses = list(islice(iter(Backoffs()), 100))
    assert pauses == sorted(pauses) and pauses[0] < 1 and pauses[-1] == 5
    assert not hasattr(Backoffs(), "__len__"), "kopf counts what has a length"


KINDS = (NODES, POLICIES, SERVER_IMAGES, VIRTUAL_SERVERS, STORAGE_POOLS)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)


class Api:
    """As much of an API server as kopf's watches need; while it is `odd`, one kind is refused and
    the others get no answer, as when it comes up or is overloaded.
    """

    def __init__(self) -> None:
        self.odd = False
        self.lists = 0
        self._cut = asyncio.Event()

    def be(self, odd: bool) -> None:
        self.odd = odd
        self._cut.set()
        self._cut = asyncio.Event()

    async def discovery(self, request: web.Request) -> web.Response:
        version = {"version": NODES.version}
        group = {"name": NODES.group, "versions": [version], "preferredVersion": version}
        known: dict[str, Any] = {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"resources": [_described(NAMESPACES)]},
            "/apis": {"groups": [group]},
        }
        resources = [_described(kind) for kind in KINDS]
        return web.json_response(known.get(request.path, {"resources": resources}))

    async def kind(self, request: web.Request) -> web.StreamResponse:
        if self.odd:
            if request.path.endswith(STORAGE_POOLS.plural):
                return web.json_response({"kind": "Status", "code": 403}, status=403)
            await self._cut.wait()
        if request.query.get("watch"):
            stream = web.StreamResponse()
            await stream.prepare(request)
            await self._cut.wait()
            return stream
        self.lists += 1
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        for path in ("/api", "/api/v1", "/apis", "/apis/{group}/{version}"):
            app.router.add_get(path, self.discovery)
        app.router.add_get("/apis/{group}/{version}/{kind}", self.kind)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


def _described(kind: Resource) -> dict[str, Any]:
    return {
        "name": kind.plural,
        "kind": kind.kind,
        "singularName": kind.plural[:-1],
        "namespaced": False,
        "verbs": ["list", "watch", "patch"],
    }


async def until(good: Callable[[], Any], within: float) -> None:
    async with asyncio.timeout(within):
        while not good():  # noqa: ASYNC110 kopf works in another thread
            await asyncio.sleep(0.02)


def test_kopf_begins_anew_though_its_watchers_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """One watcher has failed, which ends kopf, while the others wait for an answer."""
    brief = kopf_source.settings()
    brief.networking.error_backoffs = (0.1, 0.1)
    monkeypatch.setattr(kopf_source, "settings", lambda: brief)

    async def main() -> None:
        api = Api()
        intakes = tuple(Intake(kind, dict, lambda _: None, lambda *_: None, dict) for kind in KINDS)
        async with api.served() as server:
            feed = Feed(intakes, asyncio.get_running_loop())
            kopf = KopfSource(feed, Endpoint(server, tls=None), identity="test")
            thread = LoopThread("kopf", kopf.run)
            thread.start()
            await until(lambda: api.lists == len(KINDS), 10)
            api.be(odd=True)
            await asyncio.sleep(7)  # it gives its watchers 5 s, and then no more
            api.be(odd=False)
            thread.restart()
            try:
                await until(lambda: api.lists >= 2 * len(KINDS), 8)
            finally:
                await asyncio.to_thread(thread.stop, 5)

    asyncio.run(main())
