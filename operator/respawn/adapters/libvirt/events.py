"""libvirt's events of our domains, brought into asyncio; the connection is made again for ever.

Callbacks run in libvirt's own thread: they only hand over, by `call_soon_threadsafe`. Events that
happen while there is no connection are lost, so `on_connected` means: look at everything again.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import libvirt

from respawn.adapters.libvirt.connection import opened
from respawn.adapters.libvirt.names import incarnation_of
from respawn.model.conditions import Reason

log = logging.getLogger(__name__)
RETRY = 0.25
"""Seconds between two attempts to connect."""
POLL = 0.1
"""Seconds between two looks at something whose event may be lost."""


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """A lifecycle event of one of our domains, by libvirt's numbers."""

    uid: str
    epoch: int
    event: int
    detail: int


_BY_SOMEBODY = (libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED)
"""virsh destroy, virsh save: our own kills are not told here."""


def ending(event: DomainEvent, *, by_host: bool) -> Reason | None:
    """Why an incarnation ended, None when the event is no end.

    `by_host`: its QEMU was told by a signal to go, which libvirt otherwise calls a shutdown too.
    """
    if event.event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
        return Reason.GUEST_PANICKED
    if event.event != libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return None
    if event.detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED:
        return Reason.GUEST_PANICKED
    if event.detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED:
        return Reason.QEMU_DIED
    if event.detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return Reason.QEMU_DIED if by_host else Reason.GUEST_SHUTDOWN
    return Reason.DESTROYED if event.detail in _BY_SOMEBODY else Reason.VANISHED


def told_by_host(event: DomainEvent) -> bool:
    """Whether a signal from the host, not the guest, made this QEMU shut down."""
    return (event.event, event.detail) == (
        libvirt.VIR_DOMAIN_EVENT_SHUTDOWN,
        libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST,
    )


class Changes:
    """Wakes those who wait for something about one server's domain to change."""

    def __init__(self) -> None:
        self._next: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """Each as long as somebody waits for it."""

    def tell(self, uid: str) -> None:
        """Something about it has changed."""
        if (waited := self._next.pop(uid, None)) is not None:
            waited.set()

    async def of(self, uid: str) -> None:
        """Until it is told of, or POLL seconds: an event may be lost."""
        change = self._next.setdefault(uid, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await change.wait()


class Events:
    """Listens in a thread and on a connection of its own. Handlers run in `loop`."""

    def __init__(
        self,
        uri: str,
        loop: asyncio.AbstractEventLoop,
        *,
        on_event: Callable[[DomainEvent], None],
        on_connected: Callable[[], None],
    ) -> None:
        self._uri, self._loop = uri, loop
        self._on_event, self._on_connected = on_event, on_connected
        self._closing = False
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="libvirt-events", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._wake.set()

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            try:
                self._listen()
            except libvirt.libvirtError as error:
                log.info("no events from %s: %s", self._uri, error)
                self._wake.wait(RETRY)

    def _listen(self) -> None:
        """Until the connection is lost."""
        connection = opened(self._uri)
        try:
            lost = self._wake
            connection.registerCloseCallback(lambda _c, _reason, _o: lost.set(), None)
            connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None
            )
            self._hand_over(self._on_connected)
            lost.wait()
        finally:
            connection.close()

    def _lifecycle(
        self, _connection: object, domain: "libvirt.virDomain", event: int, detail: int, _: object
    ) -> None:
        # safety: name() is local; a call to libvirt from its own event thread would never return.
        ours = incarnation_of(domain.name())
        if ours is not None:
            self._hand_over(self._on_event, DomainEvent(*ours, event, detail))

    def _hand_over(self, handler: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(handler, *arguments)
