"""One boot of one host as libvirt and QEMU behave on it.

A domain is listed before its hook is asked (paused, starting up); the hook asks the agent; QEMU
opens the image some time after the yes. Calls queue in libvirtd and may be carried out long after
their caller is gone. QEMUs outlive libvirtd and the agent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.ceph import FakeCeph
from tests.simulation.net import STORAGE, Gate, Kernel, Net, Process
from tests.simulation.truth import Instance, Truth

from respawn.model.conditions import Reason
from respawn.model.host import Ask, DomainState, Exit, GuardAnswer, Incarnation, Look
from respawn.model.node import ReportState, ServerReport
from respawn.ports.errors import Conflict, NotFound, Refused, Unavailable
from respawn.ports.hypervisor import DomainOrder, Journal

DEADLINE = 12.0
HOOK_DEADLINE = 3.0


@dataclass
class Domain:
    """One domain object and its QEMU."""

    who: Incarnation
    instance: Instance
    images: tuple[str, ...]
    state: DomainState = DomainState.STARTING
    paused_by_us: bool = False


class FakeLibvirt:
    """libvirtd and the QEMUs of one boot."""

    def __init__(
        self, *, host: str, boot: str, kernel: Kernel, net: Net, ceph: FakeCeph, truth: Truth,
        hook: Callable[[Ask], Awaitable[GuardAnswer]],
    ) -> None:  # fmt: skip
        self.host, self.boot, self.kernel = host, boot, kernel
        self._net, self._ceph, self._truth, self._hook = net, ceph, truth, hook
        self.domains: dict[str, Domain] = {}
        self.gate = Gate()
        """libvirtd frozen or down: calls wait, QEMUs run on."""
        self.busy: dict[str, float] = {}
        """Operation -> seconds that the next such call queues in libvirtd (once)."""
        self.queue_delay = 0.01
        self.qemu_delay = 0.1
        self.on_exit: Callable[[Exit], None] = lambda gone: None
        self.on_change: Callable[[str], None] = lambda uid: None
        self.word_delay = 0.0
        """Seconds from the end of a domain to the event that tells how."""
        self.written: dict[tuple[str, int], str] = {}
        """libvirt's logs: what is unmistakable in them."""
        self.guest_ignores_acpi = False
        self.writes_in_flight = False
        self._pid = 1000
        self._tasks: dict[asyncio.Task[Any], None] = {}  # ordered, unlike a set

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Work of the host itself: nobody's death but the host's ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda t: self._tasks.pop(t, None))
        return task

    async def call(
        self, who: Process, operation: str, work: Callable[[], Coroutine[Any, Any, Any]],
        deadline: float = DEADLINE,
    ) -> Any:  # fmt: skip
        """A client's call: it is carried out even if the client gives up or dies."""
        await who.thawed()
        task = self.spawn(self._queued(operation, work))
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # nobody may be left
        done, _ = await asyncio.wait({task}, timeout=deadline)
        await who.thawed()
        if not done:
            raise Unavailable(f"libvirt did not answer {operation}")
        return task.result()

    async def _queued(self, operation: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        await asyncio.sleep(self.queue_delay * self._net.rng.uniform(0.5, 1.5))
        await asyncio.sleep(self.busy.pop(operation, 0.0))
        await self.gate.passed()
        await self.kernel.gate.passed()
        result = await work()
        await asyncio.sleep(self.busy.pop(f"{operation}-reply", 0.0))
        return result

    def power_off(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for domain in list(self.domains.values()):
            self._truth.ended(domain.instance, "power off", in_flight=self.writes_in_flight)
        self.domains.clear()

    # What is there.

    def look(self, uid: str) -> Look:
        domain = self.domains.get(uid)
        if domain is None:
            return Look(uid)
        pids = () if domain.who.pid is None else (domain.who.pid,)
        return Look(uid, domain.who, domain.state, domain.paused_by_us, pids)

    def scan(self, admitted: frozenset[tuple[str, int]]) -> tuple[Look, ...]:
        """As the product: whose QEMU is in /proc, or who was admitted in this boot; no list."""
        running = {uid for uid, domain in self.domains.items() if domain.who.pid is not None}
        looks = [self.look(uid) for uid in sorted(running | {uid for uid, _ in admitted})]
        return tuple(look for look in looks if not look.absent)

    def running(self, uid: str) -> Domain | None:
        domain = self.domains.get(uid)
        return domain if domain is not None and domain.instance.open else None

    # Start.

    async def create(self, order: DomainOrder) -> Incarnation:
        server, me = order.server, order.me
        epoch = server.placement.epoch
        who = Incarnation(server.uid, epoch, me.boot_id, server.namespace, server.name)
        return await self.start(who, tuple(d.image for d in server.status.disks))

    async def start(self, who: Incarnation, images: tuple[str, ...]) -> Incarnation:
        """Create a domain with that metadata: by the agent's order, or by a person's."""
        if who.uid in self.domains:
            raise Conflict(f"domain with UUID {who.uid} is already active")
        instance = Instance(who.uid, who.epoch, self.host, self.boot, client="")
        domain = self.domains[who.uid] = Domain(who, instance, images)
        self._truth.instances.append(instance)
        ask = Ask(who.uid, who.epoch, who.boot_id, who.namespace, who.name)
        await asyncio.sleep(self.busy.pop("hook", 0.0))
        try:
            async with asyncio.timeout(HOOK_DEADLINE):
                answer = await self._hook(ask)
        except TimeoutError:
            answer = GuardAnswer(False, "no answer in time")
        if not answer.allowed:
            self._drop(domain, "refused")
            raise Refused(Reason.START_FAILED, f"hook: {answer.reason}")
        await asyncio.sleep(self.qemu_delay + self.busy.pop("qemu", 0.0))
        return await self._open(domain)

    async def _open(self, domain: Domain) -> Incarnation:
        address = ""
        while address != self.kernel.address:
            address = self.kernel.address
            await self._net.switch.wait_up(STORAGE, address, "ceph")
        domain.instance.client = self._ceph.new_client(address)
        if self.domains.get(domain.who.uid) is not domain:
            raise Refused(Reason.START_FAILED, "ended while starting")
        try:
            for image in domain.images:
                self._ceph.open(image, domain.instance.client)
        except (Refused, NotFound) as error:
            self._drop(domain, "no disk")
            raise Refused(Reason.START_FAILED, str(error)) from None
        self._pid += 1
        domain.who = replace(domain.who, pid=self._pid)
        domain.state = DomainState.RUNNING
        self._truth.opened(domain.instance)
        self.on_change(domain.who.uid)
        return domain.who

    # End.

    def die(self, uid: str, reason: str, *, orderly: bool = False) -> None:
        """Its QEMU ends: by itself (orderly), or killed."""
        domain = self.domains.get(uid)
        if domain is None:
            return
        self._drop(domain, reason, orderly=orderly)
        gone = Exit(uid, domain.who.epoch, reason)
        if reason in (Reason.GUEST_SHUTDOWN, Reason.DESTROYED):
            self.written[uid, gone.epoch] = reason
        self.spawn(self._tell(gone, self.on_exit))

    async def _tell(self, gone: Exit, listener: Callable[[Exit], None]) -> None:
        await asyncio.sleep(self.word_delay)
        listener(gone)

    def _drop(self, domain: Domain, why: str, *, orderly: bool = False) -> None:
        if self.domains.get(domain.who.uid) is domain:
            del self.domains[domain.who.uid]
        if orderly and self._net.switch.up(STORAGE, self.kernel.address, "ceph"):
            self._ceph.close(domain.instance.client)
        late = self.writes_in_flight and not orderly
        self._truth.ended(domain.instance, why, in_flight=late)
        self.on_change(domain.who.uid)

    async def shut_down(self, who: Incarnation) -> None:
        domain = self.domains.get(who.uid)
        if domain is None or domain.who != who or self.guest_ignores_acpi:
            return
        self.spawn(self._power_off_guest(domain))

    async def _power_off_guest(self, domain: Domain) -> None:
        await asyncio.sleep(1.0)
        if self.domains.get(domain.who.uid) is domain and domain.instance.open:
            self._truth.kills(domain.instance)
            self.die(domain.who.uid, Reason.GUEST_SHUTDOWN, orderly=True)

    async def kill(self, who: Incarnation) -> None:
        """Exactly that incarnation; one that has no QEMU yet is waited for a while."""
        await asyncio.sleep(0.05)
        for _ in range(50):
            domain = self.domains.get(who.uid)
            if domain is None or domain.who.epoch != who.epoch:
                return
            if who.pid is not None and domain.who.pid != who.pid:
                return
            if domain.who.pid is not None:
                self._truth.kills(domain.instance)
                self._drop(domain, "killed by the agent")
                # libvirt takes it for a death, and may say so when the call is over.
                died = Exit(who.uid, who.epoch, Reason.QEMU_DIED)
                self.spawn(self._tell(died, self.on_exit))
                return
            await asyncio.sleep(0.1)
        raise Unavailable("its QEMU is not up yet")

    # Pause.

    async def suspend(self, who: Incarnation) -> None:
        domain = self._same(who)
        domain.state, domain.paused_by_us, domain.instance.paused = DomainState.PAUSED, True, True
        self.on_change(who.uid)

    async def resume(self, who: Incarnation) -> None:
        domain = self._same(who)
        domain.state, domain.paused_by_us = DomainState.RUNNING, False
        domain.instance.paused = False
        self.on_change(who.uid)

    def _same(self, who: Incarnation) -> Domain:
        domain = self.domains.get(who.uid)
        if domain is None or domain.who != who:
            raise NotFound(who.uid)
        return domain


class HypervisorPort:
    """`Hypervisor` as the agent sees it."""

    def __init__(self, libvirt: FakeLibvirt, who: Process, journal: Journal) -> None:
        self._libvirt, self._who, self._journal = libvirt, who, journal

    async def look(self, uid: str) -> Look:
        async def work() -> Look:
            return self._libvirt.look(uid)

        return await self._libvirt.call(self._who, "look", work, 3.0)

    async def ping(self) -> None:
        async def work() -> None:
            return None

        await self._libvirt.call(self._who, "ping", work, 3.0)

    async def scan(self) -> tuple[Look, ...]:
        async def work() -> tuple[Look, ...]:
            return self._libvirt.scan(self._journal.admitted())

        return await self._libvirt.call(self._who, "scan", work)

    async def create(self, order: DomainOrder) -> Incarnation:
        return await self._libvirt.call(
            self._who, "create", lambda: self._libvirt.create(order), 10.0
        )

    async def shut_down(self, incarnation: Incarnation) -> None:
        await self._libvirt.call(
            self._who, "shut_down", lambda: self._libvirt.shut_down(incarnation)
        )

    async def kill(self, incarnation: Incarnation) -> None:
        # A signal, not an order that libvirtd would carry out without us: awaited to its end.
        await self._who.thawed()
        await asyncio.sleep(self._libvirt.busy.pop("kill", 0.0))
        await self._libvirt.kill(incarnation)

    async def suspend(self, incarnation: Incarnation) -> None:
        await self._libvirt.call(self._who, "suspend", lambda: self._libvirt.suspend(incarnation))

    async def resume(self, incarnation: Incarnation) -> None:
        await self._libvirt.call(self._who, "resume", lambda: self._libvirt.resume(incarnation))

    async def recorded_ending(self, uid: str, epoch: int) -> str | None:
        return self._libvirt.written.get((uid, epoch))

    async def details(self, look: Look) -> ServerReport | None:
        if look.domain is None or look.state is not DomainState.RUNNING:
            return None
        return ServerReport(look.uid, look.domain.epoch, ReportState.RUNNING)
