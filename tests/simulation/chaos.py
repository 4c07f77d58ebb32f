"""Random runs: faults of every kind, drawn from one seed, and then peace.

While it is wild only the invariants are checked. When everything is healed, every server must come
back by itself.
"""

import asyncio
from random import Random

from tests.simulation.hosts import SimHost
from tests.simulation.lab import Lab
from tests.simulation.lab import play as play_story
from tests.simulation.net import PLANES

from respawn.decide.election import FAST as FAST_TERMS
from respawn.model.conditions import Reason
from respawn.model.policy import FAST, Policy
from respawn.model.server import RunPolicy

WILD = 240.0
"""Virtual seconds of faults."""
PEACE = 240.0
"""Virtual seconds in which everything must be well again."""


def play(seed: int) -> Lab:
    """One random run. Raises Violation or AssertionError."""
    rng = Random(seed)
    fast = rng.random() < 0.5
    setting = {
        "hosts": rng.choice((3, 4)),
        "operators": rng.choice((1, 2)),
        "timings": FAST if fast else None,
        "terms": FAST_TERMS if fast else None,
    }
    return play_story(lambda lab: Chaos(lab, rng).run(), seed=seed, **setting)


class Chaos:
    """Draws faults for one lab."""

    def __init__(self, lab: Lab, rng: Random) -> None:
        self.lab, self.rng = lab, rng
        self.uids: list[str] = []
        self.count = 0

    async def run(self) -> None:
        lab, rng = self.lab, self.rng
        await lab.begin()
        for _ in range(rng.randint(2, 5)):
            self.new_server()
        self.dangers()
        until = lab.now() + WILD
        while lab.now() < until:
            await lab.rest(rng.expovariate(1 / 2.0))
            rng.choice(self.faults())()
        await self.peace()

    def dangers(self) -> None:
        """What goes on all the time: lost replies, late watches, slow starts, crashes."""
        lab, rng = self.lab, self.rng
        lab.net.lost_replies = rng.choice((0.0, 0.0, 0.01, 0.05))
        lab.net.slowest = rng.choice((0.004, 0.05, 0.3))
        lab.api.watch_delay = rng.choice((0.0, 0.0, 0.5, 3.0))
        lab.ceph.command = rng.choice((0.015, 0.7))
        crash = rng.choice((0.0, 0.02, 0.1))
        for operator in lab.operators:
            operator.crash_after = lambda point: rng.random() < crash
        for host in lab.hosts.values():
            self.spoil(host)

    def spoil(self, host: SimHost) -> None:
        """Each boot of a host has its own slowness."""
        if host.libvirt is not None:
            host.libvirt.writes_in_flight = self.rng.random() < 0.7
            host.libvirt.qemu_delay = self.rng.choice((0.1, 1.0, 4.0))
            host.libvirt.queue_delay = self.rng.choice((0.01, 0.2, 1.0))

    def faults(self) -> list:
        return [
            self.power, self.power, self.cut, self.cut, self.heal, self.heal, self.freeze,
            self.kill_agent, self.kill_qemu, self.kill_operator, self.freeze_operator,
            self.busy_libvirt, self.toggle, self.delete, self.new_server, self.stall_api,
            self.stall_ceph, self.cut_operator, self.mend, self.mend,
        ]  # fmt: skip

    def host(self) -> SimHost:
        return self.rng.choice(list(self.lab.hosts.values()))

    def later(self, seconds: float, do) -> None:
        asyncio.get_running_loop().call_later(seconds, do)

    def power(self) -> None:
        host = self.host()
        if host.on:
            self.lab.power_off(host.name)
        else:
            self.lab.power_on(host.name)
            self.spoil(host)

    def cut(self) -> None:
        planes = self.rng.choice((("management",), ("storage",), PLANES))
        self.lab.cut(self.host().name, *planes)

    def heal(self) -> None:
        self.lab.heal(self.host().name)

    def freeze(self) -> None:
        host = self.host()
        self.lab.note(f"freeze {host.name}")
        kernel = host.kernel
        kernel.gate.shut()
        self.later(self.rng.uniform(0.5, 30), kernel.gate.open)

    def kill_agent(self) -> None:
        host = self.host()
        self.lab.note(f"kill agent {host.name}")
        host.kill_agent()

    def kill_qemu(self) -> None:
        if self.uids:
            uid = self.rng.choice(self.uids)
            self.lab.note(f"kill qemu {uid}")
            orderly = self.rng.random() < 0.3
            reason = Reason.GUEST_SHUTDOWN if orderly else Reason.QEMU_DIED
            for host in self.lab.hosts.values():
                host.kill_qemu(uid, reason, orderly)

    def kill_operator(self) -> None:
        operator = self.rng.choice(self.lab.operators)
        self.lab.note(f"kill {operator.name}")
        operator.kill()

    def freeze_operator(self) -> None:
        operator = self.rng.choice(self.lab.operators)
        if operator.process is not None:
            self.lab.note(f"freeze {operator.name}")
            process = operator.process
            process.gate.shut()
            self.later(self.rng.uniform(0.5, 30), process.gate.open)

    def busy_libvirt(self) -> None:
        host = self.host()
        if host.libvirt is not None:
            what = self.rng.choice(("create", "look", "scan", "kill", "qemu"))
            host.libvirt.busy[what] = self.rng.uniform(0.5, 15)

    def toggle(self) -> None:
        if self.uids:
            uid = self.rng.choice(self.uids)
            server = self.lab.api.servers.get(uid)
            if server is not None and not server.deleting:
                halted = server.spec.run_policy is RunPolicy.HALTED
                policy = RunPolicy.ALWAYS if halted else RunPolicy.HALTED
                self.lab.note(f"{uid} is to be {policy}")
                self.lab.api.edit_server(uid, run_policy=policy)

    def delete(self) -> None:
        if len(self.uids) > 2 and self.rng.random() < 0.3:
            uid = self.uids.pop(self.rng.randrange(len(self.uids)))
            self.lab.note(f"delete {uid}")
            self.lab.api.delete_server(uid)

    def new_server(self) -> None:
        if len(self.uids) < 6:
            self.count += 1
            grace = self.rng.choice((0.0, 2.0, 10.0))
            self.uids.append(self.lab.server(f"web-{self.count}", shutdown_grace=grace))

    def stall_api(self) -> None:
        gate = self.lab.api.gate
        gate.shut()
        self.later(self.rng.uniform(0.5, 20), gate.open)

    def stall_ceph(self) -> None:
        gate = self.lab.ceph.gate
        gate.shut()
        self.later(self.rng.uniform(0.5, 10), gate.open)

    def cut_operator(self) -> None:
        operator = self.rng.choice(self.lab.operators)
        plane = self.rng.choice(PLANES)
        self.lab.cut(operator.name, plane)
        self.later(self.rng.uniform(0.5, 20), lambda: self.lab.heal(operator.name, plane))

    def mend(self) -> None:
        """People repair things: every host is on and reachable, for now."""
        for host in self.lab.hosts.values():
            self.lab.heal(host.name)
            if not host.on:
                self.lab.power_on(host.name)
                self.spoil(host)

    async def peace(self) -> None:
        """Everything healed: every server must run, or rest, or be gone, by itself."""
        lab = self.lab
        lab.note("peace")
        lab.net.lost_replies, lab.net.slowest, lab.api.watch_delay = 0.0, 0.004, 0.0
        lab.api.gate.open()
        lab.ceph.gate.open()
        core = [o.core for o in lab.operators if o.core is not None]
        for operator in lab.operators:
            operator.crash_after = lambda point: False
            lab.heal(operator.name)
            if operator.process is not None:
                operator.process.gate.open()
        for host in lab.hosts.values():
            lab.heal(host.name)
            host.kernel.gate.open()
            lab.power_on(host.name)
        for one in core:
            one.store.put_policy(Policy(timings=lab.api.policy.timings))
        try:
            await lab.until(lambda: not self.unwell(), PEACE)
        except AssertionError:
            raise AssertionError(f"not well after all: {'; '.join(self.unwell())}") from None
        await lab.rest(5)

    def unwell(self) -> list[str]:
        """What is not as its user wants it."""
        lab = self.lab
        gone = [f"{uid} is still there" for uid in lab.api.servers if uid not in self.uids]
        return gone + [f"{uid}: {lab.get(uid).status}" for uid in self.uids if not self.well(uid)]

    def well(self, uid: str) -> bool:
        lab = self.lab
        if lab.get(uid).spec.run_policy is RunPolicy.HALTED:
            return lab.ready(uid) and lab.free(uid)
        return lab.runs(uid)
