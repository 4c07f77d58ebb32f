"""Keeps the agent's part of its Node true."""

import asyncio
from collections.abc import Callable

from respawn.agent.ports import RETRY, AgentPorts
from respawn.agent.state import AgentState
from respawn.decide.agent import report
from respawn.model.node import HostStatus, ReportState
from respawn.ports.errors import Conflict, PortError

REPORT_EVERY = 0.25
"""Seconds between two reports at least: one is at once, and what follows within that is told
together. A host that takes over a crowd has something to say dozens of times in a second, and both
operators read each word."""


class Reporting:
    """Writes when something new is to be said; `wake` is called for who was told of."""

    def __init__(
        self, state: AgentState, ports: AgentPorts, *, wake: Callable[[str], None]
    ) -> None:
        self.state, self.ports, self._wake = state, ports, wake
        self.due = asyncio.Event()
        self._accepted: tuple[HostStatus, HostStatus] | None = None
        """What was written last, and what the API server made of it."""

    async def run(self) -> None:
        """Keep our part of our Node true; written only when it says something new."""
        while True:
            await self.due.wait()
            self.due.clear()
            try:
                if await self._write_report():
                    await self.ports.clock.sleep(REPORT_EVERY)
            except PortError:
                self.due.set()
                await self.ports.clock.sleep(RETRY)

    async def _write_report(self) -> bool:
        """Whether there was something to say."""
        node = self.state.node or await self.ports.cluster.get_node(self.state.me.node)
        for _ in range(8):
            wanted = report.status(self.state.view(), node, self.state.details)
            if wanted == node.host or (wanted, node.host) == self._accepted:
                self.state.put_node(node)
                return False
            try:
                # safety: a registration is a compare-and-set on the node as read in this boot, so
                # one of a former boot that comes late is refused.
                node = await self.ports.cluster.write_host(node, wanted)
                self._accepted = wanted, node.host
                self.state.put_node(node)
                self._told(wanted)
                return True
            except Conflict:
                node = await self.ports.cluster.get_node(node.name)
        raise Conflict(f"{node.name} is written by others all the time")

    def _told(self, host: HostStatus) -> None:
        """Who was told failed or ended needs no further mention once the API moves on."""
        for said in host.servers:
            if said.state in (ReportState.FAILED, ReportState.ENDED):
                self._wake(said.uid)
