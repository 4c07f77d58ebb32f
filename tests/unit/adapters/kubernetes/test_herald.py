"""Events are told one by one behind the work, in a quarter of the API server's time at the most."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

from tests.simulation.loop import run

from respawn.adapters.kubernetes.herald import LOOK_AGAIN, PATIENCE, PAUSE, Herald
from respawn.adapters.kubernetes.telling import Told


class SlowTeller:
    """Takes `takes` seconds for each event."""

    def __init__(self, takes: float) -> None:
        self.takes, self.begun = takes, list[float]()
        self.moments: list[datetime] = []

    async def tell(self, about: Any, *, at: datetime, **_: Any) -> None:
        self.moments.append(at)
        self.begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes)


def test_a_server_that_answers_slowly_is_given_fewer_events() -> None:
    async def scenario(takes: float) -> list[float]:
        teller = SlowTeller(takes)
        herald = Herald(cast(Any, teller))
        herald.tell(*(Told(cast(Any, None), f"Reason{n}", "", False) for n in range(3)))
        told = datetime.now(UTC)
        telling = asyncio.create_task(herald.run())
        await asyncio.sleep(100 * takes)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        assert all(at <= told for at in teller.moments), "when it happened, not when it was told"
        return [at - teller.begun[0] for at in teller.begun]

    for takes in (0.01, 1.0):
        period = takes * (1 + PAUSE)
        begun = run(scenario(takes))
        assert [round(at / period, 3) for at in begun] == [0, 1, 2]


def test_an_event_lets_a_failover_pass_but_not_for_ever() -> None:
    async def scenario(busy_for: float) -> float:
        loop, teller = asyncio.get_running_loop(), SlowTeller(0.01)
        begun = loop.time()
        herald = Herald(cast(Any, teller), busy=lambda: loop.time() < begun + busy_for)
        herald.tell(Told(cast(Any, None), "Reason", "", False))
        telling = asyncio.create_task(herald.run())
        await asyncio.sleep(10 * PATIENCE)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        return teller.begun[0] - begun

    assert 1.0 <= run(scenario(1.0)) < 1.0 + 2 * LOOK_AGAIN
    assert PATIENCE <= run(scenario(1000.0)) < PATIENCE + 2 * LOOK_AGAIN
