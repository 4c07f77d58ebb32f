from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.decide.builders import WALL, beat, fenced, node, placed, report, revoked, server

from respawn.model.base import Key, Kind, Owner
from respawn.model.node import Fence, FencePhase, Registration, ReportState
from respawn.model.placement import Phase
from respawn.model.policy import FAST, Policy, Timings
from respawn.model.server import Recovery
from respawn.model.sight import Former
from respawn.model.storage import Image, Pool
from respawn.model.world import Trouble
from respawn.runtime.points import from_environment
from respawn.runtime.store import Store


class Changes(list[Key]):
    """Keys that the store has called changed."""


def store() -> tuple[Store, Changes]:
    changes = Changes()
    return Store(Owner("operator-1", "life-1"), changes.append), changes


def at(value, version: int, **more):
    return replace(value, resource_version=str(version), **more)


def test_an_older_reading_changes_nothing() -> None:
    s, changes = store()
    s.put_server(at(server(placement=placed()), 9))
    s.put_server(at(server(placement=revoked()), 8))
    s.put_node(at(node(), 100))
    s.put_node(at(node(fence=fenced()), 99))
    assert s.servers["uid-web-1"].placement.phase is Phase.PLACED
    assert s.nodes["host-1"].fence.phase is FencePhase.OK
    assert len(changes) == 3, "server, node, and the server on that node"


def test_when_a_boot_was_last_heard_is_known_after_another_has_registered() -> None:
    """A host that reboots within `fenceAfter` was never suspected; its servers were down all the
    same, and their timeline begins there.
    """
    s, _ = store()
    s.put_node(at(node(), 1))
    for second, token in enumerate(
        ("1/boot-1|1|a", "1/boot-1|1|b", "1/boot-2|2|c", "1/boot-2|2|d")
    ):
        s.saw_lease("host-1", f"host-{token}", float(second), WALL + timedelta(seconds=second))
    s.saw_heart("host-1", "x", beat(boot="boot-1"), 0.5, WALL)
    s.saw_heart("host-1", "y", beat(boot="boot-2"), 3.5, WALL + timedelta(seconds=3.5))
    host = node().host
    again = replace(host, registration=Registration("machine-host-1", "boot-2"))
    s.put_node(at(node(host=again), 2))
    found = s.sights["host-1"]
    assert not found.signs, "of the boot that begins nothing is known yet"
    assert found.last_of("boot-1") == Former("boot-1", WALL + timedelta(seconds=1))
    assert found.last_of("boot-0") is None and found.last_of(None) is None


def test_whom_a_fence_must_not_hit_is_unknown_at_first() -> None:
    assert store()[0].world().protected is None


def test_versions_are_numbers_not_texts() -> None:
    s, _ = store()
    s.put_server(at(server(placement=placed()), 99))
    s.put_server(at(server(placement=revoked()), 100))
    assert s.servers["uid-web-1"].placement.phase is Phase.REVOKED


def test_by_node_and_recovering_follow_every_write() -> None:
    s, _ = store()
    s.put_server(at(server(placement=placed()), 1))
    assert s.world().by_node["host-1"] == {"uid-web-1"}
    record = Recovery("HostLost", "host-1")
    moving = server(placement=placed(2, "host-2"), status={"recovery": record})
    s.put_server(at(moving, 2))
    assert not s.world().by_node["host-1"] and s.world().by_node["host-2"] == {"uid-web-1"}
    assert s.world().recovering == {"uid-web-1"}
    done = server(placement=placed(2, "host-2"), status={"recovery": replace(record, started=WALL)})
    s.put_server(at(done, 3))
    assert not s.world().recovering
    s.drop_server("uid-web-1")
    assert not s.world().by_node["host-2"] and not s.servers


def test_a_nodes_news_reach_the_servers_they_are_about() -> None:
    s, changes = store()
    for name, priority in (("web-1", 100), ("web-2", 200)):
        s.put_server(at(server(name, placement=placed(), spec={"priority": priority}), 1))
    s.put_node(at(node(), 1))
    changes.clear()
    one = report("uid-web-1", state=ReportState.RUNNING)
    s.put_node(at(node(reports=(one,)), 2))
    assert changes == [Key(Kind.NODE, "host-1"), Key(Kind.SERVER, "uid-web-1")]
    changes.clear()
    s.put_node(at(node(reports=(one,), fence=fenced(FencePhase.FENCING)), 3))
    # in the order in which they are to be started elsewhere
    by_priority = [Key(Kind.SERVER, f"uid-web-{n}") for n in (2, 1)]
    assert changes == [Key(Kind.NODE, "host-1"), *by_priority]


@pytest.mark.parametrize(
    ("after", "anew"),
    [
        (node(), False),
        (node(fence=Fence(FencePhase.OK, 1)), True),
        (node(fence=fenced(FencePhase.LIFTING)), False),
    ],
)
def test_a_lifted_fence_begins_a_new_time_of_grace(after, anew: bool) -> None:
    s, _ = store()
    before = node(fence=fenced()) if anew or after.fence.phase is not FencePhase.OK else node()
    s.put_node(at(before, 1))
    s.saw_lease("host-1", "host-1/boot-1|1|", 1.0, WALL)
    s.put_node(at(after, 2))
    assert (not s.sights["host-1"].signs_of("boot-1")) is anew


def test_a_sign_read_earlier_than_the_last_one_is_dropped() -> None:
    s, _ = store()
    s.saw_lease("host-1", "new", 10.0, WALL)
    s.saw_lease("host-1", "old", 9.0, WALL)
    assert s.sights["host-1"].lease.token == "new"


def test_a_healthy_hosts_beats_wake_nobody() -> None:
    s, changes = store()
    s.put_node(node())
    changes.clear()
    s.saw_heart("host-1", "a", None, 1.0, WALL)
    assert not changes
    s.uneasy.add("host-1")
    s.saw_heart("host-1", "b", None, 2.0, WALL)
    assert changes == [Key(Kind.NODE, "host-1")]


def test_earlier_timings_stay_known() -> None:
    s, _ = store()
    s.put_policy(Policy(Timings(), generation=1))
    s.put_policy(Policy(FAST, generation=2))
    s.put_policy(Policy(FAST, generation=3))
    assert s.policy.binding(1).fence_after == Timings().fence_after
    assert s.policy.binding(2) == FAST


def test_a_new_spec_ends_the_trouble_of_the_old() -> None:
    s, _ = store()
    s.put_server(at(server(), 1))
    s.troubled(Key(Kind.SERVER, "uid-web-1"), Trouble("DiskFailed", "", 0.0))
    s.put_server(at(server(), 2))
    assert s.trouble
    s.put_server(at(server(), 3, generation=2))
    assert not s.trouble


def test_crash_points_are_named() -> None:
    from_environment({})("Placed")
    from_environment({"RESPAWN_CRASH_AFTER": "Fenced"})("Placed")
    with pytest.raises(ValueError, match="must be one of"):
        from_environment({"RESPAWN_CRASH_AFTER": "Palced"})


def test_pools_and_images_are_known_by_the_names_they_are_waited_for() -> None:
    s, changes = store()
    s.put_pool(Pool("ceph", resource_version="1"))
    s.put_image(Image("uid-1", "golden", resource_version="2"))
    awaited = [Key(Kind.POOL, "ceph"), Key(Kind.IMAGE, "golden")]
    assert changes == awaited
    s.drop_pool("ceph")
    s.drop_image("uid-1")
    assert changes == awaited * 2
