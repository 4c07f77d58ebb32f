"""Which pool gives the way to Ceph."""

from datetime import UTC, datetime
from itertools import permutations

import pytest

pytest.importorskip("rados", reason="Debian's python3-rados")

from respawn.model.storage import Pool
from respawn.ports.errors import Unavailable
from respawn.runtime.ceph_side import CephSide

OLD, NEW = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 6, 1, tzinfo=UTC)
POOLS = (
    Pool("slow", fsid="a", created=OLD),
    Pool("fast", fsid="a", created=NEW),
    Pool("another-cluster", fsid="b", created=NEW),
)


def knowing(*pools: Pool) -> CephSide:
    made = CephSide("operator-1")
    for pool in pools:
        made.learn(pool, f"key of {pool.name}")
    return made


@pytest.mark.parametrize(
    "order", list(permutations(POOLS)), ids=lambda o: "-".join(p.name for p in o)
)
def test_the_oldest_pool_gives_the_way_whichever_key_came_first(order: tuple[Pool, ...]) -> None:
    assert knowing(*order).first()[0].name == "slow"


def test_of_the_same_age_the_name_decides_and_the_last_one_stays_known() -> None:
    side = knowing(*reversed(POOLS))
    side.forget("slow")
    assert side.first()[0].name == "another-cluster"
    side.forget("another-cluster")
    side.forget("fast")
    assert side.first()[0].name == "fast"


def test_without_a_pool_there_is_no_way() -> None:
    with pytest.raises(Unavailable):
        knowing().first()
