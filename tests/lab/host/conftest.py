"""A lab whose hosts have the hook, and a driver on host-1."""

import os
from collections.abc import Iterator

import pytest
from hosttool import PYTHON, Disks, Driver, driver_on
from labtool import LabTool, running

INSTALL = "import sys; from respawn.cli.install_hook import main; sys.exit(main([]))"


def install_hook(lab: LabTool, host: str) -> None:
    if "in place" not in lab.on(host, PYTHON, "-c", INSTALL):
        lab("libvirtd", "stop", host)
        lab("libvirtd", "start", host)


@pytest.fixture(scope="session")
def lab() -> Iterator[LabTool]:
    name = os.environ.get("RESPAWN_TEST_LAB", "host")
    with running(name, "--hosts", "2", "--operators", "1", "--bare") as tool:
        for host in ("host-1", "host-2"):
            install_hook(tool, host)
        yield tool


@pytest.fixture
def driver(lab: LabTool) -> Iterator[Driver]:
    with driver_on(lab, "host-1") as tool:
        yield tool


@pytest.fixture
def guest(lab: LabTool, driver: Driver) -> Iterator[Disks]:
    """A running server with a blank disk, epoch 1, as host-1's agent would have started it."""
    disks = Disks(lab)
    driver("create", **disks.order(1))
    driver("told")
    yield disks
    driver("kill", **disks.of(1))
