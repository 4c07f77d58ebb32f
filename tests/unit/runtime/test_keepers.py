"""Pools, images and statuses as the leader keeps them; the standby only looks."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from respawn.adapters.kubernetes.codec_node import Columns
from respawn.adapters.kubernetes.resources import VIRTUAL_SERVERS
from respawn.decide import timings
from respawn.decide.election import Standing
from respawn.decide.library import PATIENCE
from respawn.model.base import Now, Owner
from respawn.model.conditions import Condition, Reason, Type, find, is_true
from respawn.model.node import Capacity, Fence, HostStatus, Node
from respawn.model.placement import Phase, Placement
from respawn.model.policy import FAST, Policy
from respawn.model.server import Disk, DiskStatus, Server, ServerSpec, ServerStatus
from respawn.model.storage import Image, Kept, Pool
from respawn.ports.errors import Conflict, PortError, Refused, Unavailable
from respawn.ports.library import Progress, Usage
from respawn.runtime.feed import Feed, Misfit
from respawn.runtime.image_keeper import ImageKeeper
from respawn.runtime.intakes import Aside
from respawn.runtime.pool_keeper import EVERY, SOON, PoolKeeper
from respawn.runtime.status_keeper import StatusKeeper
from respawn.runtime.store import Store

START = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
POOL = Pool(
    "ceph", fsid="f", pool="vms", client="respawn", ready=False, resource_version="1",
    protected_by_us=True,
)  # fmt: skip
IMAGE = Image("i", "lab-guest", pool="ceph", resource_version="1", protected_by_us=True)


class Clock:
    """Time that passes when the test says so; sleepers just take turns."""

    mono = 100.0

    def now(self) -> Now:
        return Now(self.mono, START)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Api:
    """Takes what is written, and gives it a new version."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.error: PortError | None = None

    def _write(self, value: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.written.append(value)
        if isinstance(value, tuple):
            return value
        ready = is_true(value.conditions, Type.READY)
        after = replace(value, resource_version=str(int(value.resource_version) + 1))
        return replace(after, ready=ready) if hasattr(value, "ready") else after

    async def write_pool(self, read: Pool, pool: Pool) -> Pool:
        return self._write(pool)

    async def protect_pool(self, read: Pool, on: bool) -> Pool | None:
        return self._protect(read, on)

    async def protect_image(self, read: Image, on: bool) -> Image | None:
        return self._protect(read, on)

    def _protect(self, read: Any, on: bool) -> Any:
        if not on:
            return None
        version = str(int(read.resource_version) + 1)
        return replace(read, protected_by_us=True, resource_version=version)

    async def write_image(self, read: Image, image: Image) -> Image:
        return self._write(image)

    async def write_policy(self, read: Policy, policy: Policy) -> Policy:
        return self._write(policy)

    async def write_fence(
        self, read: Node, fence: Fence, conditions: tuple[Condition, ...]
    ) -> Node:
        return self._write(read)

    async def write_conditions(
        self, resource: Any, body: Any, conditions: tuple[Condition, ...]
    ) -> None:
        self._write((resource.kind, body["metadata"]["name"], conditions))


class Ceph:
    """A library that answers what the test wants."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.usage_error: PortError | None = None
        self.import_error: PortError | None = None
        self.imports = 0
        self.imported: list[Image] = []
        self.orphans: tuple[Kept, ...] = ()
        self.removed: list[str] = []
        self.remove_error: PortError | None = None
        self.go_on = asyncio.Event()
        self.broken_off = False

    def learn(self, pool: Pool, key: str) -> None:
        self.keys[pool.name] = key

    def forget(self, name: str) -> None:
        del self.keys[name]

    async def usage(self, pool: Pool) -> Usage:
        if self.usage_error is not None:
            raise self.usage_error
        return Usage(100 << 20, 10)

    async def kept(self, pool: Pool, uids: Collection[str]) -> tuple[Kept, ...]:
        return tuple(kept for kept in self.orphans if kept.image[3:] not in uids)

    async def remove_image(self, image: Image, pool: Pool) -> None:
        if self.remove_error is not None:
            raise self.remove_error
        self.removed.append(image.name)

    async def import_image(self, image: Image, pool: Pool, progress: Progress) -> int:
        self.imports += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.broken_off = True
            raise
        if self.import_error is not None:
            raise self.import_error
        self.imported.append(image)
        return 1 << 20


class World:
    """A store, and what a keeper works on."""

    def __init__(self) -> None:
        self.clock, self.api, self.ceph = Clock(), Api(), Ceph()
        self.store = Store(Owner("operator-1", "a"))
        self.key_error: PortError | None = None
        self.lead()

    def lead(self, leads: bool = True) -> None:
        self.store.standing = lambda: Standing(leader=leads)

    async def key(self, pool: Pool) -> str:
        if self.key_error is not None:
            raise self.key_error
        return "secret"

    def pools(self) -> PoolKeeper:
        return PoolKeeper(
            store=self.store,
            writer=self.api,
            key=self.key,
            learn=self.ceph.learn,
            forget=self.ceph.forget,
            library=self.ceph,
            clock=self.clock,
        )

    def images(self) -> ImageKeeper:
        return ImageKeeper(store=self.store, writer=self.api, library=self.ceph, clock=self.clock)

    def statuses(self, feed: Feed, aside: Aside) -> StatusKeeper:
        return StatusKeeper(
            store=self.store,
            aside=aside,
            feed=feed,
            cluster=self.api,  # type: ignore[arg-type]
            clock=self.clock,
            leader_lease=5.0,
        )


def run(keeper: Callable[[World], Any], scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        task = asyncio.create_task(keeper(world).run())
        async with asyncio.timeout(10):
            await scenario(world)
        assert not task.done()
        task.cancel()

    asyncio.run(main())


async def until(good: Callable[[], Any]) -> None:
    while not good():  # noqa: ASYNC110 the keepers take their turns meanwhile
        await asyncio.sleep(0)


async def rounds(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def why(value: Any) -> tuple[str, str]:
    ready = find(value.conditions, Type.READY)
    assert ready is not None
    return ready.status, ready.reason


# Pools.


def test_a_pool_is_ready_once_its_key_is_there_and_ceph_answers() -> None:
    async def scenario(world: World) -> None:
        world.key_error = Refused(Reason.CREDENTIALS_MISSING, "there is no Secret")
        world.store.put_pool(POOL)
        await until(lambda: world.api.written)
        assert why(world.store.pools["ceph"]) == ("False", Reason.CREDENTIALS_MISSING)
        assert is_true(world.store.pools["ceph"].conditions, Type.STALLED)
        world.key_error = None
        world.clock.mono += EVERY
        await until(lambda: world.store.pools["ceph"].ready)
        assert world.ceph.keys == {"ceph": "secret"}
        assert world.store.pools["ceph"].total == 100 << 20
        assert world.store.pools["ceph"].used == 1 << 20
        await rounds()
        assert len(world.api.written) == 2

    run(World.pools, scenario)


def test_a_pool_of_another_cluster_is_refused_with_the_reason() -> None:
    async def scenario(world: World) -> None:
        world.ceph.usage_error = Refused(Reason.POOL_NOT_READY, "another fsid")
        world.store.put_pool(POOL)
        await until(lambda: world.api.written)
        assert why(world.store.pools["ceph"]) == ("False", Reason.POOL_NOT_READY)

    run(World.pools, scenario)


def test_a_pool_is_not_ready_as_soon_as_ceph_has_fallen_silent_and_ready_when_it_answers() -> None:
    """It is known from the hearts, twice a beat: nobody waits for the next look."""

    async def scenario(world: World) -> None:
        world.store.ceph_answered(world.clock.mono)
        world.store.put_pool(POOL)
        await until(lambda: world.store.pools["ceph"].ready)
        begun = world.clock.mono
        for mute in (Unavailable("no answer"), None):  # all of it, or its OSDs alone
            await rounds()  # what follows on its own writes is over
            world.ceph.usage_error = mute
            world.clock.mono += world.store.policy.timings.fence_after + 0.1
            await until(lambda: not world.store.pools["ceph"].ready)
            assert why(world.store.pools["ceph"]) == ("False", Reason.UNREACHABLE)
            await rounds()
            world.ceph.usage_error = None
            world.store.ceph_answered(world.clock.mono)
            await until(lambda: world.store.pools["ceph"].ready)
        assert world.clock.mono - begun < EVERY
        assert len(world.api.written) == 5

    run(World.pools, scenario)


def test_one_lost_answer_is_no_condition_but_two_are() -> None:
    async def scenario(world: World) -> None:
        world.store.put_pool(POOL)
        await until(lambda: world.store.pools["ceph"].ready)
        world.ceph.usage_error = Unavailable("no answer")
        world.clock.mono += EVERY
        await rounds()
        assert world.store.pools["ceph"].ready
        world.clock.mono += SOON
        await until(lambda: not world.store.pools["ceph"].ready)
        assert why(world.store.pools["ceph"]) == ("False", Reason.UNREACHABLE)
        assert world.ceph.keys  # what is known stays in use

    run(World.pools, scenario)


def test_the_standby_learns_the_key_writes_nothing_and_writes_once_it_leads() -> None:
    async def scenario(world: World) -> None:
        world.lead(False)
        world.store.put_pool(POOL)
        await until(lambda: world.ceph.keys)
        await rounds()
        assert not world.api.written
        world.lead()
        await until(lambda: world.store.pools["ceph"].ready)
        world.store.drop_pool("ceph")
        assert not world.ceph.keys

    run(World.pools, scenario)


def test_a_pool_that_could_not_be_written_is_not_left_alone_for_long() -> None:
    async def scenario(world: World) -> None:
        world.api.error = Unavailable("no answer")
        world.store.put_pool(POOL)
        await rounds()
        world.api.error = None
        world.clock.mono += 1.9
        await rounds()
        assert not world.api.written
        world.clock.mono += 0.2
        await until(lambda: world.store.pools["ceph"].ready)

    run(World.pools, scenario)


WITH_A_DISK = Server(
    "u", "customer-a", "web-1", resource_version="1",
    spec=ServerSpec(disks=(Disk("root", "ceph", 1),)),
    status=ServerStatus(disks=(DiskStatus("root", "ceph", "vs-u", 1),)),
)  # fmt: skip


def test_a_pool_outlives_what_is_in_it() -> None:
    async def scenario(world: World) -> None:
        world.store.put_server(WITH_A_DISK)
        world.store.put_pool(replace(POOL, protected_by_us=False))
        await until(lambda: world.store.pools["ceph"].ready)
        pool = world.store.pools["ceph"]
        assert pool.protected_by_us
        version = str(int(pool.resource_version) + 1)
        world.store.put_pool(replace(pool, deleting=True, resource_version=version))
        await until(lambda: why(world.store.pools["ceph"]) == ("False", Reason.DELETING))
        ready = find(world.store.pools["ceph"].conditions, Type.READY)
        assert ready is not None and "VirtualServer customer-a/web-1" in ready.message
        await rounds()
        assert world.ceph.keys
        world.store.drop_server("u")
        await until(lambda: "ceph" not in world.store.pools)

    run(World.pools, scenario)


def test_disks_that_outlive_their_server_are_listed() -> None:
    async def scenario(world: World) -> None:
        world.store.put_server(WITH_A_DISK)
        world.ceph.orphans = (Kept("vs-u", "customer-a/web-1"),)
        world.store.put_pool(POOL)
        await until(lambda: world.store.pools["ceph"].ready)
        assert world.store.pools["ceph"].kept == ()
        world.store.drop_server("u")
        await until(lambda: world.store.pools["ceph"].kept == world.ceph.orphans)
        written = len(world.api.written)
        await rounds()
        assert len(world.api.written) == written

    run(World.pools, scenario)


# Images.


def test_a_golden_image_goes_to_the_trash_before_its_object_goes() -> None:
    async def scenario(world: World) -> None:
        world.ceph.go_on.set()
        world.store.put_pool(READY_POOL)
        world.store.put_image(replace(IMAGE, protected_by_us=False))
        await until(lambda: image(world).ready)
        assert image(world).protected_by_us
        world.ceph.remove_error = Unavailable("no answer")
        version = str(int(image(world).resource_version) + 1)
        world.store.put_image(replace(image(world), deleting=True, resource_version=version))
        await rounds()
        assert image(world).protected_by_us
        world.ceph.remove_error = None
        await until(lambda: not world.store.images)
        assert world.ceph.removed == ["lab-guest"]

    run(World.images, scenario)


READY_POOL = replace(POOL, ready=True)


def image(world: World) -> Image:
    return world.store.images["i"]


def test_an_image_waits_for_its_pool_then_is_imported_once() -> None:
    async def scenario(world: World) -> None:
        world.store.put_image(IMAGE)
        await until(lambda: why_or_none(world) == Reason.UNKNOWN_POOL)
        world.store.put_pool(POOL)
        await until(lambda: why_or_none(world) == Reason.POOL_NOT_READY)
        world.store.put_pool(replace(READY_POOL, resource_version="2"))
        await until(lambda: why_or_none(world) == Reason.IMPORTING)
        assert image(world).phase == "Importing"
        world.api.error = Conflict("somebody wrote")
        world.ceph.go_on.set()
        await rounds()
        world.api.error = None
        await until(lambda: image(world).ready)
        assert (image(world).size, image(world).location) == (1 << 20, "vms/image-i@golden")
        written = len(world.api.written)
        await rounds()
        assert world.ceph.imports == 1
        assert len(world.api.written) == written

    run(World.images, scenario)


def why_or_none(world: World) -> str | None:
    ready = find(image(world).conditions, Type.READY)
    return ready.reason if ready else None


@pytest.mark.parametrize(
    ("error", "reason", "patience", "stalled"),
    [
        (Refused(Reason.CHECKSUM_MISMATCH, "other"), Reason.CHECKSUM_MISMATCH, 600, True),
        (Unavailable("cut off"), Reason.UNREACHABLE, PATIENCE, False),
    ],
)
def test_a_failed_import_says_why_and_is_tried_again_in_time(
    error: PortError, reason: str, patience: float, stalled: bool
) -> None:
    async def scenario(world: World) -> None:
        world.ceph.go_on.set()
        world.ceph.import_error = error
        world.store.put_pool(READY_POOL)
        world.store.put_image(IMAGE)
        await until(lambda: why_or_none(world) == reason)
        assert is_true(image(world).conditions, Type.STALLED) is stalled
        told = find(image(world).conditions, Type.READY)
        assert told is not None and f"tried again every {patience:g} s" in told.message
        world.clock.mono += patience - 1
        await rounds()
        assert world.ceph.imports == 1
        world.ceph.import_error = None
        world.clock.mono += 2
        await until(lambda: image(world).ready)
        assert world.ceph.imports == 2

    run(World.images, scenario)


def test_another_checksum_is_another_import() -> None:
    async def scenario(world: World) -> None:
        world.ceph.go_on.set()
        world.ceph.import_error = Refused(Reason.CHECKSUM_MISMATCH, "other")
        world.store.put_pool(READY_POOL)
        world.store.put_image(IMAGE)
        await until(lambda: why_or_none(world) == Reason.CHECKSUM_MISMATCH)
        world.ceph.import_error = None
        version = str(int(image(world).resource_version) + 1)
        world.store.put_image(replace(image(world), generation=2, resource_version=version))
        await until(lambda: image(world).ready)
        assert image(world).observed_generation == 2

    run(World.images, scenario)


def test_a_spec_that_changed_during_the_import_is_not_what_was_imported() -> None:
    """Until it is recorded as imported, source and checksum may be edited."""

    async def scenario(world: World) -> None:
        world.store.put_pool(READY_POOL)
        world.store.put_image(IMAGE)
        await until(lambda: world.ceph.imports)
        await until(lambda: why_or_none(world) == Reason.IMPORTING)
        version = str(int(image(world).resource_version) + 1)
        edited = replace(
            image(world), checksum="sha256:other", generation=2, resource_version=version
        )
        world.store.put_image(edited)
        world.ceph.import_error = None
        world.ceph.go_on.set()
        await until(lambda: image(world).ready)
        assert [it.checksum for it in world.ceph.imported] == [None, "sha256:other"]

    run(World.images, scenario)


def test_who_leads_no_more_breaks_its_import_off() -> None:
    async def scenario(world: World) -> None:
        world.store.put_pool(READY_POOL)
        world.store.put_image(IMAGE)
        await until(lambda: world.ceph.imports)
        world.lead(False)
        await until(lambda: world.ceph.broken_off)
        written = len(world.api.written)
        await rounds()
        assert len(world.api.written) == written

    run(World.images, scenario)


# The policy, columns, misfits.


class Keeping:
    """A status keeper's surroundings."""

    def __init__(self) -> None:
        self.aside = Aside()
        self.feed: Any = type("Feed", (), {"misfits": {}})()

    def __call__(self, world: World) -> StatusKeeper:
        return world.statuses(self.feed, self.aside)


def test_the_policys_status_tells_what_hosts_may_still_obey() -> None:
    kept = Keeping()

    def host(name: str, acknowledged: int) -> Node:
        return Node(name, host=HostStatus(policy_generation=acknowledged), resource_version="1")

    async def scenario(world: World) -> None:
        def told() -> list[Policy]:
            return [value for value in world.api.written if isinstance(value, Policy)]

        first = Policy(generation=1, resource_version="1", uid="p")
        kept.aside.policy = first
        world.store.put_policy(first)
        world.store.put_node(host("host-1", 1))
        await until(told)
        assert is_true(told()[-1].conditions, Type.ACCEPTED)
        assert is_true(told()[-1].conditions, Type.READY)
        assert told()[-1].earlier == {1: first.timings}
        assert told()[-1].worst_case == 8 + 1 + 5 + timings.COMMITS
        second = replace(kept.aside.policy, timings=FAST, generation=2, resource_version="9")
        kept.aside.policy = second
        world.store.put_policy(second)
        await until(lambda: told()[-1].observed_generation == 2)
        assert told()[-1].earlier == {1: first.timings, 2: FAST}
        world.store.put_node(replace(host("host-1", 2), resource_version="9"))
        await until(lambda: 1 not in told()[-1].earlier)
        await rounds()
        assert len(told()) == 3

    run(kept, scenario)


def test_unsafe_timings_are_said_to_be_so() -> None:
    kept = Keeping()

    async def scenario(world: World) -> None:
        unsafe = replace(FAST, fence_after=1.0)
        kept.aside.policy = Policy(timings=unsafe, generation=4, resource_version="1", uid="p")
        await until(lambda: world.api.written)
        accepted = find(world.api.written[-1].conditions, Type.ACCEPTED)
        assert accepted is not None
        assert (accepted.status, accepted.reason) == ("False", Reason.TIMINGS_UNSAFE)
        assert is_true(world.api.written[-1].conditions, Type.STALLED)
        assert not is_true(world.api.written[-1].conditions, Type.READY)
        await rounds()
        assert len(world.api.written) == 1

    run(kept, scenario)


def test_a_release_of_the_brake_ends_by_itself() -> None:
    kept = Keeping()

    async def scenario(world: World) -> None:
        ended = Policy(brake_released=True, released_until=START, resource_version="1")
        world.store.put_policy(ended)
        await until(lambda: not world.store.policy.brake_released)

    run(kept, scenario)


MIB = 1 << 20


def test_columns_are_written_when_they_differ() -> None:
    kept = Keeping()

    async def scenario(world: World) -> None:
        size = 10 * MIB + 5  # what is used is told rounded up, what is left rounded down
        host = HostStatus(capacity=Capacity(cores=4, memory=size, overhead=7))
        world.store.put_node(Node("host-1", host=host, resource_version="1"))
        placed = Placement(Phase.PLACED, 1, "host-1", "m", "b")
        server = Server("u", "n", "x", ServerSpec(memory=2 * MIB), ServerStatus(placement=placed))
        await until(lambda: world.api.written)
        assert kept.aside.columns == {"host-1": Columns(0, 0, 4, 0, 10 * MIB)}
        world.store.put_server(replace(server, resource_version="1"))
        await until(lambda: len(world.api.written) == 2)
        assert kept.aside.columns == {"host-1": Columns(1, 1, 3, 3 * MIB, 7 * MIB)}
        await rounds()
        assert len(world.api.written) == 2

    run(kept, scenario)


def test_an_object_that_makes_no_sense_is_told_so_once() -> None:
    kept = Keeping()

    async def scenario(world: World) -> None:
        metadata = {"name": "x", "uid": "u", "resourceVersion": "1", "generation": 2}
        body: dict[str, Any] = {"metadata": metadata, "status": "ill"}
        kept.feed.misfits["u"] = Misfit(VIRTUAL_SERVERS, body, "spec.memory.size: is missing")
        await until(lambda: world.api.written)
        kind, name, conditions = world.api.written[-1]
        assert (kind, name) == ("VirtualServer", "x")
        stalled = find(conditions, Type.STALLED)
        assert stalled is not None
        assert stalled.reason == Reason.MALFORMED
        assert "spec.memory.size: is missing" in stalled.message
        await rounds()
        assert len(world.api.written) == 1

    run(kept, scenario)
