"""Leases: signs of life of the hosts, and the operators' election.

A Lease is judged by whether it changed, never by the times in it: those are for people.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import LEASES
from respawn.ports.cluster import Lease
from respawn.ports.errors import Conflict, NotFound

NAMESPACE = "respawn"


def decode(body: Mapping[str, Any]) -> Lease:
    """The Lease in an object of the API server."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    transitions = spec.get("leaseTransitions") or 0
    return Lease(
        name=metadata["name"],
        holder=holder,
        transitions=transitions,
        token=f"{holder}|{transitions}|{spec.get('renewTime') or ''}",
        resource_version=metadata["resourceVersion"],
        duration=float(spec.get("leaseDurationSeconds") or 0) if holder else 0.0,
    )


def held(read: Lease, holder: str, duration: float, now: datetime) -> dict[str, Any]:
    """The spec by which `holder` takes or renews `read` at `now`; "" releases it.

    Kubernetes knows whole seconds only, and at least one: `duration` is rounded up.
    """
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec: dict[str, Any] = {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(1, math.ceil(duration)),
        "renewTime": moment,
    }
    if holder != read.holder:
        spec["acquireTime"] = moment
        spec["leaseTransitions"] = read.transitions + (1 if read.resource_version else 0)
    return spec


class LeaseStore:
    """`ports.cluster.Leases` in `namespace`; `deadline` (seconds) is for each request."""

    def __init__(self, client: Client, *, deadline: float, namespace: str = NAMESPACE) -> None:
        self._client = client
        self._deadline = deadline
        self._namespace = namespace

    async def get_lease(self, name: str) -> Lease:
        """The Lease as it is now. Raises NotFound, Unavailable."""
        found = await self._client.get(
            LEASES, name, namespace=self._namespace, deadline=self._deadline
        )
        return decode(found)

    async def hold_lease(self, read: Lease, holder: str, duration: float) -> Lease:
        """Take or renew it, if it is still as it was read; create it if there was none.

        A change of holder raises `transitions`; holder "" releases it. Raises Conflict (it is not
        as it was read, or not there any more), Unavailable.
        """
        spec = held(read, holder, duration, datetime.now(UTC))
        if not read.resource_version:
            body = {"metadata": {"name": read.name}, "spec": spec}
            made = await self._client.create(
                LEASES, body, namespace=self._namespace, deadline=self._deadline
            )
            return decode(made)
        try:
            written = await self._client.patch(
                LEASES,
                read.name,
                {"spec": spec},
                resource_version=read.resource_version,
                namespace=self._namespace,
                deadline=self._deadline,
            )
        except NotFound as gone:
            raise Conflict(f"{read.name} was deleted since it was read") from gone
        return decode(written)
