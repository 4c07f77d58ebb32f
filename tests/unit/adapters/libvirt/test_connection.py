"""Threads with a connection each, on libvirt's own test driver: what hangs costs one thread."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import libvirt
import pytest

from respawn.adapters.libvirt import connection
from respawn.adapters.libvirt.connection import LongCalls, Workers, detached
from respawn.ports.errors import NotFound, Unavailable

URI = "test:///default"
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
"""Of the one domain that the test driver has."""


@pytest.fixture(autouse=True)
def no_keepalive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test driver is in this process: it has no daemon to keep in touch with."""

    def plain(uri: str) -> "libvirt.virConnect":
        connection.start_event_loop()
        return libvirt.open(uri)

    monkeypatch.setattr(connection, "opened", plain)


def run(scenario: Callable[[Workers], Awaitable[None]], *, threads: int = 1) -> None:
    async def main() -> None:
        workers = Workers(URI, "test", threads=threads)
        try:
            await scenario(workers)
        finally:
            workers.close()

    asyncio.run(main())


async def until_taken(workers: Workers, deadline: float) -> None:
    """Until its threads take calls again: those that were given up are back."""
    while True:
        try:
            assert await workers.call(lambda c: "again", 5) == "again"
            return
        except Unavailable:
            assert time.monotonic() < deadline


def test_a_call_returns_what_its_work_returns_and_the_connection_is_kept() -> None:
    async def scenario(workers: Workers) -> None:
        def name(c: "libvirt.virConnect") -> tuple[str, int]:
            return c.lookupByUUIDString(UUID).name(), id(c)

        first, second = await workers.call(name, 5), await workers.call(name, 5)
        assert first == second and first[0] == "test"

    run(scenario)


def test_libvirts_errors_become_those_of_the_ports() -> None:
    async def scenario(workers: Workers) -> None:
        with pytest.raises(NotFound):
            await workers.call(lambda c: c.lookupByUUIDString(UUID[::-1]), 5)

    run(scenario)


def test_what_hangs_is_abandoned_and_what_waits_behind_it_goes_on() -> None:
    async def scenario(workers: Workers) -> None:
        free = threading.Event()
        stuck = asyncio.create_task(workers.call(lambda c: free.wait(30), 0.2))
        behind = asyncio.create_task(workers.call(lambda c: "done", 5))
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            await stuck
        assert await behind == "done"
        free.set()

    run(scenario)


def test_abandoned_threads_are_counted_and_given_back() -> None:
    async def scenario(workers: Workers) -> None:
        free, stuck = threading.Event(), list[bool]()

        def hang(_: Any) -> None:
            stuck.append(True)
            free.wait(30)

        while len(stuck) < connection.ABANDONED_AT_MOST:  # one given up before its turn is none
            with pytest.raises(Unavailable, match="did not answer"):
                await workers.call(hang, 0.02)
        with pytest.raises(Unavailable, match="hangs in 16 calls"):
            await workers.call(lambda c: "never", 5)
        free.set()
        deadline = time.monotonic() + 5
        await until_taken(workers, deadline)
        names = [t.name for t in threading.enumerate()]
        while names.count("libvirt-test") > 1:  # those that were stuck end by themselves
            assert time.monotonic() < deadline
            names = [t.name for t in threading.enumerate()]

    run(scenario)


def test_a_call_that_was_given_up_before_its_turn_is_never_made() -> None:
    async def scenario(workers: Workers) -> None:
        free, made = threading.Event(), []
        first = asyncio.create_task(workers.call(lambda c: free.wait(30), 5))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await workers.call(lambda c: made.append(1), 0.05)
        free.set()
        await first
        await workers.call(lambda c: None, 5)
        assert made == []

    run(scenario)


def test_detached_calls_do_not_wait_for_each_other() -> None:
    async def scenario() -> None:
        free = threading.Event()
        stuck = [detached(URI, lambda c: free.wait(30)) for _ in range(30)]
        assert await detached(URI, lambda c: c.lookupByUUIDString(UUID).name()) == "test"
        assert not any(call.done() for call in stuck)
        free.set()
        await asyncio.gather(*stuck)

    asyncio.run(scenario())


def test_a_long_call_that_hangs_is_not_repeated() -> None:
    async def main() -> None:
        free, begun = threading.Event(), []

        def hang(_: object) -> None:
            begun.append(1)
            free.wait(30)

        calls = LongCalls(URI)
        first = calls.begin("suspend vs-1", hang)
        assert calls.begin("suspend vs-1", hang) is first
        other = calls.begin("suspend vs-2", hang)
        free.set()
        await asyncio.wait([first, other])
        assert len(begun) == 2
        await calls.begin("suspend vs-1", hang)
        assert len(begun) == 3, "it is over: the next is another"

    asyncio.run(main())


def test_a_call_that_ends_just_as_it_is_given_up_is_not_counted_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixteen of these would be sixteen calls that hang, though none does."""
    free = threading.Event()

    class Late(connection.Future):  # type: ignore[type-arg]
        def running(self) -> bool:
            running = super().running()
            free.set()  # the call ends here, and its thread goes on
            time.sleep(0.2)
            return running

    monkeypatch.setattr(connection, "Future", Late)
    monkeypatch.setattr(connection, "ABANDONED_AT_MOST", 1)

    async def scenario(workers: Workers) -> None:
        with pytest.raises(Unavailable):
            await workers.call(lambda _: free.wait(30), 0.1)
        await until_taken(workers, time.monotonic() + 5)

    run(scenario)
