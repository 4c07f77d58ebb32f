"""A lab with Respawn and a few servers in it, and what must be true of them whatever happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from labtool import LabTool, eventually
from window import Window

from labkit.errors import LabError

NAMESPACE = "customer-f"
STANDING = {"gold": 900, "silver": 500, "bronze": 100}
"""Servers that outlive a test, and their priorities: what is lost of one shows in the next."""
TIMELINE = ("lastSeen", "suspected", "decided", "fenced", "placed", "started", "ready")
"""What a recovery after a fence tells, in the order in which it happens."""
PLANES = ("management", "storage")


def when(text: str | None) -> datetime:
    """An RFC 3339 time; the beginning of time for none."""
    if not text:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def now() -> datetime:
    return datetime.now(UTC)


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


def standing(name: str) -> dict[str, Any]:
    """One of STANDING, that would like a host without another of them."""
    document = manifest(name, priority=STANDING[name])
    apart = {"group": "standing", "topologyKey": "respawn.dev/host", "mode": "Preferred"}
    document["spec"]["placement"]["antiAffinity"] = [apart]
    return document


class Fleet:
    """The lab's servers of this suite, its hosts and its operators."""

    def __init__(self, lab: LabTool) -> None:
        self.lab = lab
        self.window = Window(lab.name)
        self._pings = ThreadPoolExecutor(4)

    # Making and unmaking.

    def apply(self, *documents: dict[str, Any]) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        text = yaml.safe_dump_all([namespace, *documents])
        self.lab.kubectl("apply", "--server-side", "-f", "-", stdin=text)

    def start(self, host: str, **priorities: int) -> None:
        """Servers of those names and priorities, all on `host`, writing."""
        self.apply(*(manifest(n, prefer=[host], priority=p) for n, p in priorities.items()))
        for name in priorities:
            self.await_ready(name, on=host)
            self.await_writing(name)

    def patch(self, name: str, **spec: Any) -> None:
        words = ("patch", "vs", "-n", NAMESPACE, name, "--type=merge", "-p")
        self.lab.kubectl(*words, json.dumps({"spec": spec}))

    def delete(self, *names: str, wait: bool = True) -> None:
        words = ("delete", "vs", "-n", NAMESPACE, *names, "--ignore-not-found")
        self.lab.kubectl(*words, f"--wait={str(wait).lower()}", "--timeout=60s")

    def remove(self) -> None:
        """Delete all that there are, and see that they are gone."""
        names = self.servers()
        if names:
            self.delete(*names)

    def stand(self) -> None:
        """See that the standing servers are there, Ready and writing, each on its own host."""
        self._await_standing(*STANDING)
        hosts = [self.node_of(name) for name in STANDING]
        crowded = [name for nth, name in enumerate(STANDING) if hosts[nth] in hosts[:nth]]
        if crowded:
            self.delete(*crowded)
            self._await_standing(*crowded)

    def _await_standing(self, *names: str) -> None:
        self.apply(*(standing(name) for name in names))
        for name in names:
            self.await_ready(name)
        for name in names:
            self.await_writing(name)

    # Servers.

    def servers(self) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["name"]: item for item in self.window.servers(NAMESPACE)}

    def get(self, name: str) -> dict[str, Any]:
        return self.window.server(NAMESPACE, name)

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.get(name).get("status", {}))

    def uid(self, name: str) -> str:
        return str(self.get(name)["metadata"]["uid"])

    def node_of(self, name: str) -> str:
        """The host that the domain of the server is on."""
        return str(self.domains()[name]["host"])

    def guest(self, name: str) -> dict[str, Any]:
        return self.window.guest(f"{NAMESPACE}/{name}")

    def boots(self, name: str) -> int:
        return len(self.guest(name)["boots"] or [])

    def qemus(self) -> list[dict[str, Any]]:
        """Every QEMU of the lab, stale ones too."""
        return self.window.domains()

    def domains(self) -> dict[str, dict[str, Any]]:
        """The domains of all servers, by name; two of one server fail."""
        uids = {server["metadata"]["uid"]: name for name, server in self.servers().items()}
        found: dict[str, dict[str, Any]] = {}
        for domain in self.qemus():
            name = uids.get(domain["uid"])
            if name is not None:
                assert name not in found, f"two domains: {found} and {domain}"
                found[name] = domain
        return found

    def pids(self) -> dict[str, int]:
        return {name: domain["pid"] for name, domain in self.domains().items()}

    def await_ready(self, name: str, *, on: str | None = None, timeout: float = 90) -> None:
        def ready() -> bool:
            status = self.status(name)
            there = on is None or status.get("node") == on
            return condition(status, "Ready").get("status") == "True" and there

        eventually(f"{name} is Ready{f' on {on}' if on else ''}", ready, timeout=timeout)

    def await_writing(self, name: str, *, boots: int = 1, timeout: float = 90) -> dict[str, Any]:
        """Until its guest has booted that often and gets writes acknowledged; its evidence."""

        def evidence() -> dict[str, Any] | None:
            found = self.guest(name)
            return found if len(found["boots"] or []) >= boots and found["lastSeq"] else None

        return eventually(f"{name} writes after boot {boots}", evidence, timeout=timeout)

    def await_progress(self, *names: str, timeout: float = 90) -> None:
        """Until these guests have got more acknowledged than now."""
        before = {name: self.guest(name)["lastSeq"] or 0 for name in names}
        for name, last in before.items():
            eventually(
                f"{name} goes on writing",
                lambda name=name, last=last: (self.guest(name)["lastSeq"] or 0) > last,  # type: ignore[misc]
                timeout=timeout,
            )

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

    def answering(self, name: str, duration: int) -> Future[datetime]:
        """Until when its guest answers pings, if it stops to within `duration` seconds from now."""
        ping = self.window.pinger(f"{NAMESPACE}/{name}")
        begun = threading.Event()

        def last_answer() -> datetime:
            start = now()
            begun.set()
            return start + timedelta(seconds=ping(duration))

        future = self._pings.submit(last_answer)
        begun.wait()
        return future

    # Hosts.

    def node(self, name: str) -> dict[str, Any]:
        """Its status."""
        return self.nodes()[name]

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The status of every host."""
        return {item["metadata"]["name"]: item.get("status", {}) for item in self.window.nodes()}

    def await_reason(self, host: str, reason: str, timeout: float = 30) -> None:
        """Until the node is not Ready for that reason."""

        def told() -> bool:
            ready = condition(self.node(host), "Ready")
            return (ready.get("status"), ready.get("reason")) == ("False", reason)

        eventually(f"{host} is {reason}", told, timeout=timeout)

    def await_peace(self, timeout: float = 60) -> None:
        """Until every host is Ready and unfenced, and an operator leads."""

        def odd() -> list[str]:
            return [
                f"{name}: {ready.get('reason')}"
                for name, status in self.nodes().items()
                if (ready := condition(status, "Ready")).get("status") != "True"
            ]

        eventually("an operator leads", lambda: self.leader(), timeout=timeout)
        eventually("every host is Ready", lambda: not odd(), timeout=timeout)

    def fences(self) -> dict[str, tuple[str, int]]:
        """Phase and generation of every host's fence."""
        fences = {name: status.get("fence") or {} for name, status in self.nodes().items()}
        return {n: (f.get("phase", "OK"), f.get("generation", 0)) for n, f in fences.items()}

    def blocklist(self) -> set[str]:
        """Every entry, as Ceph writes it, without its expiry."""
        lines = self.lab.ceph("ceph", "osd", "blocklist", "ls").splitlines()
        return {line.rsplit(" ", 2)[0] for line in lines if line.strip()}

    # Operators.

    def leader(self) -> str:
        """The index of the leader, empty if there is none."""
        return self.window.leader()

    def await_other_leader(self, than: str, timeout: float = 20) -> str:
        return eventually(
            f"another than operator {than} leads",
            lambda: (found := self.leader()) and found != than and found,  # type: ignore[return-value]
            timeout=timeout,
        )

    def arm(self, order: str, step: str, then: str | None = None) -> str:
        """Let one lead that will crash, or freeze, after STEP; its index.

        The other one stands by; it will crash after THEN, if that is given.
        """
        leader = self.leader()
        armed = self.other(leader)
        self.lab("operator", order, armed, step)
        self.lab("operator", "stop", leader)
        eventually(f"operator {armed} leads", lambda: self.leader() == armed)
        if then is None:
            self.lab("operator", "start", leader)
        else:
            self.lab("operator", order, leader, then)
        self.await_standby(leader)
        return armed

    def await_standby(self, index: str) -> None:
        """Until that operator, newly started, has seen all that there is."""

        def listed() -> bool:
            log = self.window.lab.folder.logs / f"operator-{index}.log"
            _, _, since = log.read_text().rpartition(f" operator operator-{index}/")
            return " objects listed" in since

        eventually(f"operator {index} stands by", listed)

    def other(self, index: str) -> str:
        """The operator that is not `index`."""
        return {"1": "2", "2": "1"}[index]

    def crashes(self, index: str) -> int:
        """How often that operator ended at a crash point."""
        lines = (self.window.lab.folder.logs / "supervisor.log").read_text().splitlines()
        return sum(f" operator-{index}: " in line and line.endswith(" ended, 70") for line in lines)

    def stands_still(self, index: str) -> bool:
        """Whether that operator was stopped by a signal, its own perhaps."""
        lab = self.window.lab
        pid = lab.supervisor.services()[f"operator-{index}"]["pid"]
        stat = Path(f"/proc/{lab.pid}/root/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    # The positive control.

    def recovers(self, name: str = "gold", timeout: float = 60) -> dict[str, Any]:
        """A real power-off of its host, and all that must come of it; its lastRecovery."""
        host, boots = self.node_of(name), self.boots(name)
        self.lab("host", "power-off", host)
        record = self.await_elsewhere(name, host, timeout=timeout)
        self.await_writing(name, boots=boots + 1)
        self.check_disks(name, boots=boots + 1)
        return record


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type; empty if there is none."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


class Watch:
    """Asks who may write, all the time; more than one active is the violation."""

    def __init__(self, lab: LabTool, period: float) -> None:
        self._window, self._period = Window(lab.name), period
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks = 0
        self.looked_to_the_end = False
        self.violations: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def _run(self) -> None:
        while not self._over.wait(self._period):
            try:
                images = self._window.writers()
            except LabError as error:
                self.failures.append(str(error))
                continue
            if any(row["active"] is None for row in images):
                self.failures.append("Ceph did not answer")
                continue
            self.looks += 1
            self.violations += [row for row in images if row["active"] > 1]
        self.looked_to_the_end = True

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def check(self) -> None:
        """It looked all the time, and saw no second writer."""
        assert self.looked_to_the_end, "the look at the writers broke off"
        assert self.looks > 0, f"writers never answered: {self.failures[-3:]}"
        assert not self.failures, f"writers did not answer: {self.failures}"
        assert self.violations == [], self.violations


@contextmanager
def one_writer(lab: LabTool, period: float = 0.2) -> Iterator[Watch]:
    """All that happens in here happens under the eyes of a Watch, with that long between looks."""
    watch = Watch(lab, period)
    with watch:
        yield watch
    watch.check()


def holds(what: str, duration: float, check: Any, period: float = 0.5) -> None:
    """`check` is true all the time for `duration` seconds: that nothing happens is the point."""
    end = time.monotonic() + duration
    while time.monotonic() < end:
        assert check(), f"no longer: {what}"
        time.sleep(period)
