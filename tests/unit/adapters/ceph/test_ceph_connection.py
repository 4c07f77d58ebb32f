"""Handles and connections, with a librados that answers as told."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

rados = pytest.importorskip("rados", reason="Debian's python3-rados")

from respawn.adapters.ceph import connection, errors  # noqa: E402
from respawn.adapters.ceph.access import Access  # noqa: E402
from respawn.adapters.ceph.connection import Connection  # noqa: E402
from respawn.adapters.ceph.errors import Shut, TimedOut  # noqa: E402
from respawn.adapters.ceph.handle import Handle, entity_address  # noqa: E402
from respawn.model.conditions import Reason  # noqa: E402
from respawn.ports.errors import Conflict, NotFound, Refused, Unavailable  # noqa: E402


class FakeRados:
    """As much of rados.Rados as a Handle touches."""

    def __init__(self, number: int = 0) -> None:
        self.number, self.shut_down = number, threading.Event()

    def get_addrs(self) -> str:
        return f"198.51.100.201:0/{self.number}"

    def get_fsid(self) -> str:
        return "fsid"

    def shutdown(self) -> None:
        self.shut_down.set()


class Cluster:
    """Counts connects; each gives a handle of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[FakeRados] = []
        self.failure: Exception | None = None
        self.delay = 0.0
        monkeypatch.setattr(connection, "connect", self.connect)

    def connect(self, access: Access) -> Handle:
        time.sleep(self.delay)
        if self.failure:
            raise self.failure
        self.made.append(FakeRados(len(self.made)))
        return Handle(access, self.made[-1])


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


ACCESS = Access("respawn", "fsid", ("198.51.100.1:3300",), "key")


def scenario(test: Callable[[Connection], Any], access: list[Access] | None = None) -> None:
    given = access or [ACCESS]

    async def main() -> None:
        made = Connection(lambda: given[-1], purpose="test", threads=2)
        try:
            await test(made)
        finally:
            await made.close()

    asyncio.run(main())


def raising(error: Exception) -> Callable[[Handle], None]:
    def work(_: Handle) -> None:
        raise error

    return work


def test_one_handle_serves_all_calls(cluster: Cluster) -> None:
    cluster.delay = 0.05

    async def test(made: Connection) -> None:
        answers = await asyncio.gather(*(made.run("ask", lambda h: h.address) for _ in range(9)))
        assert set(answers) == {"198.51.100.201:0/0"}
        assert made.addresses == {"198.51.100.201:0/0"}

    scenario(test)
    assert len(cluster.made) == 1
    assert cluster.made[0].shut_down.wait(5)


@pytest.mark.parametrize(
    ("number", "port_error"), [(108, Shut), (110, TimedOut)], ids=["blocklisted", "timed out"]
)
def test_a_handle_that_is_of_no_use_is_thrown_away(
    cluster: Cluster, number: int, port_error: type[Unavailable]
) -> None:
    async def test(made: Connection) -> None:
        await made.run("ask", lambda h: None)
        with pytest.raises(port_error):
            await made.run("ask", raising(rados.OSError("no", errno=number)))
        assert await made.run("ask", lambda h: h.address) == "198.51.100.201:0/1"

    scenario(test)
    assert cluster.made[0].shut_down.wait(5)


def test_other_errors_cost_no_handle(cluster: Cluster) -> None:
    async def test(made: Connection) -> None:
        for error, expected in (
            (rados.ObjectNotFound("no", errno=2), NotFound),
            (rados.ObjectExists("no", errno=17), Conflict),
            (rados.PermissionError("no", errno=1), Refused),
            (rados.OSError("no", errno=5), Unavailable),
            (Refused(Reason.DISK_FAILED), Refused),
        ):
            with pytest.raises(expected):
                await made.run("ask", raising(error))

    scenario(test)
    assert len(cluster.made) == 1


def test_a_call_that_hangs_costs_its_deadline_and_keeps_its_handle_alive(cluster: Cluster) -> None:
    free = threading.Event()

    async def test(made: Connection) -> None:
        # Connected before, and time for the thread to begin: else no call is under way at the end.
        await made.run("ask", lambda h: None)
        begun = time.monotonic()
        with pytest.raises(TimedOut):
            await made.run("hang", lambda h: free.wait(20), deadline=0.5)
        assert time.monotonic() - begun < 10
        await made.close()
        assert not cluster.made[0].shut_down.wait(0.1), "shut down under a thread's feet"
        free.set()
        assert await asyncio.to_thread(cluster.made[0].shut_down.wait, 5)

    scenario(test)


def test_a_failed_connect_is_told_to_all_and_tried_again(cluster: Cluster) -> None:
    cluster.delay, cluster.failure = 0.02, Unavailable("no monitor")

    async def test(made: Connection) -> None:
        calls = (made.run("ask", lambda h: None) for _ in range(5))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 5
        cluster.failure = None
        await made.run("ask", lambda h: None)

    scenario(test)


def test_a_new_key_makes_a_new_connection(cluster: Cluster) -> None:
    given = [ACCESS]

    async def test(made: Connection) -> None:
        await made.run("ask", lambda h: None)
        given.append(Access("respawn", "fsid", ("198.51.100.1:3300",), "new key"))
        await made.run("ask", lambda h: None)
        for _ in range(500):
            if (await made.handle()).access.key == "new key":
                break
            await asyncio.sleep(0.01)
        assert (await made.handle()).access.key == "new key"
        assert await asyncio.to_thread(cluster.made[0].shut_down.wait, 5), "the old one is given up"

    scenario(test, given)
    assert len(cluster.made) == 2


def test_a_call_whose_thread_is_not_free_yet_keeps_its_handle(cluster: Cluster) -> None:
    given = [ACCESS]
    free = threading.Event()

    async def test(made: Connection) -> None:
        await made.run("ask", lambda h: None)
        busy = [asyncio.create_task(made.run("hang", lambda h: free.wait(10))) for _ in range(2)]
        await asyncio.sleep(0)
        given.append(Access("respawn", "fsid", ("198.51.100.1:3300",), "new key"))
        late = asyncio.create_task(made.run("ask", lambda h: h.address))
        gone = asyncio.create_task(made.run("ask", lambda h: None, deadline=0.01))
        with pytest.raises(TimedOut):
            await gone
        for _ in range(500):
            if (await made.handle()).access.key == "new key":
                break
            await asyncio.sleep(0.01)
        free.set()
        assert await late == "198.51.100.201:0/0"
        await asyncio.gather(*busy)
        assert await asyncio.to_thread(cluster.made[0].shut_down.wait, 5), "by its last user"

    scenario(test, given)


def test_nothing_of_another_cluster_stays_in_use(cluster: Cluster) -> None:
    given = [ACCESS]

    async def test(made: Connection) -> None:
        await made.run("ask", lambda h: None)
        given.append(Access("respawn", "another fsid", ("198.51.100.9:3300",), "key"))
        cluster.failure = Unavailable("no monitor")
        with pytest.raises(Unavailable):
            await made.run("ask", lambda h: None)

    scenario(test, given)


def test_a_wrong_key_does_not_take_the_working_connection_away(cluster: Cluster) -> None:
    given = [ACCESS]

    async def test(made: Connection) -> None:
        await made.run("ask", lambda h: None)
        cluster.failure = Refused(Reason.POOL_NOT_READY, "no such client")
        given.append(Access("respawn", "fsid", ("198.51.100.1:3300",), "wrong key"))
        for _ in range(500):
            assert await made.run("ask", lambda h: h.address) == "198.51.100.201:0/0"
            if made.trouble is not None:
                break
            await asyncio.sleep(0.01)
        assert isinstance(made.trouble, Refused), "and it is told"
        assert await made.run("ask", lambda h: h.address) == "198.51.100.201:0/0"
        given.append(ACCESS)
        await made.handle()
        assert made.trouble is None, "the right key is back"

    scenario(test, given)
    assert len(cluster.made) == 1


def test_a_retired_handle_ends_with_its_last_user() -> None:
    fake = FakeRados()
    handle = Handle(ACCESS, fake)
    with handle.used():
        with handle.used():
            handle.retire()
            handle.retire()
        assert not fake.shut_down.is_set()
        with pytest.raises(Unavailable):
            handle.acquire()
    assert fake.shut_down.wait(5)


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("198.51.100.201:0/7", "198.51.100.201:0/7"),
        ("v1:198.51.100.201:0/7", "198.51.100.201:0/7"),
        ("[2001:db8::1]:0/7", "[2001:db8::1]:0/7"),
        ("v2:[2001:db8::1]:0/7", "[2001:db8::1]:0/7"),
        ("[v2:198.51.100.201:0/7,v1:198.51.100.201:0/7]", "198.51.100.201:0/7"),
    ],
)
def test_the_own_address_is_written_as_the_blocklist_writes_it(told: str, address: str) -> None:
    class Told(FakeRados):
        def get_addrs(self) -> str:
            return told

    assert entity_address(Told()) == address


def test_an_error_without_a_number_is_unknown() -> None:
    with pytest.raises(Unavailable), errors.translated("ask"):
        raise rados.Error("something")
