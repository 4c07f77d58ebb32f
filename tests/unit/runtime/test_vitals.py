"""A person's word is weighed against what is read at that very moment."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.decide.builders import ME, T0, WALL, beat, node, now

from respawn.model.sight import Beat
from respawn.ports.errors import NotFound, Unavailable
from respawn.runtime.heart_watch import told
from respawn.runtime.store import Store
from respawn.runtime.vitals import Vitals

NAMED = node(spec=replace(node().spec, ended_boots=("boot-1",)))
LEASE = "host-1/boot-1|1|then"


class World:
    """One Lease and one heart as they are by now."""

    def __init__(self, token: str | None, heart: Beat | None) -> None:
        self.token, self.heart = token, heart

    async def get_lease(self, name: str) -> Any:
        if self.token is None:
            raise NotFound(name)
        return SimpleNamespace(token=self.token)

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        return self.heart, self.heart


def disputed(outside: World, *, silent: float | None, named: Any = NAMED) -> bool:
    """What comes of it; Lease and first beat were last seen to change `silent` seconds ago."""
    store = Store(ME)
    store.put_node(named)
    if silent is not None:
        store.saw_lease("host-1", LEASE, T0 - silent, WALL)
        store.saw_heart("host-1", *told((beat(), beat())), T0 - silent, WALL)
    clock: Any = SimpleNamespace(now=now)
    vitals = Vitals(store=store, leases=outside, heart=outside, clock=clock)  # type: ignore[arg-type]
    return asyncio.run(vitals.disputed(named, "boot-1"))


@pytest.mark.parametrize(
    ("token", "heart", "silent", "expected"),
    [
        (LEASE, beat(), 60, False),
        (None, None, 60, False),
        ("host-1/boot-1|1|now", beat(), 60, True),
        (LEASE, beat(counter=2), 60, True),
        (LEASE, beat(), 7.9, True),
        (LEASE, beat(), None, True),  # nobody has watched it yet
        (None, None, None, False),
        ("host-1/boot-2|2|now", beat(boot="boot-2", counter=2), 60, False),
    ],
)
def test_a_word_is_disputed_by_what_is_read_now(
    token: str | None, heart: Beat | None, silent: float | None, expected: bool
) -> None:
    assert disputed(World(token, heart), silent=silent) is expected


def test_a_boot_that_nobody_named_is_not_read_about() -> None:
    assert not disputed(World(LEASE, beat(counter=2)), silent=1, named=node())


def test_what_cannot_be_read_is_not_silence() -> None:
    class Away(World):
        async def read(self, host: str) -> tuple[Beat | None, ...]:
            raise Unavailable("Ceph does not answer")

    with pytest.raises(Unavailable):
        disputed(Away(LEASE, beat()), silent=60)
