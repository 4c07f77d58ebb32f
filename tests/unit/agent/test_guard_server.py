"""The agent's socket: whatever goes wrong, the answer is a no, and in time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from respawn.agent import guard_server
from respawn.agent.guard_server import GuardServer, parse_question, publish_pools
from respawn.model.host import Ask, GuardAnswer

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
XML = (
    f"<domain><name>vs-{UID}.3</name><uuid>{UID}</uuid><metadata><respawn:server"
    f' xmlns:respawn="https://respawn.dev/domain/v1" uid="{UID}" namespace="a" name="web"'
    ' epoch="3" bootID="b"/></metadata></domain>'
)
ASK = Ask(UID, 3, "b", "a", "web", "prepare")


async def say(path: Path, text: bytes) -> str:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text)
    writer.write_eof()
    answer = (await reader.read()).decode()
    writer.close()
    return answer


def served(tmp_path: Path, answer: Callable[[Ask], Awaitable[GuardAnswer]], text: bytes) -> str:
    async def scenario() -> str:
        server = GuardServer(answer, tmp_path / "agent.sock")
        await server.start()
        try:
            return await say(tmp_path / "agent.sock", text)
        finally:
            await server.close()

    return asyncio.run(scenario())


def test_the_question_reaches_the_guard_and_its_answer_the_hook(tmp_path: Path) -> None:
    asked = []

    async def answer(ask: Ask) -> GuardAnswer:
        asked.append(ask)
        return GuardAnswer(len(asked) == 1, "said the guard")

    text = b"prepare begin\n" + XML.encode()
    assert served(tmp_path, answer, text) == "yes"
    assert served(tmp_path, answer, text) == "no said the guard"
    assert asked == [ASK, ASK]


async def never(_: Ask) -> GuardAnswer:
    raise AssertionError("it must not be asked")


@pytest.mark.parametrize("text", [b"", b"\n", b"prepare begin\n<broken", b"prepare\n\xff"])
def test_a_question_that_makes_no_sense_is_a_no(tmp_path: Path, text: bytes) -> None:
    assert served(tmp_path, never, text).startswith("no the agent failed")


def test_a_story_that_does_not_fit_is_a_no_unasked(tmp_path: Path) -> None:
    lie = XML.replace(f"<uuid>{UID}", "<uuid>somebody").encode()
    assert "is not the server's" in served(tmp_path, never, b"prepare begin\n" + lie)


def test_a_guard_that_fails_is_a_no(tmp_path: Path) -> None:
    async def fails(_: Ask) -> GuardAnswer:
        raise OSError("no space left on device")

    answer = served(tmp_path, fails, b"prepare begin\n" + XML.encode())
    assert answer == "no the agent failed: no space left on device"


def test_a_guard_that_hangs_is_a_no_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_server, "DEADLINE", 0.1)

    async def hangs(_: Ask) -> GuardAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    assert "no answer within 0.1 s" in served(tmp_path, hangs, b"prepare begin\n" + XML.encode())


def test_one_that_asks_slowly_holds_up_no_other(tmp_path: Path) -> None:
    async def yes(_: Ask) -> GuardAnswer:
        return GuardAnswer(True, "")

    async def scenario() -> str:
        path = tmp_path / "agent.sock"
        server = GuardServer(yes, path)
        await server.start()
        _, slow = await asyncio.open_unix_connection(path)
        slow.write(b"prepare begin\n<dom")
        answer = await say(path, b"prepare begin\n" + XML.encode())
        slow.close()
        await server.close()
        return answer

    assert asyncio.run(scenario()) == "yes"


def test_a_new_agent_takes_over_the_socket_that_only_root_may_use(tmp_path: Path) -> None:
    async def yes(_: Ask) -> GuardAnswer:
        return GuardAnswer(True, "")

    async def scenario() -> None:
        path = tmp_path / "agent.sock"
        path.write_text("left by a former one")
        server = GuardServer(yes, path)
        await server.start()
        assert path.stat().st_mode & 0o777 == 0o600
        assert await say(path, b"prepare begin\n" + XML.encode()) == "yes"
        await server.close()
        assert not path.exists()

    asyncio.run(scenario())


def test_the_operation_is_the_first_word() -> None:
    asked = parse_question(b"migrate begin\n" + XML.encode())
    assert isinstance(asked, Ask) and asked.operation == "migrate"


def test_pools_are_told_to_the_hook(tmp_path: Path) -> None:
    path = tmp_path / "lib/pools"
    publish_pools(frozenset({"vms", "a"}), path)
    assert path.read_text() == "a\nvms\n"
    before = path.stat().st_mtime_ns
    publish_pools(frozenset({"a", "vms"}), path)
    assert path.stat().st_mtime_ns == before
    publish_pools(frozenset(), path)
    assert path.read_text() == ""
