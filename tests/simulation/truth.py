"""What is really so, whoever knows it: every QEMU, every write on its way, and the invariants.

Checked after every event that could break them. `Violation` names the rule by the protocol's words.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from respawn.model.node import FencePhase, Node
from respawn.model.placement import Phase
from respawn.model.server import Server
from respawn.model.storage import Entry, bans

WELL = 5.0
"""Seconds for which a host must have been well to be no host that was about to be fenced."""


class Violation(Exception):
    """An invariant is broken."""

    def __init__(self, rule: str, what: str, at: float) -> None:
        super().__init__(f"{rule} at {at:.3f}: {what}")
        self.rule = rule


@dataclass
class Instance:
    """One QEMU (or a domain about to become one)."""

    uid: str
    epoch: int
    host: str
    boot: str
    client: str
    """Its Ceph client's entity address."""
    open: bool = False
    """Has its image open: it may write at any moment, paused and frozen too."""
    paused: bool = False
    fenced: bool = False
    """Was once blocklisted while it had its image open."""

    def __str__(self) -> str:
        return f"{self.uid}.{self.epoch} on {self.host}/{self.boot}"


@dataclass
class Flight:
    """A dead QEMU's last write, still in its host's sockets."""

    uid: str
    epoch: int
    client: str


@dataclass
class Truth:
    """All instances and flights, and where to read the API's and Ceph's state."""

    time: Callable[[], float]
    servers: Callable[[], dict[str, Server]]
    nodes: Callable[[], dict[str, Node]]
    entries: Callable[[], frozenset[Entry]]
    instances: list[Instance] = field(default_factory=list)
    flights: list[Flight] = field(default_factory=list)
    highest: dict[str, int] = field(default_factory=dict)
    starts: list[tuple[float, str, int, str]] = field(default_factory=list)
    """(time, uid, epoch, host) of every image ever opened."""
    violation: Violation | None = None
    """The first one; whoever runs the world looks here, wherever it was raised."""
    deaths: list[tuple[float, str, int, str]] = field(default_factory=list)
    """(time, uid, epoch, why)."""
    well: Callable[[str], bool] = lambda host: False
    """Whether that host is on, awake, and reachable on every plane."""
    _phases: dict[str, FencePhase] = field(default_factory=dict)
    _unwell: dict[str, float] = field(default_factory=dict)

    def able(self, instance: Instance) -> bool:
        return instance.open and not bans(self.entries(), instance.client)

    def opened(self, instance: Instance) -> None:
        self._check_start(instance)
        instance.open = True
        self.starts.append((self.time(), instance.uid, instance.epoch, instance.host))
        top = self.highest.get(instance.uid, 0)
        self.highest[instance.uid] = max(top, instance.epoch)
        self.check()

    def ended(self, instance: Instance, why: str, *, in_flight: bool) -> None:
        if instance in self.instances:
            self.instances.remove(instance)
            self.deaths.append((self.time(), instance.uid, instance.epoch, why))
        if in_flight and instance.open:
            self.flights.append(Flight(instance.uid, instance.epoch, instance.client))
        instance.open = False
        self.check()

    def kills(self, instance: Instance) -> None:
        """An agent is about to end it: not while it is legitimate."""
        server, node = self.servers().get(instance.uid), self.nodes().get(instance.host)
        legitimate = (
            self.able(instance)
            and server is not None
            and server.placed_at(instance.host, instance.epoch, instance.boot)
            and node is not None
            and node.fence.phase is FencePhase.OK
        )
        if legitimate:
            raise self._broken("KILL", f"{instance} is legitimate and was killed")

    def removes_image(self, uid: str) -> None:
        server = self.servers().get(uid)
        writers = [str(i) for i in self.instances if i.uid == uid and self.able(i)]
        placed = server is not None and server.placement.phase is Phase.PLACED
        if writers or placed or self._flying(uid):
            raise self._broken("DELETE", f"an image of {uid} goes under {writers or 'Placed'}")

    def check(self) -> None:
        """All invariants, over everything."""
        self._check_fences()
        for instance in self.instances:
            self._check_instance(instance)
        for flight in self.flights:
            old = flight.epoch < self.highest.get(flight.uid, 0)
            if old and not bans(self.entries(), flight.client):
                raise self._broken("S1", f"a late write of {flight.uid}.{flight.epoch} can land")
        self._check_writers()
        for server in self.servers().values():
            if server.placement.phase in (Phase.FREE, Phase.DELETED):
                self._check_free(server)

    def _check_start(self, instance: Instance) -> None:
        """An epoch is started once, and only on the host and in the boot it was placed on."""
        if any((uid, e) == (instance.uid, instance.epoch) for _, uid, e, _ in self.starts):
            raise self._broken("S3", f"{instance} is the second start of its epoch")
        server = self.servers().get(instance.uid)
        p = server.placement if server else None
        if p is None or p.epoch < instance.epoch:
            raise self._broken("S3", f"{instance} was never placed")
        here = (instance.host, instance.boot)
        if p.phase is Phase.PLACED and p.epoch == instance.epoch and (p.node, p.boot_id) != here:
            raise self._broken("S3", f"{instance} is placed on {p.node}/{p.boot_id}")

    def _check_fences(self) -> None:
        """Whatever processes are down on a host that is on and reachable: it is not fenced under a
        server that runs there.
        """
        for name, node in self.nodes().items():
            before = self._phases.get(name, FencePhase.OK)
            self._phases[name] = node.fence.phase
            if not self.well(name):
                self._unwell[name] = self.time()
            well_for = self.time() - self._unwell.get(name, float("-inf"))
            begun = before is FencePhase.OK and node.fence.phase is FencePhase.FENCING
            if begun and well_for > WELL and (runs := self._legitimate_on(name)):
                raise self._broken("S5", f"{name} is fenced, was well for {well_for:.1f} s: {runs}")

    def _legitimate_on(self, host: str) -> list[str]:
        placed = self.servers()
        return [
            str(i)
            for i in self.instances
            if i.host == host
            and i.open
            and i.uid in placed
            and placed[i.uid].placed_at(i.host, i.epoch, i.boot)
        ]

    def _check_instance(self, instance: Instance) -> None:
        if not instance.open:
            return
        if not self.able(instance):
            instance.fenced = True
            return
        if instance.fenced:
            raise self._broken("S4", f"{instance} was fenced and can write again")
        if instance.epoch < self.highest.get(instance.uid, 0):
            raise self._broken("S1", f"{instance} can write though it was replaced")

    def _check_writers(self) -> None:
        writers: dict[str, Instance] = {}
        for instance in self.instances:
            if self.able(instance):
                other = writers.setdefault(instance.uid, instance)
                if other is not instance:
                    raise self._broken("S1", f"{other} and {instance} can both write")

    def _check_free(self, server: Server) -> None:
        uid = server.uid
        writers = [str(i) for i in self.instances if i.uid == uid and self.able(i)]
        if writers or self._flying(uid):
            who = writers or "a late write"
            raise self._broken("PROOF", f"{uid} is {server.placement.phase}, but {who} can write")

    def _flying(self, uid: str) -> bool:
        entries = self.entries()
        return any(f.uid == uid and not bans(entries, f.client) for f in self.flights)

    def _broken(self, rule: str, what: str) -> Violation:
        broken = Violation(rule, what, self.time())
        self.violation = self.violation or broken
        return broken
