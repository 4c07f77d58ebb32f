"""Bad days at random: faults of every kind in any order, then an evening in which all must be well.

By day up to three faults are open at a time, each for some seconds or for up to a minute. All the
time somebody looks who may write. In the evening everything is mended: then every host and every
server must be Ready within minutes, each server with one QEMU where its status says, writing, and
nothing that its guest was told was safe may be lost or overwritten. The seed gives the same orders
again, though not the same moments.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from fleet import NAMESPACE, Fleet, Watch, condition, manifest
from labtool import LabFailed, LabTool, eventually

from labkit.errors import LabError

DAY = 90.0
"""Seconds in which faults begin."""
EVENING = 300.0
"""Seconds within which all must be well again: the longest time-out, twice, and a few boots."""
HEARD = 15.0
"""Seconds within which the leader says what it has heard, on a machine under load."""
OPEN = 3
"""Faults that last at a time."""
SERVERS = 6
BY_PEOPLE = ("policy", "delete", "apply", "virsh")
"""Orders that are not the lab's; what is left to do of them is done in the evening."""
Order = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks something, and what mends it; nothing does if it mends itself."""

    breaks: Order
    mends: Order = ()
    what: str = ""
    """What it happens to: to one thing one fault at a time."""


@dataclass
class Chance:
    """Draws faults. `hosts`, `servers`: the names there are."""

    rng: Random
    hosts: list[str]
    servers: list[str]
    kinds: list[Callable[[], Fault]] = field(init=False)

    def __post_init__(self) -> None:
        often = [self._host, self._host, self._host, self._cut, self._cut]
        self.kinds = [*often, self._service, self._service, self._operator, self._operator]
        self.kinds += [self._guest, self._guest, self._by_hand, self._user]
        self.kinds += [self._api, self._ceph, self._switch]

    def fault(self) -> Fault:
        return self.rng.choice(self.kinds)()

    def _one(self, among: list[str]) -> str:
        return self.rng.choice(among)

    def _host(self) -> Fault:
        host = self._one(self.hosts)
        order = self._one(["power-off", "power-off", "power-cycle", "freeze", "shutdown"])
        mend = {"power-cycle": None, "freeze": "thaw"}.get(order, "power-on")
        return Fault(("host", order, host), ("host", mend, host) if mend else (), host)

    def _cut(self) -> Fault:
        host = self._one(self.hosts)
        planes = self._one(["management", "storage", "management storage", "tenant", "all"]).split()
        return Fault(("host", "cut", host, *planes), ("host", "heal", host, *planes), host)

    def _switch(self) -> Fault:
        plane = self._one(["management", "storage"])
        return Fault(("switch", "cut", plane), ("switch", "heal", plane), "switch")

    def _service(self) -> Fault:
        return self._process(self._one(["agent", "heart", "libvirtd"]), self._one(self.hosts))

    def _operator(self) -> Fault:
        return self._process("operator", self._one(["1", "2"]))

    def _process(self, kind: str, which: str) -> Fault:
        order = self._one(["kill", "kill", "stop", "freeze"])
        mend = {"stop": "start", "freeze": "thaw"}.get(order)
        return Fault((kind, order, which), (kind, mend, which) if mend else (), which)

    def _api(self) -> Fault:
        order, mend = self._one(["stop start", "freeze thaw"]).split()
        return Fault(("api", order), ("api", mend), "api")

    def _ceph(self) -> Fault:
        part = self._one(["mon.a", "osd.0", "osd.1", "osd.2", "all"])
        order, mend = self._one(["stop start", "freeze thaw"]).split()
        return Fault(("ceph", order, part), ("ceph", mend, part), "ceph")

    def _guest(self) -> Fault:
        name = self._one(self.servers)
        order = self._one(["kill", "kill", "panic", "poweroff", "reboot"])
        return Fault(("guest", order, f"{NAMESPACE}/{name}"), (), name)

    def _by_hand(self) -> Fault:
        """Somebody on the host, past Respawn."""
        name = self._one(self.servers)
        if self._one(["destroy", "suspend"]) == "destroy":
            return Fault(("virsh", "destroy", name), (), name)
        return Fault(("virsh", "suspend", name), ("virsh", "resume", name), name)

    def _user(self) -> Fault:
        name = self._one(self.servers)
        if self._one(["halt", "delete"]) == "halt":
            return Fault(("policy", "Halted", name), ("policy", "Always", name), name)
        return Fault(("delete", name), ("apply", name), name)


class Day:
    """One day in a lab, and its evening."""

    def __init__(self, fleet: Fleet, chance: Chance, say: Callable[[str], None]) -> None:
        self._fleet, self._chance, self._say = fleet, chance, say
        self._open: list[tuple[float, Fault]] = []

    def run(self, duration: float) -> None:
        """Raises AssertionError when it ends badly."""
        with Watch(self._fleet.lab, 0.3) as watch:
            end = time.monotonic() + duration
            while time.monotonic() < end:
                self._mend_until(time.monotonic())
                if len(self._open) < OPEN:
                    self._break()
                time.sleep(self._chance.rng.uniform(0.2, 8.0))
            self._mend_until(float("inf"))
            self._say("evening: everything is mended")
            self._evening()
        assert watch.violations == [], watch.violations
        assert watch.looks > 10, watch.failures[-3:]

    def _break(self) -> None:
        fault = self._chance.fault()
        if fault.what in {other.what for _, other in self._open}:
            return
        longest = self._chance.rng.choice([3.0, 15.0, 60.0])
        lasts = self._chance.rng.uniform(0.5, longest)
        self._order(fault.breaks, must=False)
        if fault.mends:
            self._open.append((time.monotonic() + lasts, fault))

    def _mend_until(self, when: float) -> None:
        for fault in [f for at, f in self._open if at <= when]:
            self._order(fault.mends, must=True)
        self._open = [(at, f) for at, f in self._open if at > when]

    def _order(self, words: Order, *, must: bool) -> None:
        """What must be possible at any time is to mend what the lab has broken."""
        started, failed = time.monotonic(), ""
        try:
            self._carry_out(words)
        except (LabFailed, LabError) as error:
            failed = f"  FAILED: {' '.join(str(error).split())[:160]}"
            if must and words[0] not in BY_PEOPLE:
                raise
        finally:
            self._say(f"{' '.join(words)}  ({time.monotonic() - started:.1f} s){failed}")

    def _carry_out(self, words: Order) -> None:
        order, *rest = words
        if order == "policy":
            self._fleet.patch(rest[1], runPolicy=rest[0])
        elif order == "delete":
            self._fleet.delete(rest[0], wait=False)
        elif order == "apply":
            self._fleet.apply(server(rest[0]))
        elif order == "virsh":
            self._virsh(*rest)
        else:
            self._fleet.lab(*words, timeout=120)

    def _virsh(self, order: str, name: str) -> None:
        """On the host that its status names: a host that is cut off may have an old one, paused."""
        server = self._fleet.get(name)
        placed = server["metadata"]["uid"], server["status"].get("node")
        for qemu in self._fleet.qemus():
            if (qemu["uid"], qemu["host"]) == placed:
                words = ("timeout", "10", "virsh", order, qemu["domain"])
                self._fleet.lab.run("host", "exec", qemu["host"], "--", *words)

    def _evening(self) -> None:
        fleet, names = self._fleet, self._chance.servers
        eventually("the API answers", self._answers, timeout=60)
        gone = [n for n in names if (s := fleet.servers().get(n)) is None or _leaving(s)]
        for name in gone:
            self._gone(name)
            fleet.apply(server(name))
        for name in names:
            if fleet.get(name)["spec"]["runPolicy"] != "Always":
                fleet.patch(name, runPolicy="Always")
        end = time.monotonic() + EVENING
        fleet.await_peace(timeout=EVENING)
        for name in names:
            self._resume(name)
            fleet.await_ready(name, timeout=max(1.0, end - time.monotonic()))
        self._hears()
        fleet.await_progress(*names, timeout=120)
        eventually("each server has one QEMU, where its status says", self._tidy, timeout=60)
        for name in names:
            fleet.check_disks(name)

    def _hears(self) -> None:
        """What somebody does to a Node is heard within seconds, not only by the next sweep."""
        for mode, schedulable in (("Cordoned", "False"), ("Enabled", "True")):
            spec = json.dumps({"spec": {"scheduling": {"mode": mode}}})
            self._fleet.lab.kubectl("patch", "vnode", "host-1", "--type=merge", "-p", spec)
            told = partial(self._is_schedulable, schedulable)
            eventually(f"host-1 is told to be {mode}", told, timeout=HEARD)

    def _is_schedulable(self, status: str) -> bool:
        told = condition(self._fleet.nodes()["host-1"], "Schedulable")
        return bool(told.get("status") == status)

    def _answers(self) -> bool:
        try:
            self._fleet.servers()
        except LabFailed:
            return False
        return True

    def _gone(self, name: str) -> None:
        eventually(f"{name} is gone", lambda: name not in self._fleet.servers(), timeout=EVENING)

    def _resume(self, name: str) -> None:
        """A person who suspended it resumes it; one whose host died meanwhile needs none."""
        ready = condition(self._fleet.status(name), "Ready")
        if ready.get("reason") == "Suspended":
            self._virsh("resume", name)

    def _tidy(self) -> bool:
        fleet = self._fleet
        servers = fleet.servers()
        told = {s["metadata"]["uid"]: s["status"].get("node") for s in servers.values()}
        seen = [(q["uid"], q["host"], q["state"]) for q in fleet.qemus()]
        return sorted(seen) == sorted((uid, node, "running") for uid, node in told.items())


def _leaving(server: dict[str, Any]) -> bool:
    return "deletionTimestamp" in server["metadata"]


def server(name: str) -> dict[str, Any]:
    """A small one; each of another priority."""
    document = manifest(name, priority=100 * int(name[-1]))
    apart = {"group": "soak", "topologyKey": "respawn.dev/host", "mode": "Preferred"}
    document["spec"]["placement"]["antiAffinity"] = [apart]
    document["spec"]["disks"][1]["size"] = "64Mi"
    return document


def days(lab: LabTool, seed: int, minutes: float, say: Callable[[str], None]) -> int:
    """Run days until the time is over; how many there were. Raises AssertionError on a bad one."""
    fleet = Fleet(lab)
    names = [f"s{n}" for n in range(1, SERVERS + 1)]
    fleet.apply(*(server(name) for name in names))
    for name in names:
        fleet.await_ready(name, timeout=180)
        fleet.await_writing(name)
    hosts = sorted(fleet.nodes())
    end, count = time.monotonic() + minutes * 60, 0
    while time.monotonic() < end:
        count += 1
        say(f"day {count} (seed {seed})")
        Day(fleet, Chance(Random(f"{seed}/{count}"), hosts, names), say).run(DAY)
        say(f"day {count} is over, and all is well")
    return count
