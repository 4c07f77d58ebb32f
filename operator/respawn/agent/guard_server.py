"""The agent's socket for libvirt's hook: reads the question, and answers "yes" or "no REASON".

The question is one line, the operation and its sub-operation, and then the domain's XML until the
end of the stream. The answer is text until the end of the stream.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from respawn.adapters.libvirt.reading import describe, question
from respawn.model.host import Ask, GuardAnswer

log = logging.getLogger(__name__)
SOCKET = Path("/run/respawn/agent.sock")
POOLS = Path("/var/lib/respawn/pools")
DEADLINE = 2.6
"""Seconds from the connection to the answer; the hook itself gives up at 2.8."""
QUESTION_AT_MOST = 4 << 20

Answer = Callable[[Ask], Awaitable[GuardAnswer]]


class GuardServer:
    """Asks `answer` about every domain of ours that libvirt is about to start here.

    No answer, a late one, an error: all of them are a no.
    """

    def __init__(self, answer: Answer, path: Path = SOCKET) -> None:
        self._answer, self._path = answer, path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; only root may ask. What a former agent left is replaced in one step."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, fresh)
        fresh.chmod(0o600)
        os.replace(fresh, self._path)

    async def close(self) -> None:
        """Stop listening: from now on the hook refuses by itself."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await self._judged(reader)
        log.info("start %s: %s", "allowed" if said.allowed else "refused", said.reason)
        with suppress(OSError):
            writer.write(b"yes" if said.allowed else f"no {said.reason}".encode())
            writer.write_eof()
            await writer.drain()
        writer.close()

    async def _judged(self, reader: asyncio.StreamReader) -> GuardAnswer:
        try:
            async with asyncio.timeout(DEADLINE):
                asked = parse_question(await _read_all(reader))
                return await self._answer(asked) if isinstance(asked, Ask) else _no(asked)
        except TimeoutError:
            return _no(f"no answer within {DEADLINE:g} s")
        except Exception as error:
            # safety: S3, a fault of ours admits nothing; the hook needs an answer, not a traceback.
            log.exception("a start could not be judged")
            return _no(f"the agent failed: {error}")


def _no(reason: str) -> GuardAnswer:
    return GuardAnswer(False, reason)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await reader.read(65536):
        parts.append(part)
        size += len(part)
        if size > QUESTION_AT_MOST:
            raise ValueError("the question is too long")
    return b"".join(parts)


def parse_question(text: bytes) -> Ask | str:
    """The question, or why it is refused without asking further. Raises ValueError."""
    line, _, xml = text.partition(b"\n")
    operation = line.decode().split()[:1]
    if not operation:
        raise ValueError("no operation was named")
    return question(describe(xml.decode()), operation[0])


def publish_pools(pools: frozenset[str], path: Path = POOLS) -> None:
    """Tell the hook which Ceph pools are ours, for when no agent can be asked.

    Kept on disk: after a reboot the hook must know before the first agent runs.
    """
    text = "".join(f"{pool}\n" for pool in sorted(pools))
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)
