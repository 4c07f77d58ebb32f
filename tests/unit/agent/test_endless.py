"""One odd thing must not end an agent."""

import asyncio

import pytest
from tests.simulation.lab import Lab, play
from tests.simulation.loop import run
from tests.simulation.stories.handles import libvirt
from tests.unit.decide.agent.builders import UID

from respawn.agent.endless import endless
from respawn.agent.ports import RETRY
from respawn.model.base import Now


class Clock:
    def now(self) -> Now:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def test_it_begins_anew_a_second_later_and_ends_when_it_is_done() -> None:
    begun: list[float] = []
    said: list[str] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 3:
            raise ValueError("odd")

    run(endless("work", work, Clock(), lambda what, error: said.append(f"{what}: {error}")))
    assert begun == [0.0, RETRY, 2 * RETRY] and said == ["work: odd", "work: odd"]


def test_it_can_be_cancelled() -> None:
    async def story() -> None:
        task = asyncio.ensure_future(endless("work", asyncio.Event().wait, Clock()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story())


@pytest.mark.parametrize("broken", ["scan", "look"])
def test_an_agent_outlives_what_nobody_thought_of(broken: str) -> None:
    """Its Lease is renewed all the while, and what can be done is done afterwards."""

    async def story(lab: Lab) -> None:
        await lab.begin()
        host = lab.hosts["host-1"]
        agent, whole = host.agent, getattr(libvirt(lab), broken)

        def odd(*_: object) -> None:
            raise OverflowError("port must be 0-65535.")

        setattr(libvirt(lab), broken, odd)
        assert agent is not None
        agent.wake(UID)
        await lab.rest(12)
        assert {type(bug) for bug in host.kernel.bugs} == {OverflowError}
        host.kernel.bugs.clear()
        setattr(libvirt(lab), broken, whole)
        assert host.agent is agent
        uid = lab.server("web-1", preferred_nodes=("host-1",))
        await lab.until(lambda: lab.runs(uid), 20, "runs")
        assert lab.where(uid) == "host-1" and lab.fence("host-1") == "OK"

    play(story)
