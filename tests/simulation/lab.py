"""The simulated lab: everything wired, and the orders that tests give."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.simulation import loop as virtual
from tests.simulation.api import FakeApi
from tests.simulation.ceph import FakeCeph
from tests.simulation.hosts import GIB, SimHost
from tests.simulation.net import MANAGEMENT, PLANES, Net
from tests.simulation.operators import SimOperator
from tests.simulation.truth import Truth, Violation

from respawn.decide.election import Terms
from respawn.model.base import Key
from respawn.model.conditions import Type, is_true
from respawn.model.node import HOST_LABEL, FencePhase, Node, NodeSpec
from respawn.model.placement import Phase
from respawn.model.policy import Policy, Timings
from respawn.model.server import Disk, Server, ServerSpec
from respawn.model.storage import Image, Pool

ROOT = (Disk("root", "ceph", GIB, "golden"),)


class Lab:
    """One cluster; every time is virtual seconds."""

    def __init__(
        self, *, seed: int = 0, hosts: int = 3, operators: int = 1,
        timings: Timings | None = None, terms: Terms | None = None,
    ) -> None:  # fmt: skip
        self.rng = Random(seed)
        self.trace: list[str] = []
        self.net = Net(self.rng)
        self.api = FakeApi(self.net, self._check)
        self.ceph = FakeCeph(self.net, self._check)
        self.truth = Truth(
            self.now, lambda: self.api.servers, lambda: self.api.nodes, lambda: self.ceph.entries
        )
        self.truth.well = self._well
        self.ceph.heard = self._heard
        self.ceph.removing = self.truth.removes_image
        self.api.policy = Policy(timings=timings or Timings())
        self.api.pools = {"ceph": Pool("ceph", pool="vms")}
        golden = Image("uid-golden", "golden", "ceph", GIB // 2, True, resource_version="1")
        self.api.images = {golden.uid: golden}
        self.hosts = {f"host-{n}": self._host(n) for n in range(1, hosts + 1)}
        self.operators = [self._operator(n, terms) for n in range(1, operators + 1)]
        self.end = 0.0
        self._housekeeping: list[asyncio.Task[None]] = []

    def _host(self, n: int) -> SimHost:
        return SimHost(
            f"host-{n}", f"198.51.100.{10 + n}", net=self.net, api=self.api, ceph=self.ceph,
            truth=self.truth, rng=self.rng,
        )  # fmt: skip

    def _operator(self, n: int, terms: Terms | None) -> SimOperator:
        return SimOperator(
            f"operator-{n}", f"203.0.113.{n}", net=self.net, api=self.api, ceph=self.ceph,
            hosts=self.hosts, rng=self.rng, terms=terms or Terms(), log=self._log,
        )  # fmt: skip

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def _log(self, who: str, key: Key, step: str, reason: str) -> None:
        self.note(f"{who}: {key} {step}: {reason}")

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now():9.3f} {text}")

    @property
    def violation(self) -> Violation | None:
        return self.truth.violation

    def _check(self) -> None:
        self.truth.check()

    def _well(self, name: str) -> bool:
        host = self.hosts.get(name)
        if host is None or not host.on or not host.kernel.gate.is_open:
            return False
        ends = ("*", host.address, f"m-{name}")
        return all(self.net.switch.up(plane, *ends) for plane in PLANES)

    def _heard(self, client: str) -> bool:
        for instance in self.truth.instances:
            if instance.client == client and instance.open:
                host = self.hosts[instance.host]
                awake = host.on and host.kernel.gate.is_open
                return awake and self.net.switch.up("storage", host.address, "ceph")
        return False

    # Beginning.

    async def begin(self, *, warm: float = 8.0) -> None:
        """Hosts on, agents registered, an operator leading."""
        for name, host in self.hosts.items():
            spec = NodeSpec(storage=(host.address,), management=(f"m-{name}",))
            labels = {HOST_LABEL: name, "rack": "a"}
            self.api.apply_node(Node(name, f"uid-{name}", labels, spec))
            host.power_on()
        for operator in self.operators:
            operator.start()
            await asyncio.sleep(0.5)
        self._housekeeping.append(asyncio.create_task(self._supervise()))
        self._housekeeping.append(asyncio.create_task(self._hear()))
        await asyncio.sleep(warm)

    async def _supervise(self) -> None:
        """What systemd does: a dead agent, heart or operator is back after a second."""
        while True:
            await asyncio.sleep(1.0)
            for host in self.hosts.values():
                if host.on and not host.agent_stays_dead:
                    host.start_agent()
                if host.on and host.heart_process and not host.heart_process.alive:
                    host.start_heart()
            for operator in self.operators:
                if not operator.stays_dead:
                    operator.start()

    async def _hear(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.ceph.hear()

    # Orders.

    def server(self, name: str = "web-1", **spec: Any) -> str:
        """Apply a VirtualServer; returns its UID."""
        uid = f"uid-{name}"
        fields: dict[str, Any] = {"memory": GIB, "disks": ROOT, **spec}
        self.api.apply_server(Server(uid, "customer-a", name, ServerSpec(**fields)))
        return uid

    def declare(self, host: str, *addresses: str) -> None:
        """Its storage addresses as a person writes them down."""
        node = self.api.nodes[host]
        spec = replace(node.spec, storage=addresses)
        self.api.apply_node(replace(node, spec=spec, generation=node.generation + 1))

    def confirm_ended(self, host: str, *boots: str) -> None:
        """A person's word that those boots have ended."""
        node = self.api.nodes[host]
        spec = replace(node.spec, ended_boots=boots)
        self.api.apply_node(replace(node, spec=spec, generation=node.generation + 1))

    def cordon(self, *names: str) -> None:
        """Exactly these hosts are cordoned."""
        for node in list(self.api.nodes.values()):
            cordoned = node.name in names
            if node.spec.cordoned != cordoned:
                spec = replace(node.spec, cordoned=cordoned)
                self.api.apply_node(replace(node, spec=spec, generation=node.generation + 1))

    def cut(self, host: str, *planes: str) -> None:
        self.note(f"cut {host} {planes or PLANES}")
        for plane in planes or PLANES:
            self.net.switch.cut(self._address(host), plane)

    def heal(self, host: str, *planes: str) -> None:
        self.note(f"heal {host} {planes or PLANES}")
        for plane in planes or PLANES:
            self.net.switch.heal(self._address(host), plane)

    def _address(self, name: str) -> str:
        if name in self.hosts:
            return self.hosts[name].address
        return next((o.address for o in self.operators if o.name == name), name)

    def power_off(self, host: str) -> None:
        self.note(f"power off {host}")
        self.hosts[host].power_off()

    def power_on(self, host: str) -> None:
        self.note(f"power on {host}")
        self.hosts[host].power_on()

    # Looking.

    def get(self, uid: str) -> Server:
        return self.api.servers[uid]

    def node(self, name: str) -> Node:
        return self.api.nodes[name]

    def where(self, uid: str) -> str | None:
        """The host on which it really runs and can write."""
        running = [i.host for i in self.truth.instances if i.uid == uid and self.truth.able(i)]
        return running[0] if running else None

    def ready(self, uid: str) -> bool:
        server = self.api.servers.get(uid)
        return (
            server is not None
            and is_true(server.status.conditions, Type.READY)
            and server.status.observed_generation == server.generation
        )

    def runs(self, uid: str) -> bool:
        """Really: it has its image's lock, it is not paused, and its status says Ready."""
        at = next((i for i in self.truth.instances if i.uid == uid and self.truth.able(i)), None)
        if at is None or at.paused or not self.ready(uid):
            return False
        images = [d.image for d in self.get(uid).status.disks]
        return all(self.ceph.holds_lock(image, at.client) for image in images)

    def free(self, uid: str) -> bool:
        return self.get(uid).placement.phase is Phase.FREE

    def fence(self, host: str) -> FencePhase:
        return self.node(host).fence.phase

    async def until(self, true: Callable[[], bool], limit: float, what: str = "") -> float:
        """Wait until it is true; returns the seconds it took. Raises AssertionError."""
        begun = self.now()
        while not true():
            if self.violation is not None:
                raise self.violation
            if self.now() - begun > limit:
                tail = "\n".join(self.trace[-40:])
                raise AssertionError(f"not within {limit:g} s: {what or true}\n{tail}")
            await asyncio.sleep(0.01)
        return self.now() - begun

    async def rest(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now() + seconds
        while self.now() < until:
            await asyncio.sleep(min(0.1, until - self.now()))
            if self.violation is not None:
                raise self.violation

    def verify(self) -> None:
        """At the end of a run: no invariant broken on the way, no bug caught."""
        if self.violation is not None:
            raise self.violation
        kernels = [o.kernel for o in self.operators] + [h.kernel for h in self.hosts.values()]
        for bug in [bug for kernel in kernels for bug in kernel.bugs]:
            raise bug


def set_policy(lab: Lab, **changes: Any) -> None:
    """Change the policy, for operators that start later."""
    lab.api.policy = replace(lab.api.policy, **changes)


def play(scenario: Callable[[Lab], Any], **lab: Any) -> Lab:
    """Run one scenario in virtual time. Raises Violation or AssertionError."""
    made: list[Lab] = []

    async def main() -> None:
        made.append(Lab(**lab))
        await scenario(made[0])
        made[0].verify()
        made[0].end = made[0].now()

    try:
        virtual.run(main())
    except BaseException:
        if made:
            play.last_trace = made[0].trace  # type: ignore[attr-defined]
        raise
    return made[0]


__all__ = ["MANAGEMENT", "Lab", "play", "set_policy"]
