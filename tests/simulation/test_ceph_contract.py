"""The simulated Ceph keeps to the cases that the real one is held to in the lab."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random

import pytest
from fence_contract import FenceContract, Run
from heart_contract import HeartContract
from images_contract import ImagesContract
from tests.simulation.ceph import CephPort, FakeCeph, HeartPort
from tests.simulation.loop import VirtualLoop
from tests.simulation.net import Kernel, Net, Process

from respawn.model.node import Form
from respawn.model.storage import Entry, Image, Pool

OPERATOR, HOST = "198.51.100.201", "198.51.100.11"


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


@pytest.fixture
def run(loop: VirtualLoop) -> Run:
    return loop.run_until_complete


@pytest.fixture
def net() -> Net:
    return Net(Random(1))


@pytest.fixture
def ceph(net: Net) -> FakeCeph:
    return FakeCeph(net, lambda: None)


@pytest.fixture
def port(ceph: FakeCeph) -> CephPort:
    return CephPort(ceph, Process("operator", Kernel(OPERATOR)))


class TestFakeFence(FenceContract):
    @pytest.fixture
    def fence(self, port: CephPort) -> CephPort:
        return port


class TestFakeHearts(HeartContract):
    @pytest.fixture
    def reads(self, port: CephPort) -> CephPort:
        return port

    @pytest.fixture
    def writes(self, ceph: FakeCeph) -> Callable[[str], HeartPort]:
        return lambda host: HeartPort(ceph, Process("heart", Kernel(HOST)), host)

    @pytest.fixture(params=list(Form))
    def fenced(
        self, request: pytest.FixtureRequest, ceph: FakeCeph
    ) -> Callable[[str], AbstractContextManager[None]]:
        @contextmanager
        def shut_out(_host: str) -> Iterator[None]:
            entry = Entry(HOST, request.param)
            ceph.add([entry])
            yield
            ceph.remove([entry])

        return shut_out


class TestFakeImages(ImagesContract):
    @pytest.fixture
    def images(self, port: CephPort) -> CephPort:
        return port

    @pytest.fixture
    def pool(self) -> Pool:
        return Pool("ceph", pool="vms")

    @pytest.fixture
    def golden(self) -> Image:
        return Image("image-uid", "debian", "ceph", size=8 << 20, ready=True)

    @pytest.fixture
    def held(self, ceph: FakeCeph, run: Run) -> Callable[[str], AbstractContextManager[None]]:
        @contextmanager
        def hold(name: str) -> Iterator[None]:
            client = ceph.new_client(HOST)

            async def open_it() -> None:
                ceph.open(name, client)

            run(open_it())
            yield
            ceph.close(client)

        return hold
