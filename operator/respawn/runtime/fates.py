"""What a node means for its servers: who learns of it when that changes."""

from dataclasses import dataclass, replace

from respawn.decide import grounds, hearsay, liveness
from respawn.decide.hearsay import Silence
from respawn.model.base import Key, Kind
from respawn.model.conditions import Reason
from respawn.ports.clock import Clock
from respawn.runtime.queue import KeyedQueue
from respawn.runtime.store import Store, by_priority


@dataclass(frozen=True, slots=True)
class Fate:
    """What a node means for its servers: any change of it concerns them all."""

    doom: Reason | None = None
    silence: Silence | None = None
    over: bool = False
    """A person's word about its boot is believed."""
    in_doubt: bool = False
    """What was told of its silence stands."""


class Fates:
    """The last known fate of each node; run each time that its key was decided about."""

    def __init__(self, *, store: Store, queue: KeyedQueue[Key], clock: Clock) -> None:
        self._store, self._queue, self._clock = store, queue, clock
        self._fates: dict[str, Fate] = {}

    def look(self, node: str) -> None:
        """Wake its servers if its fate has changed, and note whether its signs need watching."""
        self._spread(node)
        self._note_unease(node)

    def _spread(self, name: str) -> None:
        """Servers are revoked while their node is being fenced, not after; and what is said of them
        does not outlive what is known of it."""
        world, now = self._store.world(), self._clock.now()
        node = world.nodes.get(name)
        fate = Fate()
        if node is not None and world.me.leader:
            doom, silence = grounds.doom(world, node, now), hearsay.of(world, node, now)
            state = liveness.verdict(world, node, now).state
            over, in_doubt = grounds.over(world, node, now), state in liveness.DOUBTFUL
            fate = Fate(doom, silence, over, in_doubt)
        before = self._fates.get(name, Fate())
        if fate == before:
            return
        self._fates[name] = fate
        if fate == replace(before, in_doubt=True):
            return  # a doubt that begins takes nothing back
        urgent = fate.doom is not None and fate.doom != before.doom
        urgent = urgent or (fate.over and not before.over)
        for server in by_priority(world.here(name)):
            self._queue.add(Key(Kind.SERVER, server.uid), urgent=urgent)

    def _note_unease(self, name: str) -> None:
        world = self._store.world()
        node = world.nodes.get(name)
        healthy, unheard = liveness.State.HEALTHY, self._fates.get(name, Fate()).silence
        if node is None or (
            liveness.verdict(world, node, self._clock.now()).state is healthy and unheard is None
        ):
            self._store.uneasy.discard(name)
        else:
            self._store.uneasy.add(name)
