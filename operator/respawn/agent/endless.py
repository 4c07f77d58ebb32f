"""Work that goes on whatever happens to it: one odd thing must not end an agent and all it does."""

import logging
from collections.abc import Awaitable, Callable

from respawn.agent.ports import RETRY
from respawn.ports.clock import Clock

log = logging.getLogger(__name__)


def say_failed(what: str, error: Exception) -> None:
    """Say what went wrong, with where."""
    log.error("%s failed, and is tried again: %s", what, error, exc_info=error)


async def endless(
    what: str,
    work: Callable[[], Awaitable[object]],
    clock: Clock,
    failed: Callable[[str, Exception], None] = say_failed,
) -> None:
    """Do `work`, and begin it anew RETRY seconds after it failed, until cancelled."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is
            # An agent that ends with this would end again a second later, and every server of the
            # host would be without one: nothing started, paused, reported or let in again.
            failed(what, error)
        else:
            return
        await clock.sleep(RETRY)
