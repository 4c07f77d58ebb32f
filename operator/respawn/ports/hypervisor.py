"""The agent's own host: libvirt, QEMU processes, and what must survive an agent restart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from respawn.model.host import Identity, Incarnation, Look
from respawn.model.node import Capacity, Node, ServerReport
from respawn.model.server import Server
from respawn.model.storage import Entry, Pool


@dataclass(frozen=True, slots=True)
class DomainOrder:
    """A domain to create, transient: `server` as just read (placed here), on its pools."""

    server: Server
    me: Identity
    pools: Mapping[str, Pool]


class Hypervisor(Protocol):
    """Local libvirt. Every call has a deadline and may raise Unavailable.

    Looks go by UUID (`lookupByUUID`), never by a list call: lists hang while a hook runs.
    """

    async def ping(self) -> None:
        """libvirtd answers, as of now. Raises Unavailable."""
        ...

    async def look(self, uid: str) -> Look:
        """The domain with that UUID in any state, and its QEMU processes, both as of now."""
        ...

    async def scan(self) -> tuple[Look, ...]:
        """A look at every server of ours there is on this host, running or half-started.

        One that the hook has not said yes to (`Journal`) may be missed: lists hang meanwhile.
        """
        ...

    async def create(self, order: DomainOrder) -> Incarnation:
        """Create and start it. libvirt asks the hook meanwhile.

        Raises Refused (reason StartFailed: the hook or QEMU said no), Conflict (a domain of
        that UUID is there already), Unavailable (unknown whether it comes up).
        """
        ...

    async def shut_down(self, incarnation: Incarnation) -> None:
        """Send the guest an ACPI power-off; done at once."""
        ...

    async def kill(self, incarnation: Incarnation) -> None:
        """End exactly that incarnation (pidfd of its QEMU); returns when it is gone.

        A later incarnation of the same server is never touched, and nothing is left behind that
        could act after the call: no destroy order that libvirtd may carry out when its caller is
        long gone. One whose QEMU is not up yet is waited for: its hook refuses it meanwhile (R6).
        """
        ...

    async def suspend(self, incarnation: Incarnation) -> None:
        """Pause it and mark it as paused by us; returns when the STOP event was seen."""
        ...

    async def resume(self, incarnation: Incarnation) -> None:
        """Let it run on, and take the mark off."""
        ...

    async def recorded_ending(self, uid: str, epoch: int) -> str | None:
        """How libvirt wrote down that it ended, for when nobody listened: a Reason.

        None: nothing is written, or what is written has more than one meaning. Raises nothing.
        """
        ...

    async def details(self, look: Look) -> ServerReport | None:
        """Addresses, readiness and start time of a running one, for the report."""
        ...


class Journal(Protocol):
    """Marks in `/run` (tmpfs): they survive the agent, and end with the boot."""

    def admitted(self) -> frozenset[tuple[str, int]]:
        """(UID, epoch) that were admitted in this boot."""
        ...

    def admit(self, uid: str, epoch: int) -> bool:
        """Mark it; False when it was marked already (then the hook says no)."""
        ...

    def contact(self) -> float | None:
        """What was kept last, by this agent or one before it in this boot; None: nothing."""
        ...

    def keep_contact(self, at: float) -> None:
        """The agent had a sign of life acknowledged that it began then (monotonic clock, seconds).

        Raises nothing: what cannot be kept is only missed by the next agent.
        """
        ...


class Host(Protocol):
    """The machine itself."""

    async def identity(self) -> Identity:
        """The real boot ID and machine ID, and the addresses now used towards Ceph."""
        ...

    async def capacity(self, node: Node | None) -> Capacity:
        """What it has."""
        ...

    async def pool_processes(self) -> tuple[int, ...]:
        """PIDs of all QEMUs with an image of a pool on their command line, foreign ones too."""
        ...

    async def blocklist(self) -> frozenset[Entry]:
        """Ceph's blocklist as this host sees it, by a connection made after any fence.

        Raises Unavailable.
        """
        ...
