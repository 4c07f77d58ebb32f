"""How often the agent writes its part of its Node, in virtual time."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.simulation.hosts import SimJournal
from tests.simulation.loop import run
from tests.unit.decide.agent.builders import ABSENT, ME, UID, domain, present
from tests.unit.decide.builders import node, placed, server

from respawn.agent.reporting import REPORT_EVERY, Reporting
from respawn.agent.state import AgentState
from respawn.model.conditions import Reason
from respawn.model.host import DomainState, Exit, Look
from respawn.model.node import HostStatus, Node, ReportState, ServerReport

OTHER = Look("uid-other", domain(uid="uid-other"), DomainState.RUNNING, processes=(101,))
STARTED = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Api:
    """Keeps moments to the millisecond, as the real one."""

    def __init__(self) -> None:
        self.node = node()
        self.writes = 0

    async def get_node(self, name: str) -> Node:
        return self.node

    async def write_host(self, read: Node, host: HostStatus) -> Node:
        await asyncio.sleep(0.001)
        self.writes += 1
        version = str(int(self.node.resource_version) + 1)
        kept = replace(host, servers=tuple(_cut(report) for report in host.servers))
        self.node = replace(self.node, host=kept, resource_version=version)
        return self.node


def _cut(report: ServerReport) -> ServerReport:
    moment = report.started
    return replace(report, started=moment and moment.replace(microsecond=123000))


class Ports:
    """As far as reporting needs them."""

    def __init__(self) -> None:
        self.cluster, self.clock = Api(), self

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.parametrize(
    ("look", "exits"),
    [(present(), {}), (ABSENT, {UID: Exit(UID, 1, Reason.QEMU_DIED)})],
)
def test_what_was_said_is_not_said_again(look: Look, exits: dict[str, Exit]) -> None:
    async def story() -> None:
        state = AgentState(ME, SimJournal())
        state.scanned, state.looks[UID], state.exits = True, look, exits
        state.servers[UID] = server(placement=placed())
        state.details[UID] = ServerReport(UID, 1, ReportState.RUNNING, started=STARTED)
        state.looks[OTHER.uid] = OTHER
        state.details[OTHER.uid] = ServerReport(OTHER.uid, 1, ReportState.RUNNING, started=STARTED)
        ports: Any = Ports()
        # As the agent does: whoever is woken is looked at, and then a report is due.
        reporting = Reporting(state, ports, wake=lambda uid: reporting.due.set())
        running = asyncio.ensure_future(reporting.run())
        for _ in range(20):
            reporting.due.set()
            await asyncio.sleep(0.05)
        assert ports.cluster.writes == 1
        state.storage_failing = True
        reporting.due.set()
        await asyncio.sleep(0.05)
        assert ports.cluster.writes == 2 and ports.cluster.node.host.storage_failing
        running.cancel()

    run(story())


def test_what_a_crowd_gives_to_say_is_told_together() -> None:
    """Twenty starts, a hundred words about them, in one second."""

    async def story() -> None:
        state = AgentState(ME, SimJournal())
        state.scanned = True
        ports: Any = Ports()
        reporting = Reporting(state, ports, wake=lambda uid: None)
        running = asyncio.ensure_future(reporting.run())
        for number in range(100):
            uid = f"uid-{number % 20}"
            starts = DomainState.STARTING if number < 20 else DomainState.RUNNING
            state.looks[uid] = Look(uid, domain(uid=uid), starts, processes=(1000 + number,))
            reporting.due.set()
            await asyncio.sleep(0.002)
            assert number or ports.cluster.node.host.servers, "the first word is told at once"
            await asyncio.sleep(0.008)
        assert ports.cluster.writes <= 5
        await asyncio.sleep(REPORT_EVERY)
        told = ports.cluster.node.host.servers
        assert [report.state for report in told] == [ReportState.RUNNING] * 20
        running.cancel()

    run(story())
