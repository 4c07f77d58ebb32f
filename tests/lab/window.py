"""Looking into a lab over and over: the lab's own answers, without a new program for each question.

What breaks or mends goes through `hack/lab`, as a user does it. The same questions are asked there
too (`domains`, `writers`, `guest`); a test that waits asks them several times a second, and the
programs it would start are what the machine would then be busy with.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from labtool import LabFailed

from labkit import cephview, guests, pinger, truth, writers
from labkit.lab import Lab
from labkit.names import ServerName
from respawn.adapters.kubernetes.config import from_kubeconfig

TIMEOUT = 5.0
"""Seconds that the API server has to answer."""
GROUP = "/apis/respawn.dev/v1alpha1"
LEADER = "/apis/coordination.k8s.io/v1/namespaces/respawn/leases/operator-leader"


class Window:
    """A lab of that name, seen as its administrator. Every answer is read for the question."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._local = threading.local()

    @property
    def lab(self) -> Lab:
        """The lab as it is now: its state is read anew."""
        return Lab.open(self._name)

    def domains(self) -> list[dict[str, Any]]:
        """As `hack/lab domains` answers."""
        found: list[dict[str, Any]] = truth.domains(self.lab)["domains"]
        return found

    def writers(self) -> list[dict[str, Any]]:
        """As `hack/lab writers` answers. Raises LabError when Ceph does not."""
        found: list[dict[str, Any]] = writers.writers(self.lab)["images"]
        return found

    def guest(self, name: str) -> dict[str, Any]:
        """As `hack/lab guest NAMESPACE/NAME` answers."""
        return guests.evidence(self.lab, ServerName.parse(name))

    def pinger(self, name: str) -> Callable[[int], float]:
        """What asks the guest, for so many seconds, whether it is there; begins without delay.

        It tells for how many seconds the guest answered, until a second without an answer.
        """
        lab = self.lab
        address = guests.Guest(lab, ServerName.parse(name)).address()

        def ping(seconds: int) -> float:
            with cephview.inside_network(lab, "tenant"):
                return pinger.answers_until(address, float(seconds), silence=1.0)

        return ping

    def leader(self) -> str:
        """The index of the operator that holds the Lease; empty if none does."""
        holder = str(self.get(LEADER)["spec"].get("holderIdentity") or "")
        return holder.partition("/")[0].removeprefix("operator-")

    def servers(self, namespace: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"{GROUP}/namespaces/{namespace}/virtualservers")[
            "items"
        ]
        return items

    def server(self, namespace: str, name: str) -> dict[str, Any]:
        return self.get(f"{GROUP}/namespaces/{namespace}/virtualservers/{name}")

    def nodes(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"{GROUP}/nodes")["items"]
        return items

    def policy(self) -> dict[str, Any]:
        return self.get(f"{GROUP}/respawnpolicies/default")

    def get(self, path: str) -> dict[str, Any]:
        """What the API server has there, by a quorum read. Raises LabFailed."""
        try:
            status, text = self._ask(path)
        except (OSError, http.client.HTTPException) as error:
            raise LabFailed(f"GET {path}: {error!r}") from error
        if status != 200:
            raise LabFailed(f"GET {path}: {status} {text[:300]!r}")
        return dict(json.loads(text))

    def _ask(self, path: str) -> tuple[int, bytes]:
        kept: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if kept is not None:
            try:
                return _answer(kept, path)
            except (OSError, http.client.HTTPException):
                kept.close()  # its server has restarted since, or was frozen
        self._local.connection = None
        fresh = self._connect()
        found = _answer(fresh, path)
        self._local.connection = fresh
        return found

    def _connect(self) -> http.client.HTTPSConnection:
        endpoint = from_kubeconfig(self.lab.folder.kubeconfig)
        where = urlsplit(endpoint.server)
        assert where.hostname and endpoint.tls
        return http.client.HTTPSConnection(
            where.hostname, where.port, context=endpoint.tls, timeout=TIMEOUT
        )


def _answer(connection: http.client.HTTPSConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()
