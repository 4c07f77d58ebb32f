"""Port Witness: does anything of a silent host still answer? It only looks (R5).

libvirt over TLS is asked by a process of its own, which can be ended whatever it hangs in: an open
to a dead host blocks its thread for minutes. The kernel is asked on every address at the same time.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from respawn.adapters.libvirt.kernel_probe import answers
from respawn.model.node import Node
from respawn.model.sight import Answer

PROBE = "respawn.adapters.libvirt.witness_probe"
ASKED_AT_MOST = 16
"""Servers whose domain is looked for, to learn the boot ID."""
AT_ONCE = 8
"""Hosts whose libvirt is asked side by side."""


class HostWitness:
    """`pki` is a folder with cacert.pem, clientcert.pem and clientkey.pem; None: libvirt's own."""

    def __init__(self, pki: Path | None = None) -> None:
        self._pki = pki
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(self, node: Node, deadline: float) -> tuple[Answer, str | None]:
        """The best answer within `deadline` seconds, and the boot ID if libvirt could tell it."""
        libvirt = asyncio.create_task(self._libvirt(node, deadline))
        kernel = asyncio.create_task(_kernel(node, deadline))
        try:
            answered, boot_id = await libvirt
            if answered:
                return Answer.LIBVIRT, boot_id
            return (Answer.KERNEL if await kernel else Answer.SILENCE), None
        finally:
            for task in (libvirt, kernel):
                task.cancel()

    async def _libvirt(self, node: Node, deadline: float) -> tuple[bool, str | None]:
        """Whether this machine's libvirt answered, and the boot ID that its domains tell."""
        said: list[dict[str, str | None]] = []
        with suppress(TimeoutError, OSError, ValueError):
            async with asyncio.timeout(deadline), self._turns, _process(self._question(node)) as p:
                assert p.stdout is not None
                async for line in p.stdout:
                    said.append(json.loads(line))
        # safety: another machine at its address is no sign of this one.
        known = node.registration.machine_id if node.registration else None
        if not said or (known and said[0]["machine_id"] != known):
            return False, None
        return True, said[1]["boot_id"] if len(said) > 1 else None

    def _question(self, node: Node) -> str:
        uri = node.spec.libvirt_uri
        if self._pki is not None:
            uri += f"{'&' if '?' in uri else '?'}pkipath={quote(str(self._pki))}"
        uids = [report.uid for report in node.host.servers][:ASKED_AT_MOST]
        return json.dumps({"uri": uri, "uids": uids})


async def _kernel(node: Node, deadline: float) -> bool:
    """Whether the host's kernel answers on any address; returns at the first sign."""
    addresses = dict.fromkeys((*node.spec.management, *node.storage_addresses))
    probes = [asyncio.create_task(answers(address)) for address in addresses]
    try:
        async with asyncio.timeout(deadline):
            for first in asyncio.as_completed(probes):
                if await first:
                    return True
    except TimeoutError:
        return False
    finally:
        for probe in probes:
            probe.cancel()
    return False


@asynccontextmanager
async def _process(question: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The probe, with its question; it does not outlive the context."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", PROBE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(question.encode())
        process.stdin.close()
        yield process
    finally:
        # safety: a child of ours that only looks.
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
