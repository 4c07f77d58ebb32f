"""A start that the root image forbids."""

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.unit.decide.agent.builders import ME
from tests.unit.decide.builders import node, placed, server

from respawn.agent.starting import Starting
from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out
from respawn.model.conditions import Reason
from respawn.model.host import Create, Look
from respawn.model.storage import EpochMark, Pool

IT = server(placement=placed(epoch=2))


class Outside:
    """API, host, libvirt and Ceph at once; the image is ahead of the placement."""

    async def identity(self) -> Any:
        return ME

    async def get_node(self, name: str) -> Any:
        return node()

    async def get_server(self, namespace: str, name: str) -> Any:
        return IT

    async def read_epoch(self, pool: Pool, image: str) -> EpochMark:
        return EpochMark(3, 99)

    async def create(self, order: Any) -> None:
        raise AssertionError("it must not be created")


def test_what_the_image_forbids_is_told_and_not_tried_again() -> None:
    journal: Any = SimpleNamespace(admitted=frozenset)
    state, outside = AgentState(ME, journal), Outside()
    state.put_node(node())
    state.put_server(IT)
    anything: Any = outside
    starting = Starting(
        state=state, cluster=anything, hypervisor=anything, epochs=anything,
        pools=lambda: {"ceph": Pool("ceph")},
    )  # fmt: skip

    def step() -> Any:
        state.looks[IT.uid] = Look(IT.uid)
        return carry_out.decide(state.view(), IT.uid, 1000.0).step

    assert isinstance(step(), Create)
    asyncio.run(starting.create(Create(IT.uid, 2, "placed here")))
    assert state.exits[IT.uid].reason == Reason.START_FAILED
    assert "its root image is at epoch 3" in state.exits[IT.uid].message
    assert step() is None
