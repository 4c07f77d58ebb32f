"""A server that names a Network, which is not carried out yet, waits and says so."""

from datetime import UTC, datetime

from respawn.decide import decide
from respawn.model.base import Key, Kind, Now, Owner
from respawn.model.conditions import Reason, Type, find, is_true
from respawn.model.server import Nic, Server, ServerSpec
from respawn.model.world import Me, World

NOW = Now(100.0, datetime(2026, 1, 31, 8, 30, tzinfo=UTC))


def test_it_waits_for_its_owner_and_is_not_placed() -> None:
    spec = ServerSpec(memory=1, networks=(Nic("public", "tenant"), Nic("private", "")))
    server = Server("u", "n", "x", spec, protected_by_us=True)
    me = Me(Owner("operator-1", "a"), leader=True, lease_until=200.0)
    decision = decide(World(me, servers={"u": server}), Key(Kind.SERVER, "u"), NOW)
    ready = find(decision.outlook.conditions, Type.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", Reason.NETWORKS_COME_LATER)
    assert "private" in ready.message
    assert is_true(decision.outlook.conditions, Type.STALLED)


def test_a_leader_that_slept_past_its_lease_decides_nothing() -> None:
    server = Server("u", "n", "x", ServerSpec(memory=1))
    for until, decides in ((200.0, True), (100.0, False)):
        me = Me(Owner("operator-1", "a"), leader=True, lease_until=until)
        decision = decide(World(me, servers={"u": server}), Key(Kind.SERVER, "u"), NOW)
        assert (decision.step is not None) is decides
