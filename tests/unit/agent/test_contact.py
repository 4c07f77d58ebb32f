"""From where a new agent counts (S6)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.simulation.hosts import SimJournal
from tests.simulation.lab import Lab, play
from tests.unit.decide.agent.builders import ME

from respawn.agent.core import Agent, AgentPorts
from respawn.model.base import Now
from respawn.ports.cluster import Lease
from respawn.ports.errors import Conflict


class Clock:
    def now(self) -> Now:
        return Now(100.0, datetime.now(UTC))


def agent(kept: float | None, beaten: float | None) -> Agent:
    journal, nothing = SimJournal(), None
    if kept is not None:
        journal.keep_contact(kept)
    names = ("cluster", "hypervisor", "host", "heart", "epochs")
    parts: Any = dict.fromkeys(names, nothing)
    return Agent(ME, AgentPorts(journal=journal, clock=Clock(), **parts), {}, beaten=beaten)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kept", "beaten", "expected"),
    [
        (None, None, (100.0, 100.0)),  # nothing was started in this boot yet
        (95.0, None, (95.0, 95.0)),
        (None, 96.0, (96.0, 96.0)),
        (95.0, 96.0, (95.0, 96.0)),
        (2000.0, 96.0, (100.0, 96.0)),  # nonsense is never a reason to count later
    ],
)
def test_a_new_agent_counts_on(
    kept: float | None, beaten: float | None, expected: tuple[float, float]
) -> None:
    contact = agent(kept, beaten).state.contact
    assert (contact.renewed_at, contact.beaten_at) == expected and contact.begun_at == 100.0


def test_a_late_beat_takes_back_nothing() -> None:
    it = agent(95.0, 96.0)
    it.on_beat(98.0)
    it.on_beat(97.0)
    assert it.state.contact.beaten_at == 98.0


def test_it_is_told_once_when_the_api_answers_again() -> None:
    async def story(lab: Lab) -> None:
        await lab.begin()
        it, told = lab.hosts["host-1"].agent, []
        assert it is not None
        it.api_back = lambda: told.append(lab.now())
        await lab.rest(5)
        assert told == []
        lab.cut("host-1", "management")
        await lab.rest(10)
        lab.heal("host-1", "management")
        await lab.rest(10)
        assert len(told) == 1

    play(story)


def test_a_lease_that_somebody_else_writes_is_no_race() -> None:
    """At most four tries within a renewal's time; renewed as soon as it can be."""

    async def story(lab: Lab) -> None:
        await lab.begin()
        calls: list[float] = []
        whole = lab.api.hold_lease

        def stolen(read: Lease, holder: str, duration: float) -> Lease:
            if read.name != "host-1":
                return whole(read, holder, duration)
            calls.append(lab.now())
            raise Conflict(read.name)

        lab.api.hold_lease = stolen  # type: ignore[method-assign]
        await lab.rest(10)
        renew = lab.api.policy.timings.lease_renew
        assert 10 / renew <= len(calls) <= 4 * 10 / renew + 1
        lab.api.hold_lease = whole  # type: ignore[method-assign]
        it = lab.hosts["host-1"].agent
        assert it is not None
        await lab.rest(1)
        assert it.ports.clock.now().mono - it.state.contact.renewed_at < 1

    play(story)


def test_each_contact_is_kept_for_the_next_agent() -> None:
    """Its renewals, and the beats that it makes itself while its heart process is silent."""

    async def story(lab: Lab) -> None:
        await lab.begin()
        await lab.rest(5)
        it = lab.hosts["host-1"].agent
        assert it is not None
        kept = it.ports.journal.contact
        assert kept() == it.state.contact.renewed_at
        heart = lab.hosts["host-1"].heart_process
        assert heart is not None
        heart.gate.shut()
        lab.cut("host-1", "management")
        await lab.rest(6)
        assert kept() == it.state.contact.beaten_at > it.state.contact.renewed_at

    play(story)
