"""A host's view for the agent's deciders: host-1, in contact, with nothing on it."""

from dataclasses import replace
from typing import Any

from tests.unit.decide.builders import T0, node

from respawn.model.host import (
    Contact,
    DomainState,
    HostView,
    Identity,
    Incarnation,
    Look,
)
from respawn.model.server import Server

UID = "uid-web-1"
ME = Identity("host-1", "machine-host-1", "boot-1", ("198.51.100.11",))


def contact(silent: float = 0.0, **more: Any) -> Contact:
    """Last contact that long ago, in both ways."""
    fields: dict[str, Any] = {
        "ceph_since": T0 - 100,
        "blocklist_at": T0 - 1,
        "api_answers": True,
        **more,
    }
    return Contact(T0 - silent, T0 - silent, **fields)


def domain(epoch: int = 1, boot: str = "boot-1", uid: str = UID) -> Incarnation:
    """An incarnation on this host."""
    return Incarnation(uid, epoch, boot, "customer-a", "web-1", pid=100 + epoch)


def present(
    epoch: int = 1, state: DomainState = DomainState.RUNNING, *, by_us: bool = False,
    boot: str = "boot-1",
) -> Look:  # fmt: skip
    """A look that shows it."""
    return Look(UID, domain(epoch, boot), state, by_us, (100 + epoch,))


ABSENT = Look(UID)


def view(server: Server | None = None, look: Look | None = ABSENT, **more: Any) -> HostView:
    """The view with that server and that look."""
    fields: dict[str, Any] = {
        "node": node(),
        "contact": contact(),
        "servers": {server.uid: server} if server else {},
        "looks": {look.uid: look} if look else {},
        **more,
    }
    return replace(HostView(ME), **fields)
