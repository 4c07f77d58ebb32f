"""Servers in the lab, and what must be true of them whatever happens to hosts and operators."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import yaml
from labtool import LabTool, eventually

NAMESPACE = "customer-f"
TIMELINE = ("lastSeen", "suspected", "decided", "fenced", "placed", "started", "ready")
"""What a recovery after a fence tells, in the order in which it happens."""


def when(text: str | None) -> datetime:
    """An RFC 3339 time; the beginning of time for none."""
    if not text:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds(since: str | datetime, until: str | datetime) -> float:
    """Seconds from one moment to the other."""
    begin, end = (t if isinstance(t, datetime) else when(t) for t in (since, until))
    return (end - begin).total_seconds()


def manifest(name: str, *, prefer: Sequence[str] = (), priority: int = 100) -> dict[str, Any]:
    """A small VirtualServer that would like to be on one of `prefer`."""
    return {
        "apiVersion": "respawn.dev/v1alpha1",
        "kind": "VirtualServer",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "runPolicy": "Always",
            "cpu": {"cores": 1},
            "memory": {"size": "128Mi"},
            "disks": [
                {"name": "root", "pool": "ceph", "size": "128Mi", "source": {"image": "lab-guest"}},
                {"name": "data", "pool": "ceph", "size": "64Mi"},
            ],
            "networks": [{"name": "public", "bridge": "tenant"}],
            "recovery": {"mode": "Restart", "priority": priority},
            "placement": {"preferredNodes": list(prefer)},
            "deletion": {"policy": "Delete", "protected": False},
            "shutdownGracePeriod": "5s",
        },
    }


class Fleet:
    """The servers of one test."""

    def __init__(self, lab: LabTool) -> None:
        self.lab = lab
        self.names: list[str] = []

    # Making and unmaking.

    def apply(self, *documents: dict[str, Any]) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        text = yaml.safe_dump_all([namespace, *documents])
        self.lab.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        self.names += [d["metadata"]["name"] for d in documents]

    def start(self, host: str, **priorities: int) -> None:
        """Servers of those names and priorities, all on `host`, writing."""
        self.apply(*(manifest(n, prefer=[host], priority=p) for n, p in priorities.items()))
        for name in priorities:
            self.await_ready(name, on=host)
            self.await_writing(name)

    def remove(self) -> None:
        """Delete them all, and see that they are gone."""
        if self.names:
            self.lab.kubectl(
                *("delete", "vs", "-n", NAMESPACE, *self.names, "--ignore-not-found"),
                "--timeout=60s",
            )
        self.names.clear()

    # Looking.

    def get(self, name: str) -> dict[str, Any]:
        text = self.lab.kubectl("get", "vs", "-n", NAMESPACE, name, "-o", "json")
        return dict(json.loads(text))

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.get(name).get("status", {}))

    def node_of(self, name: str) -> str:
        return str(self.status(name).get("node"))

    def uid(self, name: str) -> str:
        return str(self.get(name)["metadata"]["uid"])

    def guest(self, name: str) -> dict[str, Any]:
        return self.lab.guest(f"{NAMESPACE}/{name}")

    def domains(self) -> dict[str, dict[str, Any]]:
        """The domains of these servers, by name; two of one server fail."""
        found: dict[str, dict[str, Any]] = {}
        for domain in self.lab.domains():
            if domain["namespace"] == NAMESPACE and domain["name"] in self.names:
                assert domain["name"] not in found, f"two domains: {found} and {domain}"
                found[domain["name"]] = domain
        return found

    def pids(self) -> dict[str, int]:
        return {name: domain["pid"] for name, domain in self.domains().items()}

    # Waiting.

    def await_ready(self, name: str, *, on: str | None = None, timeout: float = 90) -> None:
        def ready() -> bool:
            status = self.status(name)
            conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
            there = on is None or status.get("node") == on
            return conditions.get("Ready") == "True" and there

        eventually(f"{name} is Ready{f' on {on}' if on else ''}", ready, timeout=timeout)

    def await_writing(self, name: str, *, boots: int = 1, timeout: float = 90) -> dict[str, Any]:
        """Until its guest has booted that often and gets writes acknowledged; its evidence."""

        def evidence() -> dict[str, Any] | None:
            found = self.guest(name)
            return found if len(found["boots"]) >= boots and found["lastSeq"] else None

        return eventually(f"{name} writes after boot {boots}", evidence, timeout=timeout)

    def await_progress(self, name: str, timeout: float = 60) -> None:
        """Until its guest has more acknowledged than now."""
        before = self.guest(name)["lastSeq"] or 0
        eventually(f"{name} goes on writing", lambda: (self.guest(name)["lastSeq"] or 0) > before)

    def await_elsewhere(self, name: str, host: str, timeout: float = 90) -> dict[str, Any]:
        """Until it is Ready on another host than `host`; its lastRecovery."""

        def recovered() -> dict[str, Any] | None:
            status = self.status(name)
            record = status.get("lastRecovery") or {}
            back = record.get("ready") and record.get("fromNode") == host
            return record if back and status.get("node") not in (None, host) else None

        return eventually(f"{name} has left {host}", recovered, timeout=timeout)

    def check_disks(self, name: str, *, boots: int | None = None) -> dict[str, Any]:
        """Nothing that was acknowledged is lost, and nobody else has written."""
        found = self.guest(name)
        assert found["lost"] == [], found
        assert found["foreign"] == [], found
        if boots is not None:
            assert len(found["boots"]) == boots, found["boots"]
        return found


class Watch:
    """Asks who may write, all the time; more than one active is the violation."""

    def __init__(self, lab: LabTool) -> None:
        self._lab = lab
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks = 0
        self.violations: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def _run(self) -> None:
        while not self._over.wait(0.1):
            try:
                images = self._lab.json("writers")["images"]
            except (AssertionError, ValueError) as error:
                self.failures.append(str(error))
                continue
            self.looks += 1
            self.violations += [row for row in images if row["active"] > 1]

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def check(self) -> None:
        """It looked, and saw no second writer."""
        assert self.looks > 0, f"writers never answered: {self.failures[-3:]}"
        assert self.violations == [], self.violations


@contextmanager
def one_writer(lab: LabTool) -> Iterator[Watch]:
    """All that happens in here happens under the eyes of a Watch."""
    watch = Watch(lab)
    with watch:
        yield watch
    watch.check()
