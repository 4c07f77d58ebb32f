"""One lock for a server, for as long as anybody has it."""

import asyncio
import weakref

from respawn.agent.locks import ServerLocks


def test_who_has_it_and_who_waits_share_one_lock() -> None:
    async def story() -> None:
        locks, order = ServerLocks(), []

        async def take(who: str) -> None:
            async with locks.of("uid"):
                order.append(who)
                await asyncio.sleep(0)
                assert locks.of("uid").locked() and not locks.of("other").locked()
                order.append(who)

        await asyncio.gather(take("kill"), take("hook"))
        assert order == ["kill", "kill", "hook", "hook"]

    asyncio.run(story())


def test_nothing_is_kept_of_servers_that_nobody_is_busy_with() -> None:
    locks = ServerLocks()
    lock = weakref.ref(locks.of("uid"))
    assert lock() is None
