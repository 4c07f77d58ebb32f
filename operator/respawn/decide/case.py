"""One server in one picture: what is wanted of it, and what every phase's decision is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from respawn.decide import conditions, disks, recovery
from respawn.decide.conditions import Situation
from respawn.decide.disks import DiskState
from respawn.model.actions import Decision, Outlook, Report, SetFree, Step
from respawn.model.base import Key, Now
from respawn.model.conditions import Reason
from respawn.model.node import Node
from respawn.model.placement import Phase
from respawn.model.server import RunPolicy, Server
from respawn.model.world import World

PATIENCE = 30.0
"""Seconds between two looks at a server that waits for the world to change."""


class Wish(Enum):
    """What the user wants of the server now."""

    RUN = "run"
    STOP = "stop"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Case:
    """One server in one picture: what the phase functions look at."""

    world: World
    server: Server
    now: Now
    wish: Wish
    disks: DiskState
    node: Node | None
    """The node of the placement, if it has one and it is known."""

    @property
    def uid(self) -> str:
        """The server's UID."""
        return self.server.uid

    @property
    def epoch(self) -> int:
        """The epoch that every step is bound to."""
        return self.server.placement.epoch

    def do(self, step: Step | None, s: Situation, **more: object) -> Decision:
        """A decision whose outlook is that of situation `s`."""
        told = conditions.outlook(self.server, self.disks, s, clear_setback=self._clears(s))
        return with_report(self.server, Decision(step, outlook=told, **more))  # type: ignore[arg-type]

    def wait(self, step: Step | None, s: Situation, awaits: Iterable[Key]) -> Decision:
        """Until one of them changes, and never for longer than PATIENCE."""
        answered = self.server.status.observed_generation == self.server.generation
        again, them = self.now.mono + PATIENCE, tuple(sorted(awaits))
        return self.do(step, s, next_check=again, awaits=them, patient=answered)

    def _clears(self, s: Situation) -> bool:
        return s.reason == Reason.HALTED and self.server.status.setback is not None


def of(world: World, server: Server, now: Now) -> Case:
    """The case of `server`."""
    node = world.nodes.get(server.placement.node or "")
    return Case(world, server, now, wish_of(server), disks.judge(world, server), node)


def wish_of(server: Server) -> Wish:
    """What is wanted: a deletion of a protected server is not obeyed."""
    if server.deleting and not server.spec.protected:
        return Wish.DELETE
    if server.spec.run_policy is RunPolicy.HALTED or recovery.completed(server):
        return Wish.STOP
    return Wish.RUN


def with_report(server: Server, decision: Decision) -> Decision:
    """Without another step, a changed outlook is a step of its own."""
    if decision.step is not None or not changes(server, decision.outlook):
        return decision
    report = Report(server.uid, server.placement.epoch, "the status changed")
    return replace(decision, step=report)


def changes(server: Server, outlook: Outlook) -> bool:
    """Whether writing the outlook would tell anything new."""
    told = {c.type: c for c in server.status.conditions}
    return (
        not all(c.same_as(told.get(c.type)) for c in outlook.conditions)
        or outlook.phase != server.status.phase
        or server.status.observed_generation != server.generation
        or outlook.recovery is not None
        or outlook.clear_setback
        or (outlook.addresses is not None and outlook.addresses != server.status.addresses)
    )


def set_free(case: Case, reason: str) -> SetFree | None:
    """The step to Free, from Revoked; from Free there is none to take."""
    if case.server.placement.phase is not Phase.REVOKED:
        return None
    return SetFree(case.uid, case.epoch, reason)
