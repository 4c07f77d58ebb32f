"""Hearts in a real Ceph: a host beats from its own network with its own key, the operator reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import rados
from heart_contract import HOST, HeartContract, Run, beat, counters, read_until
from labnet import Inside, host_access, host_network, inside, operator_access
from labtool import ROOT, LabTool, eventually

from labkit import names
from labkit.lab import Lab
from respawn.adapters.ceph import monitor, session
from respawn.adapters.ceph.access import fixed
from respawn.adapters.ceph.fence import CephFence
from respawn.adapters.ceph.handle import connect
from respawn.adapters.ceph.hearts import CephHeart, CephHearts
from respawn.adapters.ceph.host import HostCeph
from respawn.agent.heart_files import Account, HeartFiles
from respawn.model.node import Form
from respawn.model.sight import Beat, HeartServer
from respawn.model.storage import Entry, bans
from respawn.ports.errors import PortError, Refused, Unavailable

pytestmark = pytest.mark.lab

ADDRESS = names.host_address("storage", 1)


@pytest.fixture(scope="module")
def run(operator: Inside) -> Run:
    return operator.run


@pytest.fixture(scope="module")
def reads(ceph_insides: Lab, run: Run) -> Iterator[CephHearts]:
    access = fixed(operator_access(ceph_insides))
    made = CephHearts(access, pool=names.POOL, me="operator-1")
    yield made
    run(made.close())


@pytest.fixture
def fence(ceph_insides: Lab, run: Run) -> Iterator[CephFence]:
    made = CephFence(fixed(operator_access(ceph_insides)))
    yield made
    run(made.remove([Entry(ADDRESS, form) for form in Form]))
    run(made.close())


@pytest.fixture
def host(ceph_insides: Lab) -> Iterator[Inside]:
    with inside(host_network(ceph_insides, HOST)) as there:
        yield there


class HeartThere:
    """HeartWrites that live in the host's network, to be awaited anywhere."""

    def __init__(self, there: Inside, heart: CephHeart) -> None:
        self._there, self._heart = there, heart

    async def beat(self, beat: Beat) -> None:
        done = asyncio.run_coroutine_threadsafe(self._heart.beat(beat), self._there.loop)
        await asyncio.wrap_future(done)


Writes = Callable[[str], HeartThere]
Fenced = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def writes(ceph_insides: Lab, host: Inside) -> Iterator[Writes]:
    """A new heart of a host; always with the key of host-1."""
    made: list[CephHeart] = []
    access = fixed(host_access(ceph_insides, HOST))

    def write(name: str) -> HeartThere:
        made.append(CephHeart(access, pool=names.POOL, host=name))
        return HeartThere(host, made[-1])

    yield write
    for heart in made:
        host.run(heart.close())


@pytest.fixture(params=list(Form), ids=[str(form) for form in Form])
def fenced(request: pytest.FixtureRequest, fence: CephFence, run: Run) -> Fenced:
    """Host-1 blocklisted, in each form."""
    entry = Entry(ADDRESS, request.param)

    @contextmanager
    def shut_out(_host: str) -> Iterator[None]:
        run(fence.add([entry]))
        try:
            yield
        finally:
            run(fence.remove([entry]))

    return shut_out


class TestRealHearts(HeartContract):
    def test_every_beat_changes_the_content_also_after_a_restart(
        self, reads: CephHearts, writes: Writes, run: Run
    ) -> None:
        seen = [-1]
        for _ in range(3):
            heart = writes(HOST)
            for _ in range(2):
                run(heart.beat(beat(0)))
                before = seen[-1]
                read_until(run, reads, lambda beats, b=before: max(counters(beats)) > b)
                seen.append(max(counters(run(reads.read(HOST)))))
        assert seen == sorted(set(seen))

    def test_a_later_boot_counts_higher(self, reads: CephHearts, writes: Writes, run: Run) -> None:
        run(writes(HOST).beat(beat(50_000, "boot-1")))
        run(writes(HOST).beat(beat(1, "boot-2")))
        found = read_until(
            run, reads, lambda beats: all(b and b.boot_id == "boot-2" for b in beats)
        )
        assert min(counters(found)) > 50_000


# --- where they are


@pytest.fixture
def primaries(ceph_insides: Lab, operator: Inside) -> Iterator[Callable[[], dict[str, int]]]:
    """Acting primary OSD of each heart object of host-1 that exists."""
    handle = operator.call(lambda: connect(operator_access(ceph_insides)))

    def work() -> dict[str, int]:
        ioctx = handle.ioctx(names.POOL, "respawn")
        there = [o.key for o in ioctx.list_objects() if o.key.startswith(f"heart.{HOST}.")]
        return {name: session.primary(handle, names.POOL, name) for name in sorted(there)}

    yield lambda: operator.call(work)
    handle.retire()


def test_two_objects_on_two_primaries(
    writes: Writes, run: Run, primaries: Callable[[], dict[str, int]]
) -> None:
    for _ in range(3):
        run(writes(HOST).beat(beat(0)))
    found = primaries()
    assert len(found) == 2
    assert len(set(found.values())) == 2


@contextmanager
def osd_down(lab: LabTool, insides: Lab, osd: int) -> Iterator[None]:
    lab("ceph", "stop", f"osd.{osd}")
    try:
        yield
    finally:
        lab("ceph", "start", f"osd.{osd}")
        eventually("all OSDs are up", lambda: '"num_up_osds": 3' in _osd_stat(lab))
        eventually("all placement groups are active", lambda: _all_active(lab))


def _osd_stat(lab: LabTool) -> str:
    return lab.ceph("ceph", "osd", "stat", "-f", "json-pretty")


def _all_active(lab: LabTool) -> bool:
    return "active+clean" in lab.ceph("ceph", "pg", "stat") and all(
        word not in lab.ceph("ceph", "pg", "stat") for word in ("peering", "down", "unknown")
    )


def test_an_osd_that_dies_holds_up_no_beat_and_moves_no_heart(
    ceph_lab: LabTool, ceph_insides: Lab, reads: CephHearts, writes: Writes, run: Run,
    primaries: Callable[[], dict[str, int]],
) -> None:  # fmt: skip
    heart = writes(HOST)
    run(heart.beat(beat(0)))
    run(reads.read(HOST))
    before = primaries()
    dead = next(iter(before.values()))
    with osd_down(ceph_lab, ceph_insides, dead):
        slowest = 0.0
        for _ in range(10):
            begun = time.monotonic()
            run(heart.beat(beat(0)))
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 1.0, "one acknowledgement is enough"
        # what cannot be read is unknown; when the OSD was marked down, both can be read again
        eventually("both are readable again", lambda: can_read(run, reads), timeout=40)
        assert set(primaries()) == set(before)
        # who starts while the OSD is down finds the same places
        run(writes(HOST).beat(beat(0)))
        assert set(primaries()) == set(before)
        last = max(counters(run(reads.read(HOST))))
        run(heart.beat(beat(last + 10)))
        read_until(run, reads, lambda beats: counters(beats) == [last + 10] * 2)
    assert set(primaries()) == set(before)


def can_read(run: Run, reads: CephHearts) -> bool:
    try:
        run(reads.read(HOST))
    except Unavailable:
        return False
    return True


def test_a_frozen_osd_makes_it_unknown_within_the_deadline(
    ceph_lab: LabTool, reads: CephHearts, writes: Writes, run: Run,
    primaries: Callable[[], dict[str, int]],
) -> None:  # fmt: skip
    run(writes(HOST).beat(beat(0)))
    run(reads.read(HOST))
    frozen = next(iter(primaries().values()))
    ceph_lab("ceph", "freeze", f"osd.{frozen}")
    try:
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            run(reads.read(HOST))
        assert time.monotonic() - begun < 4
    finally:
        ceph_lab("ceph", "thaw", f"osd.{frozen}")
    eventually("both are readable again", lambda: can_read(run, reads), timeout=40)
    eventually("all placement groups are active", lambda: _all_active(ceph_lab))


def test_what_is_no_beat_is_unknown(
    ceph_insides: Lab, reads: CephHearts, writes: Writes, run: Run, host: Inside,
    primaries: Callable[[], dict[str, int]],
) -> None:  # fmt: skip
    run(writes(HOST).beat(beat(0)))
    handle = host.call(lambda: connect(host_access(ceph_insides, HOST)))
    for name in primaries():
        host.call(lambda n=name: handle.ioctx(names.POOL, "respawn").write_full(n, b"{nonsense"))
    handle.retire()
    with pytest.raises(Unavailable):
        run(reads.read(HOST))
    run(writes(HOST).beat(beat(0)))
    read_until(run, reads, lambda beats: None not in beats)


# --- least caps


def test_a_hosts_key_fences_nobody_and_frees_nobody(
    ceph_insides: Lab, host: Inside, fence: CephFence, run: Run
) -> None:
    run(fence.add([Entry(ADDRESS, Form.RANGE)]))
    evil = CephFence(fixed(host_access(ceph_insides, HOST)))
    other = names.host_address("storage", 2)
    for entry in (
        Entry(other, Form.IP),
        Entry(other, Form.RANGE),
        Entry(f"{other}:0/4711"),
    ):
        with pytest.raises(Refused):
            host.run(evil.add([entry]))
    for form in Form:
        with pytest.raises(Refused):
            host.run(evil.remove([Entry(ADDRESS, form)]))
    listing = run(fence.listing())
    assert not bans(listing, f"{other}:0/4711")
    assert bans(listing, f"{ADDRESS}:0/1")
    host.run(evil.close())


def test_a_hosts_key_beats_only_its_own_heart(
    ceph_insides: Lab, host: Inside, writes: Writes, run: Run
) -> None:
    for other in ("host-2", "host-10", "host-"):
        with pytest.raises(PortError):
            run(writes(other).beat(beat(0)))
    handle = host.call(lambda: connect(host_access(ceph_insides, HOST)))
    ioctx = handle.ioctx(names.POOL, "respawn")
    for name in ("heart.host-2.0", "heart.host-10.0", "heart.host-1", "proof.operator-1.0"):
        for attempt in (
            lambda n=name: ioctx.write_full(n, b"x"),
            lambda n=name: ioctx.remove_object(n),
            lambda n=name: ioctx.read(n),
        ):
            with pytest.raises(rados.PermissionError):
                host.call(attempt)
    other_namespace = handle.ioctx(names.POOL, "elsewhere")
    with pytest.raises(rados.PermissionError):
        host.call(lambda: other_namespace.write_full("heart.host-1.0", b"x"))
    handle.retire()


def test_a_hosts_key_is_good_for_nothing_else_at_the_monitors(
    ceph_insides: Lab, host: Inside
) -> None:
    handle = host.call(lambda: connect(host_access(ceph_insides, HOST)))
    for fields in ({"prefix": "auth ls"}, {"prefix": "osd down", "ids": ["0"]}):
        with pytest.raises(Refused):
            host.call(lambda f=fields: monitor.command(handle.cluster, **f))
    handle.retire()


def test_a_blocklisted_host_reads_the_blocklist(
    ceph_insides: Lab, host: Inside, fence: CephFence, run: Run
) -> None:
    ceph = HostCeph(fixed(host_access(ceph_insides, HOST)))
    assert host.run(ceph.address()) == ADDRESS
    assert not bans(host.run(ceph.blocklist()), f"{ADDRESS}:0/1")
    run(fence.add([Entry(ADDRESS, Form.IP)]))
    assert bans(host.run(ceph.blocklist()), f"{ADDRESS}:0/1")
    ceph.close()


# --- the process


class HeartProcess:
    """`respawn heart` on host-1, under the host's supervisor."""

    NAME = "heart-under-test"

    def __init__(self, insides: Lab) -> None:
        self.host = insides.host(HOST)
        self.files = HeartFiles(Path(f"/proc/{self.host.on()}/root/run/respawn"))
        self.supervisor = self.host.supervisor()
        self.supervisor.define(
            self.NAME,
            [
                "env", f"PYTHONPATH={ROOT}/operator", f"{ROOT}/.venv/bin/python", "-P",
                "-m", "respawn.agent.heart",
            ],
        )  # fmt: skip
        self.supervisor.start(self.NAME)

    @property
    def service(self) -> dict[str, Any]:
        return dict(self.supervisor.services()[self.NAME])

    def hand_over(self, *servers: HeartServer, heartbeat: float = 0.25) -> None:
        self.files.hand_over(servers, heartbeat=heartbeat, now=time.monotonic())

    def account(self) -> Account:
        return eventually("the heart tells", self.files.account, timeout=20)

    def stop(self) -> None:
        self.supervisor.stop(self.NAME)
        self.supervisor.order(op="forget", name=self.NAME)


@pytest.fixture
def process(ceph_insides: Lab) -> Iterator[HeartProcess]:
    made = HeartProcess(ceph_insides)
    yield made
    made.stop()


def advances(run: Run, reads: CephHearts, timeout: float = 20) -> float:
    """Wait for a beat that is newer than what is there now; returns the seconds it took."""
    begun = time.monotonic()
    eventually("the heart can be read", lambda: can_read(run, reads), timeout)
    last = max(counters(run(reads.read(HOST))), default=-1)

    def newer() -> bool:
        return can_read(run, reads) and max(counters(run(reads.read(HOST))), default=-1) > last

    eventually("the heart beats", newer, timeout, period=0.02)
    return time.monotonic() - begun


def stands_still(run: Run, reads: CephHearts, seconds: float) -> bool:
    before = run(reads.read(HOST))
    time.sleep(seconds)
    return bool(run(reads.read(HOST)) == before)


def test_the_process_beats_as_told(
    process: HeartProcess, reads: CephHearts, run: Run, ceph_insides: Lab
) -> None:
    process.hand_over(HeartServer("uid-9", 4, "paused"))
    advances(run, reads)
    found = read_until(run, reads, lambda beats: all(b and b.servers and b.boot_id for b in beats))[
        0
    ]
    assert found is not None
    state = ceph_insides.host(HOST).state
    assert found.servers == (HeartServer("uid-9", 4, "paused"),)
    assert Lab.open(ceph_insides.state.name).state.hosts[HOST].boot_id == found.boot_id
    assert found.machine_id == state.machine_id
    begun, first = time.monotonic(), max(counters(run(reads.read(HOST))))
    time.sleep(2)
    beats = max(counters(run(reads.read(HOST)))) - first
    assert 0.6 < beats * 0.25 / (time.monotonic() - begun) < 1.4, "a beat each 250 ms"


def test_the_process_lives_through_a_fence_and_beats_after_the_lift(
    process: HeartProcess, reads: CephHearts, run: Run, fence: CephFence
) -> None:
    process.hand_over()
    advances(run, reads)
    pid = process.service["pid"]
    run(fence.add([Entry(ADDRESS, Form.IP)]))
    eventually("it knows that it is fenced", lambda: process.account().refused)
    assert stands_still(run, reads, 2)
    run(fence.remove([Entry(ADDRESS, Form.IP)]))
    print(f"lift to beat: {advances(run, reads):.2f} s")
    eventually("it knows that it is not", lambda: not process.account().refused)
    assert process.service["pid"] == pid, "the same process all the time"


@pytest.mark.extended
def test_the_process_beats_soon_after_a_cut_has_healed(
    process: HeartProcess, reads: CephHearts, run: Run, ceph_lab: LabTool
) -> None:
    process.hand_over()
    advances(run, reads)
    pid = process.service["pid"]
    ceph_lab("host", "cut", HOST, "storage")
    try:
        eventually("it notices", lambda: bool(process.account().error))
        assert stands_still(run, reads, 15)
    finally:
        ceph_lab("host", "heal", HOST, "storage")
    spent = advances(run, reads)
    print(f"heal to beat: {spent:.2f} s")
    assert spent < 6, "TCP's back-off would be waited for"
    assert process.service["pid"] == pid


def test_the_process_lives_through_a_ceph_that_stands_still(
    process: HeartProcess, reads: CephHearts, run: Run, ceph_lab: LabTool
) -> None:
    process.hand_over()
    advances(run, reads)
    pid = process.service["pid"]
    ceph_lab("ceph", "freeze", "all")
    try:
        eventually("it notices", lambda: bool(process.account().error))
        time.sleep(4)
    finally:
        ceph_lab("ceph", "thaw", "all")
    advances(run, reads, timeout=60)
    assert process.service["pid"] == pid
    eventually("all placement groups are active", lambda: _all_active(ceph_lab))


def test_what_the_agent_no_longer_vouches_for_is_not_told(
    process: HeartProcess, reads: CephHearts, run: Run
) -> None:
    old = time.monotonic() - 60
    process.files.hand_over([HeartServer("uid-9", 4, "running")], heartbeat=0.25, now=old)
    advances(run, reads)
    advances(run, reads)
    found = read_until(run, reads, lambda beats: None not in beats)
    assert all(beat is not None and beat.servers == () for beat in found)
