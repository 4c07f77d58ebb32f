"""What a placement asks of the Node that it was decided for, and what it rests on."""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.simulation.loop import run
from tests.unit.decide.builders import (
    GIB,
    ME,
    WALL,
    fenced,
    node,
    now,
    placed,
    revoked,
    server,
    world,
)  # fmt: skip
from tests.unit.runtime.test_settling import IT, POOLS, QEMU, Outside, settler

from respawn.model.actions import BanClients, Outlook, Place, Revoke
from respawn.model.conditions import Reason
from respawn.model.node import FencePhase
from respawn.model.placement import Locker, Phase, Placement, Proof, ProofKind
from respawn.model.server import Disk, DiskStatus, Hardware, Recovery, Server, ServerStatus
from respawn.model.storage import Entry, EpochMark, ImageClients
from respawn.ports.errors import NotFound, Refused, Unavailable
from respawn.runtime import lanes
from respawn.runtime.lanes import BESIDE_FENCE
from respawn.runtime.server_executor import ServerExecutor, _proven, _usable
from respawn.runtime.settling import Evidence, Outdated
from respawn.runtime.store import Store


def test_a_healthy_node_may_be_placed_on() -> None:
    assert _usable(node()) == node()


def test_a_node_that_is_being_deleted_gets_no_server() -> None:
    with pytest.raises(Outdated, match="being deleted"):
        _usable(replace(node(), deleting=True))


def test_an_unregistered_node_gets_no_server() -> None:
    with pytest.raises(Outdated, match="no registration"):
        _usable(replace(node(), host=replace(node().host, registration=None)))


FREE = server()


class Free(Outside):
    """The same, for a server that is Free; `live` is how the API has it, `asked` what was read."""

    def __init__(self, mark: EpochMark | None, live: Server) -> None:
        super().__init__(node())
        self.mark, self.live = mark, live
        self.asked: list[str] = []
        self.written: list[tuple[Server, ServerStatus]] = []

    async def get_server(self, namespace: str, name: str) -> Server:
        self.asked.append(name)
        return self.live

    async def clients(self, pool: Any, image: str) -> ImageClients:
        return ImageClients()

    async def read_epoch(self, pool: Any, image: str) -> EpochMark | None:
        return self.mark

    async def write_epoch(self, pool: Any, image: str, mark: EpochMark) -> None:
        self.mark = mark

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        self.written.append((read, status))
        return replace(read, status=status, resource_version="21")


def executor(outside: Free) -> ServerExecutor:
    store = Store(ME)
    ports: Any = outside
    clock: Any = SimpleNamespace(now=now)
    return ServerExecutor(
        store=store, cluster=ports, images=ports, settler=settler(outside, store), clock=clock,
        point=lambda name: None,
    )  # fmt: skip


def place(outside: Free, by: ServerExecutor | None = None, known: Server = FREE) -> None:
    there = Hardware("pc-q35-7.2", "qemu64")
    step = Place(known.uid, known.placement.epoch, "it is to run", "host-1", there)
    asyncio.run((by or executor(outside)).run(step, Outlook(), world(known)))


def test_a_placement_is_written_on_the_version_that_was_known() -> None:
    outside = Free(EpochMark(4, 20), FREE)
    place(outside)
    [(read, status)] = outside.written
    assert (read.resource_version, outside.asked) == ("20", [])
    assert (status.placement.phase, status.placement.epoch) == (Phase.PLACED, 5)
    assert outside.mark == EpochMark(5, 20)


def test_a_placement_whose_reply_was_lost_is_tried_again_with_the_same_epoch() -> None:
    """The first may be committed late: the image must not have moved on by then."""
    outside = Lossy(EpochMark(4, 20), FREE)
    ours, another = executor(outside), executor(outside)
    with pytest.raises(Unavailable):
        place(outside, ours)
    place(outside, ours)
    assert [status.placement.epoch for _, status in outside.written] == [5, 5]
    assert outside.mark == EpochMark(5, 20)
    place(outside, another)
    assert outside.mark == EpochMark(6, 20), "what others have raised is taken"
    place(outside, ours)
    assert outside.mark == EpochMark(7, 20)


def test_no_epoch_is_used_again_when_the_first_write_was_done_after_all() -> None:
    """Its server ran, ended, and is Free again, at the epoch that was raised then."""
    outside = Lossy(EpochMark(4, 20), FREE)
    ours = executor(outside)
    with pytest.raises(Unavailable):
        place(outside, ours)
    over = replace(FREE.status, placement=Placement(Phase.FREE, 5))
    place(outside, ours, replace(FREE, status=over, resource_version="30"))
    assert [status.placement.epoch for _, status in outside.written] == [5, 6]


class Torn(Free):
    """One of the images is gone."""

    lost = ""

    async def clients(self, pool: Any, image: str) -> ImageClients:
        if image == self.lost:
            raise NotFound(image)
        return ImageClients()


@pytest.mark.parametrize(("lost", "wanted", "placed"), [
    ("vs-uid-web-1-data", True, False),
    ("vs-uid-web-1-data", False, True),
    ("", True, True),
])  # fmt: skip
def test_a_server_is_not_placed_without_one_of_its_disks(
    lost: str, wanted: bool, placed: bool
) -> None:
    """Its start could only fail there, and everywhere; a disk that it has no more may be gone."""
    made = DiskStatus("data", "ceph", "vs-uid-web-1-data", GIB)
    status = replace(FREE.status, disks=(*FREE.status.disks, made))
    disks = (*FREE.spec.disks, *((Disk("data", "ceph", GIB),) if wanted else ()))
    both = replace(FREE, status=status, spec=replace(FREE.spec, disks=disks))
    outside = Torn(EpochMark(4, 20), both)
    outside.lost = lost
    if placed:
        place(outside, known=both)
        assert outside.written
        return
    with pytest.raises(Refused, match="vms/vs-uid-web-1-data of its disk data is gone") as refused:
        place(outside, known=both)
    assert refused.value.reason == Reason.DISK_FAILED
    assert outside.mark == EpochMark(4, 20) and not outside.written, "no epoch is spent on it"


class Lossy(Free):
    """The reply to the first write is lost."""

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        written = await super().write_server(read, status)
        if len(self.written) == 1:
            raise Unavailable("no reply")
        return written


def test_an_image_newer_than_what_is_known_is_no_restored_backup_yet() -> None:
    outside = Free(EpochMark(4, 30), replace(FREE, resource_version="31"))
    with pytest.raises(Outdated, match="written since"):
        place(outside)
    assert outside.asked and not outside.written


def test_an_image_newer_than_what_the_api_has_is_one() -> None:
    outside = Free(EpochMark(4, 30), FREE)
    with pytest.raises(Refused) as refused:
        place(outside)
    assert refused.value.reason == Reason.EPOCH_BEHIND_IMAGE
    assert outside.mark == EpochMark(4, 30) and not outside.written


@pytest.mark.parametrize(("after", "told"), [(1.0, 1.0), (-0.5, 0.0)])
def test_what_is_decided_when_its_host_is_fenced_already_is_proven_from_then_on(
    after: float, told: float
) -> None:
    """Of a crowd the last are revoked after the fence was read back: their timeline is in order."""
    read_back = WALL + timedelta(seconds=after)
    host = node(fence=replace(fenced(FencePhase.FENCED), fenced=read_back))
    record = Recovery(Reason.HOST_LOST, "host-1", decided=WALL)
    found = _proven(record, Evidence(Proof(ProofKind.FENCED), host, frozenset()))
    assert (found.proof, found.fenced) == ("Fenced", WALL + timedelta(seconds=told))


# Beside a fence.


class Beside(Outside):
    """Revoked servers whose images are locked; counts what is under way, and answers nothing."""

    def __init__(self) -> None:
        super().__init__(node(fence=fenced(FencePhase.FENCING)))
        self.under_way: Counter[str] = Counter()

    async def get_server(self, namespace: str, name: str) -> Server:
        return lost(name)

    async def lockers(self, pool: Any, image: str) -> tuple[Locker, ...]:
        return (QEMU,)

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        self.under_way["revoke"] += 1
        await asyncio.sleep(1e9)
        return read

    async def add(self, entries: Collection[Entry]) -> None:
        self.under_way["ban"] += 1
        await asyncio.sleep(1e9)


def lost(name: str) -> Server:
    return replace(IT, uid=f"uid-{name}", name=name, status=replace(IT.status, placement=revoked()))


@pytest.mark.parametrize(
    ("kind", "urgent", "under_way"),
    [
        (Revoke, True, {"revoke": BESIDE_FENCE}),
        (Revoke, False, {"revoke": 8}),
        (BanClients, True, {"ban": 8}),
    ],
)
def test_a_crowd_delays_its_fence_by_no_writes_and_waits_together_for_the_monitors(
    kind: type, urgent: bool, under_way: dict[str, int]
) -> None:
    async def main() -> None:
        outside = Beside()
        by = executor(outside)  # type: ignore[arg-type]
        crowd = [lost(f"s{n}") for n in range(8)]
        if kind is Revoke:
            crowd = [replace(s, status=replace(s.status, placement=placed())) for s in crowd]

        async def one(it: Server) -> None:
            lanes.urgent.set(urgent)
            step = kind(it.uid, it.placement.epoch, "its host is lost")
            await by.run(step, Outlook(), world(*crowd, nodes=(outside.host,), pools=POOLS))

        tasks = [asyncio.create_task(one(it)) for it in crowd]
        await asyncio.sleep(1)
        assert outside.under_way == under_way
        for task in tasks:
            task.cancel()

    run(main())


def test_beside_a_fence_nobody_is_banned_for_a_server_that_is_placed_again() -> None:
    """R7: an operator that was paused between its look and its ban."""

    class PlacedAgain(Beside):
        async def get_server(self, namespace: str, name: str) -> Server:
            return replace(IT, status=replace(IT.status, placement=placed()))

    outside = PlacedAgain()
    by = executor(outside)  # type: ignore[arg-type]
    step = BanClients(IT.uid, IT.placement.epoch, "its host is being fenced")
    with pytest.raises(Outdated):
        run(by.run(step, Outlook(), world(IT, nodes=(outside.host,), pools=POOLS)))
    assert not outside.under_way
