"""Handles on single parts, to drive the world into one particular interleaving."""

import asyncio
from collections.abc import Callable

from tests.simulation.hosts import SimHost
from tests.simulation.lab import Lab
from tests.simulation.libvirt import FakeLibvirt
from tests.simulation.net import Gate, Process
from tests.simulation.operators import SimOperator

from respawn.model.base import Key, Kind
from respawn.model.node import FencePhase, Form
from respawn.model.placement import Phase
from respawn.model.storage import Entry

ON_1 = {"respawn.dev/host": "host-1"}


def libvirt(lab: Lab, host: str = "host-1") -> FakeLibvirt:
    """Its libvirt, now."""
    found = lab.hosts[host].libvirt
    assert found is not None
    return found


def restart_agent(lab: Lab, host: str = "host-1") -> None:
    """At once, with nothing remembered."""
    lab.hosts[host].kill_agent()
    lab.hosts[host].start_agent()


def silence_agent(lab: Lab, host: str = "host-1") -> SimHost:
    """It dies and stays dead."""
    it = lab.hosts[host]
    it.agent_stays_dead = True
    it.kill_agent()
    return it


def hold_watch(lab: Lab, process: str, kind: str) -> Gate:
    """Its watch shows nothing new of that kind until the gate opens."""
    gate = lab.api.held[(process, kind)] = Gate()
    gate.shut()
    return gate


def hold_calls(lab: Lab, process: str, call: str) -> Gate:
    """Such requests of it wait on their way until the gate opens."""
    gate = lab.net.holds[(process, call)] = Gate()
    gate.shut()
    return gate


def freeze_at(operator: SimOperator, point: str) -> asyncio.Event:
    """It stands still right after that step; the event says when."""
    reached = asyncio.Event()

    def stop(name: str) -> bool:
        if name == point and not reached.is_set():
            reached.set()
            operator.freeze()
        return False

    operator.crash_after = stop
    return reached


def when(lab: Lab, process: str, call: str, then: Callable[[], None]) -> None:
    """Once, as the first such request of that process takes effect."""
    done: list[bool] = []

    def spy(who: Process, label: str) -> None:
        if (who.name, label) == (process, call) and not done:
            done.append(True)
            then()

    lab.net.spy = spy


async def put_on_host_1(lab: Lab, name: str = "web-1", **spec: object) -> str:
    """A server that may be on host-1 only, until it is placed there."""
    uid = lab.server(name, node_selector=ON_1, shutdown_grace=0.0, **spec)
    await lab.until(lambda: lab.get(uid).placement.phase is Phase.PLACED, 10, "placed")
    return uid


def free_to_go(lab: Lab, uid: str) -> None:
    """It may run on any host from now on."""
    lab.api.edit_server(uid, node_selector={})


async def lead(lab: Lab, operator: SimOperator) -> None:
    """Wait until it leads."""
    await lab.until(lambda: operator.leads, 20, "leads")


async def unknown_to_the_next_leader(lab: Lab) -> tuple[str, Gate, SimOperator]:
    """A server on host-1 that the operator which leads from now on has never heard of."""
    first, second = lab.operators
    await lead(lab, first)
    gate = hold_watch(lab, second.name, "server")
    uid = await put_on_host_1(lab)
    first.stays_dead = True
    first.kill()
    await lead(lab, second)
    return uid, gate, second


async def fence_host_1(lab: Lab) -> None:
    """Cut off until it is Fenced."""
    lab.cut("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.FENCED, 40, "Fenced")


def blocklisted_by_hand(lab: Lab, host: str) -> None:
    """By a person, and the operator looks at the blocklist just now."""
    lab.ceph.add({Entry(lab.hosts[host].address, Form.RANGE)})
    for operator in lab.operators:
        assert operator.core is not None
        operator.core.store.blocklist = frozenset(lab.ceph.entries)
        operator.core.store.changed(Key(Kind.NODE, host))


def registered(lab: Lab) -> str:
    """host-1's registered boot."""
    known = lab.node("host-1").registration
    return known.boot_id if known else ""
