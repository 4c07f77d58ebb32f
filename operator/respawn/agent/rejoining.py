"""S4: how a fenced host becomes clean, and says so."""

import asyncio
from dataclasses import replace

from respawn.agent.guard import Guard
from respawn.agent.hands import Hands
from respawn.agent.ports import RETRY, AgentPorts
from respawn.agent.state import AgentState
from respawn.decide.agent import rejoin
from respawn.ports.errors import Conflict, PortError


class Rejoining:
    """Waits until the Node is read as Fenced; `due` is set when it may be."""

    def __init__(self, state: AgentState, ports: AgentPorts, hands: Hands, guard: Guard) -> None:
        self.state, self.ports, self.hands, self.guard = state, ports, hands, guard
        self.due = asyncio.Event()

    async def run(self) -> None:
        """S4: Fenced(g) -> kill all, see none, say so."""
        while True:
            await self.due.wait()
            self.due.clear()
            if rejoin.pending(self.state.node, self.state.me.boot_id) is None:
                continue
            try:
                done = await self._become_clean()
            except PortError:
                done = False
            if not done:
                self.due.set()
                await self.ports.clock.sleep(RETRY)

    async def _become_clean(self) -> bool:
        node = await self.ports.cluster.get_node(self.state.me.node)
        self.state.put_node(node)
        generation = rejoin.pending(node, self.state.me.boot_id)
        if generation is None:
            return True
        # safety: a hook that was asked before that read may have seen the Node OK and its server
        # Placed, and would admit it whenever its reply comes. What asks later is refused.
        await self.guard.answered()
        for look in await self.ports.hypervisor.scan():
            self.state.looks[look.uid] = look
        for uid in rejoin.must_kill(self.state.view()):
            await self.hands.kill(uid)
            await self.hands.look(uid)
        present = tuple(look.uid for look in await self.ports.hypervisor.scan() if not look.absent)
        if not rejoin.is_clean(present, await self.ports.host.pool_processes()):
            return False
        # safety: seen clean after Fenced(g) was read; the write holds only for that very node
        # state, so a report of an older fence can never lift a newer one.
        return await self._say_clean(generation)

    async def _say_clean(self, generation: int) -> bool:
        fresh = await self.ports.cluster.get_node(self.state.me.node)
        if rejoin.pending(fresh, self.state.me.boot_id) != generation:
            return False
        host = replace(fresh.host, clean_generation=generation)
        try:
            self.state.put_node(await self.ports.cluster.write_host(fresh, host))
        except Conflict:
            return False
        return True
