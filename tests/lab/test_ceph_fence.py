"""The fence against a real Ceph, as the lab's operator, with the operator's key."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from fence_contract import ALL, WHOLE, FenceContract, Run
from labnet import Inside, operator_access
from labtool import LabTool, eventually

from labkit import names
from labkit.lab import Lab
from respawn.adapters.ceph import monitor
from respawn.adapters.ceph.access import Access, fixed
from respawn.adapters.ceph.connection import Connection
from respawn.adapters.ceph.fence import CephFence
from respawn.model.node import Form
from respawn.model.placement import entity_ip
from respawn.model.storage import Entry
from respawn.ports.errors import Refused, Unavailable

pytestmark = pytest.mark.lab

TWENTY = [Entry(f"203.0.113.{100 + i}", Form.IP) for i in range(20)]


@pytest.fixture(scope="module")
def run(operator: Inside) -> Run:
    return operator.run


@pytest.fixture(scope="module")
def fence(ceph_insides: Lab, operator: Inside) -> Iterator[CephFence]:
    made = CephFence(fixed(operator_access(ceph_insides)))
    operator.run(made.listing())
    yield made
    operator.run(made.close())


class TestRealFence(FenceContract):
    def test_the_operator_is_not_blocklisted(self, fence: CephFence, run: Run) -> None:
        own = run(fence.own_addresses())
        assert own
        for address in own:
            for entry in (Entry(address), *(Entry(entity_ip(address), form) for form in Form)):
                with pytest.raises(Refused, match="this operator itself"):
                    run(fence.add([WHOLE, entry]))
        assert not set(ALL) & run(fence.listing())


def test_an_entry_lasts_a_year_and_adding_it_again_keeps_its_expiry(
    ceph_lab: LabTool, fence: CephFence, run: Run
) -> None:
    def until() -> datetime:
        text = ceph_lab.ceph("ceph", "osd", "blocklist", "ls", "-f", "json")
        singles, _ = json.JSONDecoder().raw_decode(text.strip())
        found = next(e["until"] for e in singles if e["addr"] == f"{WHOLE.address}:0/0")
        return datetime.strptime(found, "%Y-%m-%dT%H:%M:%S.%f%z")

    run(fence.add([WHOLE]))
    first = until()
    run(fence.add([WHOLE]))
    assert until() == first
    left = first - datetime.now(first.tzinfo)
    assert 364 < left.total_seconds() / 86400 <= 365
    run(fence.remove([WHOLE]))


def test_twenty_at_once_take_about_as_long_as_one(fence: CephFence, run: Run) -> None:
    def timed(entries: list[Entry]) -> float:
        begun = time.monotonic()
        run(fence.add(entries))
        spent = time.monotonic() - begun
        assert set(entries) <= run(fence.listing())
        run(fence.remove(entries))
        return spent

    timed(TWENTY)  # connects, and starts the threads
    one = sorted(timed(TWENTY[:1]) for _ in range(5))[2]
    twenty = sorted(timed(TWENTY) for _ in range(5))[2]
    print(f"one add {one * 1000:.0f} ms, twenty at once {twenty * 1000:.0f} ms")
    assert twenty < 3 * one + 0.05


def test_what_is_no_single_address_stops_the_whole_order(fence: CephFence, run: Run) -> None:
    for address in ("203.0.113.0/24", "host-1"):
        with pytest.raises(Refused, match="no single IP address"):
            run(fence.add([WHOLE, Entry(address, Form.RANGE)]))
    assert WHOLE not in run(fence.listing())


def test_own_addresses_are_the_clients_that_ceph_knows(
    ceph_lab: LabTool, fence: CephFence, run: Run
) -> None:
    own = run(fence.own_addresses())
    assert len(own) == 2, "writer and reader are two connections"
    sessions = ceph_lab.ceph("ceph", "tell", "mon.a", "sessions")
    for address in own:
        ip, _, nonce = address.partition(":0/")
        assert ip == names.operator_address("storage", 1)
        assert nonce in sessions


def test_infrastructure_is_all_of_the_storage_side(fence: CephFence, run: Run) -> None:
    assert run(fence.infrastructure()) == {names.CEPH_ADDRESS}


def test_the_operators_key_is_good_for_nothing_more(ceph_insides: Lab, operator: Inside) -> None:
    async def ask(**fields: object) -> None:
        connection = Connection(fixed(operator_access(ceph_insides)), purpose="caps", threads=1)
        try:
            await connection.run("try", lambda h: monitor.command(h.cluster, **fields))
        finally:
            await connection.close()

    for command in (
        {"prefix": "auth ls"},
        {"prefix": "osd down", "ids": ["0"]},
        {"prefix": "osd pool create", "pool": "mine", "pg_num": 1},
        {"prefix": "osd blocklist clear"},
        {"prefix": "config set", "who": "global", "name": "debug_ms", "value": "1"},
    ):
        with pytest.raises(Refused):
            operator.run(ask(**command))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fsid": "11111111-2222-3333-4444-555555555555"}, "fsid"),
        ({"client": "nobody"}, "client.nobody"),
        ({"key": "AQAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAA=="}, "client.respawn"),
    ],
)
def test_a_wrong_access_is_refused_with_what_is_wrong(
    ceph_insides: Lab, operator: Inside, change: dict[str, str], told: str
) -> None:
    right = operator_access(ceph_insides)
    values = {"client": right.client, "fsid": right.fsid, "key": right.key, **change}
    wrong = CephFence(fixed(Access(monitors=right.monitors, **values)))
    with pytest.raises(Refused, match=told):
        operator.run(wrong.listing())
    operator.run(wrong.close())


def test_silent_monitors_cost_a_deadline_and_no_more(
    ceph_lab: LabTool, fence: CephFence, run: Run
) -> None:
    run(fence.add([WHOLE]))
    ceph_lab("ceph", "freeze", "mon.a")
    try:
        for call in (fence.listing, lambda: fence.add(TWENTY), lambda: fence.remove([WHOLE])):
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                run(call())
            assert time.monotonic() - begun < 6
    finally:
        ceph_lab("ceph", "thaw", "mon.a")

    def answers() -> bool:
        try:
            run(fence.listing())
        except Unavailable:
            return False
        return True

    eventually("the monitor answers again", answers, timeout=15)
    # what timed out may have been done: both are brought to a known end
    run(fence.add(TWENTY))
    run(fence.remove([*TWENTY, *ALL]))
    assert not {*TWENTY, *ALL} & run(fence.listing())
