"""Port Witness: a second look at a host that has gone silent. It only looks (R5)."""

import asyncio
import errno
import socket
import sys
from pathlib import Path
from urllib.parse import quote

from respawn.adapters.libvirt import tls_look
from respawn.model.node import Node
from respawn.model.sight import Answer

TLS_PORT = 16514
CLOSED_PORT = 1
"""A port on which nothing listens: a living kernel resets the connection."""
_ALIVE = {errno.ECONNREFUSED, errno.ECONNRESET}


class LibvirtWitness:
    """Asks libvirtd over TLS and the kernels' TCP, all at once. `pki` has our client certificate."""

    def __init__(self, pki: Path | None) -> None:
        self._pki = pki

    async def ask(self, node: Node, deadline: float) -> tuple[Answer, str | None]:
        """The best answer within `deadline` seconds, and the boot ID if libvirt told it."""
        look = asyncio.create_task(self._ask_libvirt(node, deadline))
        probes = [
            asyncio.create_task(kernel_answers(address, port, deadline))
            for addresses, port in (
                (node.spec.management, TLS_PORT),
                (node.spec.storage, CLOSED_PORT),
            )
            for address in addresses
        ]
        answered, boot = await look
        alive = any(await asyncio.gather(*probes))
        if answered:
            return Answer.LIBVIRT, boot
        return (Answer.KERNEL if alive else Answer.SILENCE), None

    async def _ask_libvirt(self, node: Node, deadline: float) -> tuple[bool, str | None]:
        if not node.spec.libvirt_uri:
            return False, None
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", tls_look.__name__, self._uri(node),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        lines: list[str] = []
        try:
            async with asyncio.timeout(deadline):
                await _read_lines(process, lines)
        except TimeoutError:
            pass  # what it said until then counts
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        boots = [line.split()[1] for line in lines if line.startswith(tls_look.BOOT)]
        return tls_look.ANSWERED in lines, boots[0] if boots else None

    def _uri(self, node: Node) -> str:
        uri = node.spec.libvirt_uri
        if self._pki is None:
            return uri
        return f"{uri}{'&' if '?' in uri else '?'}pkipath={quote(str(self._pki))}"


async def _read_lines(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        lines.append(line.decode().strip())


async def kernel_answers(address: str, port: int, deadline: float) -> bool:
    """Whether a kernel accepts or resets a TCP connection within `deadline` seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        async with asyncio.timeout(deadline):
            await asyncio.get_running_loop().sock_connect(probe, (address, port))
        return True
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno in _ALIVE
    finally:
        probe.close()
