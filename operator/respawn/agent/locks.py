"""R6: one lock per server, shared by the hook's answer and the agent's kills."""

import asyncio
from weakref import WeakValueDictionary


class ServerLocks:
    """A lock for each UID. Never held around the agent's own create call.

    Kill holds the lock, libvirt's destroy waits for the create job, that waits for the hook: so the
    hook never waits for the lock, and create never holds it.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Each as long as somebody holds it, or waits for it."""

    def of(self, uid: str) -> asyncio.Lock:
        """The lock of that server."""
        return self._locks.setdefault(uid, asyncio.Lock())
