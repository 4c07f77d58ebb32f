"""The client against an API server that hangs, breaks, refuses and forgets."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import respawn
from respawn.adapters.kubernetes import errors
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.cluster import KubernetesCluster
from respawn.adapters.kubernetes.config import Endpoint
from respawn.adapters.kubernetes.resources import LEASES, NODES, VIRTUAL_SERVERS
from respawn.adapters.kubernetes.revisions import EXIT_CODE, Revisions
from respawn.adapters.kubernetes.watch import Change, Event, Interrupted, Snapshot, watch

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler, *, deadline: float = 5.0) -> AsyncIterator[Client]:
    """A client of a server on loopback whose every request goes to `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Client(Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}", None)) as client:
            client._deadline = deadline
            yield client
    finally:
        await runner.cleanup()


def answering(status: int, body: Any, seen: list[web.Request] | None = None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        if seen is not None:
            seen.append(request)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text)

    return handler


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"reason": "NotFound", "message": "gone"}, errors.NotFound),
        (409, {"reason": "Conflict", "message": "moved on"}, errors.Conflict),
        (409, {"reason": "AlreadyExists", "message": "there"}, errors.AlreadyExists),
        (410, {"reason": "Expired", "message": "too old"}, errors.Expired),
        (403, {"reason": "Forbidden", "message": "no"}, errors.Forbidden),
        (401, {"reason": "Unauthorized", "message": "who"}, errors.Forbidden),
        (422, {"reason": "Invalid", "message": "no"}, errors.Refused),
        (422, {"reason": "Invalid", "message": "bad"}, errors.Refused),
        (429, {"reason": "TooManyRequests", "message": "later"}, errors.Unavailable),
        (500, {"reason": "InternalError", "message": "oops"}, errors.Unavailable),
        (502, "<html>bad gateway</html>", errors.Unavailable),
    ],
)
def test_every_answer_has_its_error(
    status: int, body: Any, expected: type[errors.ApiError]
) -> None:
    async def scenario() -> errors.ApiError:
        async with served(answering(status, body)) as client:
            with pytest.raises(errors.ApiError) as caught:
                await client.get(NODES, "host-1")
            return caught.value

    error = asyncio.run(scenario())
    assert type(error) is expected
    assert error.status == status
    message = body["message"] if isinstance(body, dict) else body
    assert str(error) == message


def test_a_server_that_hangs_costs_the_deadline_and_leaves_the_outcome_open() -> None:
    async def scenario() -> tuple[errors.Unavailable, float]:
        async with served(hang) as client:
            begun = time.monotonic()
            with pytest.raises(errors.Unavailable) as caught:
                await client.patch_status(NODES, "n", {}, resource_version="1", deadline=0.2)
            return caught.value, time.monotonic() - begun

    error, took = asyncio.run(scenario())
    assert not error.undone
    assert 0.2 <= took < 1.0


def test_a_server_that_is_not_there_is_known_to_have_done_nothing() -> None:
    async def scenario() -> errors.Unavailable:
        async with Client(Endpoint("http://127.0.0.1:1", None)) as client:
            with pytest.raises(errors.Unavailable) as caught:
                await client.get(NODES, "host-1", deadline=1)
            return caught.value

    assert asyncio.run(scenario()).undone


def test_a_broken_answer_is_no_answer() -> None:
    async def scenario() -> None:
        async with served(answering(200, '{"metadata": ')) as client:
            with pytest.raises(errors.Unavailable):
                await client.get(NODES, "host-1")

    asyncio.run(scenario())


def test_a_write_carries_the_version_it_was_decided_on_and_nulls() -> None:
    seen: list[web.Request] = []

    async def scenario() -> Any:
        async with served(answering(200, {}, seen)) as client:
            change = {"status": {"node": None, "phase": "Pending"}}
            await client.patch(
                VIRTUAL_SERVERS, "w", change, resource_version="7", namespace="a", part="status"
            )
            with pytest.raises(ValueError, match="resourceVersion"):
                await client.patch(VIRTUAL_SERVERS, "w", {}, resource_version="", namespace="a")
            return await seen[0].json()

    body = asyncio.run(scenario())
    assert body == {
        "status": {"node": None, "phase": "Pending"},
        "metadata": {"resourceVersion": "7"},
    }
    assert len(seen) == 1
    assert seen[0].method == "PATCH"
    assert seen[0].content_type == "application/merge-patch+json"
    assert seen[0].path == ("/apis/respawn.dev/v1alpha1/namespaces/a/virtualservers/w/status")


def test_a_read_names_no_version_so_no_cache_may_answer_it() -> None:
    seen: list[web.Request] = []

    async def scenario() -> None:
        async with served(answering(200, {"metadata": {"resourceVersion": "9"}}, seen)) as client:
            await client.get(NODES, "host-1")
            await client.list_all(NODES)
            assert await client.revision() == 9

    asyncio.run(scenario())
    assert ["resourceVersion" in request.query for request in seen] == [False, False, False]


def test_a_long_list_is_fetched_in_chunks() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        first = int(request.query.get("continue", 0))
        metadata = {"resourceVersion": "5"}
        if first < 4:
            metadata["continue"] = str(first + 2)
        items = [{"n": first}, {"n": first + 1}]
        return web.json_response({"metadata": metadata, "items": items})

    async def scenario() -> Any:
        async with served(handler) as client:
            return await client.list_all(NODES, chunk=2)

    items, version = asyncio.run(scenario())
    assert [item["n"] for item in items] == [0, 1, 2, 3, 4, 5]
    assert version == "5"


def test_a_delete_names_exactly_one_object() -> None:
    seen: list[web.Request] = []

    async def scenario() -> Any:
        async with served(answering(200, {}, seen)) as client:
            await client.delete(NODES, "host-1", uid="u-1", resource_version="3")
            return await seen[0].json()

    body = asyncio.run(scenario())
    assert body["preconditions"] == {"uid": "u-1", "resourceVersion": "3"}


def test_a_client_is_of_one_loop_and_of_its_block() -> None:
    client = Client(Endpoint("http://127.0.0.1:1", None))

    async def use() -> None:
        await client.get(NODES, "host-1")

    async def enter() -> None:
        await client.__aenter__()

    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(use())
    asyncio.run(enter())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(use())


class Streams:
    """A server whose LIST counts up and whose watches follow a script, one entry a watch.

    An entry is a list of events, after which the stream ends, or hangs if "hang" is the last.
    """

    def __init__(self, *scripts: list[Any]) -> None:
        self.scripts = list(scripts)
        self.lists = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists += 1
            listed = {"metadata": {"name": f"listed-{self.lists}"}}
            metadata = {"resourceVersion": str(self.lists)}
            return web.json_response({"metadata": metadata, "items": [listed]})
        script = self.scripts.pop(0) if self.scripts else ["hang"]
        answer = web.StreamResponse()
        await answer.prepare(request)
        for event in script:
            if event == "hang":
                await asyncio.sleep(3600)
            await answer.write(json.dumps(event).encode() + b"\n")
        return answer


def changed(name: str) -> dict[str, Any]:
    return {"type": "MODIFIED", "object": {"metadata": {"name": name}}}


BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
TOO_OLD = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}


def told(events: list[Event]) -> list[str]:
    """Events in short: `listed-1`, `~name` for a change, `!` for an interruption."""
    return [
        "!"
        if isinstance(event, Interrupted)
        else "~" + event.object["metadata"]["name"]
        if isinstance(event, Change)
        else event.objects[0]["metadata"]["name"]
        for event in events
    ]


def follow(server: Handler, count: int, *, silence: float = 5.0) -> list[Event]:
    """The first `count` events of a watch."""

    async def scenario() -> list[Event]:
        events: list[Event] = []
        async with (
            asyncio.timeout(20),
            served(server) as client,
            aclosing(watch(client, LEASES, silence=silence)) as stream,
        ):
            async for event in stream:
                events.append(event)
                if len(events) == count:
                    break
        return events

    return asyncio.run(scenario())


def test_a_watch_lists_then_follows_and_keeps_bookmarks_to_itself() -> None:
    server = Streams([changed("a"), BOOKMARK, changed("b"), "hang"])
    assert told(follow(server.answer, 3)) == ["listed-1", "~a", "~b"]


def test_a_watch_that_ends_lists_again() -> None:
    assert told(follow(Streams([changed("a")]).answer, 3)) == ["listed-1", "~a", "listed-2"]


def test_a_watch_that_is_too_old_lists_again_without_a_fuss() -> None:
    server = Streams([changed("a"), TOO_OLD])
    assert told(follow(server.answer, 3)) == ["listed-1", "~a", "listed-2"]


def test_a_watch_that_falls_silent_is_given_up_and_lists_again() -> None:
    server = Streams([changed("a"), "hang"])
    begun = time.monotonic()
    assert told(follow(server.answer, 4, silence=0.3)) == ["listed-1", "~a", "!", "listed-2"]
    assert time.monotonic() - begun < 2


def test_a_server_that_breaks_is_told_of_and_asked_again() -> None:
    failures = [500, 503]
    streams = Streams([changed("a"), "hang"])

    async def handler(request: web.Request) -> web.StreamResponse:
        if failures:
            return web.json_response({"message": "down"}, status=failures.pop())
        return await streams.answer(request)

    assert told(follow(handler, 4)) == ["!", "!", "listed-1", "~a"]


def test_an_object_larger_than_any_buffer_comes_through() -> None:
    name = "x" * 300_000
    events = follow(Streams([changed(name), "hang"]).answer, 2)
    assert isinstance(events[1], Change)
    assert events[1].object["metadata"]["name"] == name


def test_a_snapshot_says_when_its_reading_began() -> None:
    before = time.monotonic()
    (snapshot,) = follow(Streams().answer, 1)
    assert isinstance(snapshot, Snapshot)
    assert before <= snapshot.begun_at <= time.monotonic()


def listing(*versions: int) -> Handler:
    """LISTs of these resourceVersions, one after the other."""
    left = list(versions)

    async def handler(request: web.Request) -> web.StreamResponse:
        body = {"items": [], "metadata": {"resourceVersion": str(left.pop(0))}}
        return web.Response(text=json.dumps(body))

    return handler


def test_a_restored_api_is_told_by_its_lists() -> None:
    """Each kind by itself, and by every client of the process."""
    told: list[str] = []

    async def scenario(handler: Handler, *kinds: Any) -> None:
        async with served(handler) as client:
            client._revisions = revisions
            for kind in kinds:
                await client.list_all(kind)

    revisions = Revisions(told.append)
    asyncio.run(scenario(listing(50, 70, 40, 70), NODES, NODES, VIRTUAL_SERVERS, NODES))
    assert told == []
    asyncio.run(scenario(listing(71, 70), NODES, NODES))
    (complaint,) = told
    assert "nodes as of resourceVersion 70" in complaint and "71" in complaint


def test_a_list_that_was_overtaken_tells_nothing() -> None:
    """It began before the newer one was answered, and its own answer came late."""
    told: list[str] = []
    revisions = Revisions(told.append)
    before = revisions.newest(NODES)
    revisions.listed(NODES, 80, revisions.newest(NODES))
    revisions.listed(NODES, 79, before)
    assert told == [] and revisions.newest(NODES) == 80


def test_a_process_of_a_time_that_never_was_ends() -> None:
    script = (
        "from respawn.adapters.kubernetes.resources import NODES\n"
        "from respawn.adapters.kubernetes.revisions import Revisions\n"
        "Revisions().listed(NODES, 4, 5)"
    )
    command, here = [sys.executable, "-c", script], Path(respawn.__file__).parents[1]
    run = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert run.returncode == EXIT_CODE and "restored from a backup" in run.stderr


@pytest.mark.parametrize("items", [[], [{}]])
def test_who_is_on_a_host_is_asked_of_the_api(items: list[Any]) -> None:
    seen: list[web.Request] = []

    async def scenario() -> bool:
        page = {"items": items, "metadata": {"resourceVersion": "5"}}
        async with served(answering(200, page, seen)) as client:
            nobody: Any = None
            return await KubernetesCluster(client, nobody, nobody).occupied("host-1")

    assert asyncio.run(scenario()) is bool(items)
    assert seen[0].query["fieldSelector"] == "status.node=host-1"
    assert "resourceVersion" not in seen[0].query
