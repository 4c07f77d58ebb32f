"""Which server a domain is of, read from the API by what the domain says of itself."""

from contextlib import suppress

from respawn.agent.state import AgentState
from respawn.model.host import Incarnation, Look
from respawn.model.server import Server
from respawn.ports.cluster import ServerReads
from respawn.ports.errors import NotFound


class Owners:
    """Every method raises the port errors."""

    def __init__(self, state: AgentState, cluster: ServerReads) -> None:
        self._state, self._cluster = state, cluster

    async def identify(self, look: Look) -> None:
        """Whose domain is it, if no watch has told? A server of another host may have left one."""
        domain = look.domain
        if domain is None or domain.uid in self._state.servers:
            return
        with suppress(NotFound):
            fresh = await self.read(domain)
            if fresh.uid == domain.uid:
                self._state.put_server(fresh)

    async def read(self, domain: Incarnation) -> Server:
        """The server it says it is of, read now; or, its mark being unreadable, that of its UID.

        Raises NotFound also when nobody knows the name: to ask for none would be to ask for all.
        """
        if domain.name:
            return await self._cluster.get_server(domain.namespace, domain.name)
        known = self._state.servers.get(domain.uid)
        if known is None:
            raise NotFound(f"whose {domain.uid} is can not be told")
        return await self._cluster.get_server(known.namespace, known.name)
