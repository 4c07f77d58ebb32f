"""One odd object must not stop the others, nor the process."""

import logging
from collections.abc import Awaitable

log = logging.getLogger(__name__)


async def guarded(what: str, work: Awaitable[None]) -> None:
    """Await `work`; an error that nobody has thought of is logged with all that is known."""
    try:
        await work
    except Exception:
        log.exception("unexpected, about %s", what)
