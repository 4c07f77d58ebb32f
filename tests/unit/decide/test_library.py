"""What the status of a pool tells."""

from datetime import UTC, datetime

import pytest

from respawn.decide import library
from respawn.decide.library import PoolLook
from respawn.model.conditions import Type, find
from respawn.model.storage import Pool

WALL = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("servers", "images", "told"),
    [
        (1, 0, "VirtualServer a/s0:"),
        (2, 1, "VirtualServer a/s0, VirtualServer a/s1, ServerImage i0:"),
        (4, 0, "VirtualServer a/s2 and 1 more VirtualServer:"),
        (5, 1, "VirtualServer a/s2 and 2 more VirtualServers and 1 more ServerImage:"),
    ],
)
def test_a_pool_that_is_to_be_deleted_says_what_is_still_in_it(servers, images, told) -> None:
    there = [f"VirtualServer a/s{n}" for n in range(servers)]
    there += [f"ServerImage i{n}" for n in range(images)]
    look = PoolLook(contents=tuple(there))
    found = library.pool(Pool("ceph", "u", deleting=True), look, WALL)
    ready = find(found.conditions, Type.READY) if found else None
    assert ready is not None and told in ready.message, ready
