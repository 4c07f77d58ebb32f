"""Hearts are read, and what is seen is stamped, whatever the operator's loop is doing."""

import asyncio
import time
from datetime import datetime
from typing import Any

from tests.simulation.clock import SimClock
from tests.simulation.loop import run
from tests.unit.decide.builders import beat, node

from respawn.adapters.clock import SystemClock
from respawn.model.base import Owner
from respawn.model.policy import Policy, Timings
from respawn.model.sight import Beat
from respawn.ports.errors import Unavailable
from respawn.runtime.heart_watch import HeartWatch
from respawn.runtime.store import Store
from respawn.runtime.threads import LoopThread, until

QUICK = Timings(lease_renew=0.2, heartbeat=0.1, fence_after=1.0)


class Hearts:
    """Hearts that beat at each look; `lost` ones cannot be read."""

    def __init__(self) -> None:
        self.counter = 0
        self.lost: set[str] = set()

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        if host in self.lost:
            raise Unavailable("planted")
        self.counter += 1
        return (beat(host, counter=self.counter), None)

    async def prove_write(self) -> None:
        if self.lost:
            raise Unavailable("planted")


def watched(store: Store) -> None:
    store.put_policy(Policy(timings=QUICK, generation=1))
    for name in ("host-1", "host-2"):
        store.put_node(node(name))


def test_a_loop_that_stands_still_makes_no_heart_late() -> None:
    store, hearts, proofs = Store(Owner("me", "1")), Hearts(), list[float]()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        watched(store)

        def saw(*seen: Any) -> None:
            loop.call_soon_threadsafe(store.saw_heart, *seen)

        watch = HeartWatch(store=store, clock=SystemClock(), saw=saw, proved=proofs.append)
        thread = LoopThread("hearts", lambda enough: until(enough, watch.run(hearts)))
        thread.start()
        async with asyncio.timeout(10):
            while len(store.sights) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        time.sleep(1.5)  # noqa: ASYNC251 the loop stands still: that is the test
        ended = time.monotonic()
        await asyncio.sleep(0)  # what was handed over meanwhile comes in
        for name in ("host-1", "host-2"):
            pulse = store.sights[name].heart
            assert pulse.changed_at is not None
            assert pulse.read_at is not None
            assert ended - pulse.read_at < 1.2, "it was read while the loop stood still"
            assert pulse.read_at == pulse.changed_at
        assert ended - proofs[-1] < 1.2
        await asyncio.to_thread(thread.stop, 5)

    asyncio.run(main())


def test_each_read_is_stamped_when_it_begins_and_twice_a_beat() -> None:
    async def main() -> None:
        store, hearts, clock = Store(Owner("me", "1")), Hearts(), SimClock(500.0)
        watched(store)
        seen: list[tuple[str, float]] = []

        def saw(name: str, token: str, newest: Beat | None, at: float, wall: datetime) -> None:
            store.saw_heart(name, token, newest, at, wall)
            seen.append((name, at))

        watch = HeartWatch(store=store, clock=clock, saw=saw, proved=store.ceph_answered)
        task = asyncio.ensure_future(watch.run(hearts))
        await asyncio.sleep(1.0)
        times = [at for name, at in seen if name == "host-1"]
        assert 19 <= len(times) <= 21
        assert times[0] == 500.0
        assert (store.me.ceph_ok_at or 0) >= 500.9 - 1e-6
        hearts.lost.add("host-1")
        await asyncio.sleep(1.0)
        gone = max(at for name, at in seen if name == "host-1")
        assert gone <= 501.0, "what could not be read is not called seen"
        assert max(at for name, at in seen if name == "host-2") > 501.9
        assert (store.me.ceph_ok_at or 0) <= 501.0
        assert not task.done()

    run(main())
