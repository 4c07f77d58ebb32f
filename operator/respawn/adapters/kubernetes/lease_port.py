"""Leases as the ports have them, on `LeaseStore`."""

from dataclasses import asdict

from respawn.adapters.kubernetes import leases
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.translate import translated
from respawn.ports.cluster import Lease


class KubernetesLeases:
    """Leases. `deadline` (seconds) is that of each request: the elector's retry period."""

    def __init__(
        self, client: Client, *, deadline: float, namespace: str = leases.NAMESPACE
    ) -> None:
        self._store = leases.LeaseStore(client, deadline=deadline, namespace=namespace)

    async def get_lease(self, name: str) -> Lease:
        """The Lease as of now."""
        with translated():
            return _port(await self._store.get_lease(name))

    async def hold_lease(self, read: Lease, holder: str, duration: float) -> Lease:
        """Take, renew, or ("") release it, if it is still as it was read."""
        known = leases.Lease(**asdict(read))
        with translated():
            return _port(await self._store.hold_lease(known, holder, duration))


def _port(lease: leases.Lease) -> Lease:
    return Lease(**asdict(lease))
