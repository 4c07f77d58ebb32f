"""What the witness makes of a host that is well, ill, cut off, or gone. Asked from an operator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosttool import PYTHON, Disks, Driver
from labtool import LabTool, eventually

from labkit.lab import Lab

pytestmark = pytest.mark.lab
DEADLINE = 2.0
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def pki(lab: LabTool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a client certificate that the hosts know as the operator's."""
    authority = Lab.open(lab.name).authority()
    certificate, key = authority.issue(
        "witness", common_name="operator", organizations=["respawn-lab"]
    )
    folder = tmp_path_factory.mktemp("pki")
    for name, source in {
        "cacert.pem": authority.certificate_path,
        "clientcert.pem": certificate,
        "clientkey.pem": key,
    }.items():
        (folder / name).write_bytes(source.read_bytes())
    return folder


@pytest.fixture
def ask(lab: LabTool, pki: Path) -> Ask:
    def asked(*uids: str, machine: str | None = None) -> dict[str, Any]:
        opened = Lab.open(lab.name)
        machine = machine or opened.state.hosts["host-1"].machine_id
        script = str(Path(__file__).with_name("ask_witness.py"))
        argv = opened.inside.argv(
            [PYTHON, script, str(pki), "1", machine, str(DEADLINE), *uids], network="op-1"
        )
        answer = dict(json.loads(subprocess.run(argv, check=True, capture_output=True).stdout))
        print(answer)
        assert answer["s"] < DEADLINE + 0.5
        return answer

    return asked


@pytest.fixture
def healed(lab: LabTool) -> Iterator[None]:
    """Whatever a test breaks on host-1 is mended after it.

    No driver runs meanwhile: its nsenter would stop with a frozen host, and stay so.
    """
    yield
    lab("up", timeout=300)


def test_a_healthy_host_is_told_with_the_boot_of_its_domains(
    ask: Ask, driver: Driver, guest: Disks
) -> None:
    boot = driver("identity")["boot_id"]
    stranger = "00000000-0000-4000-8000-000000000000"
    assert {**ask(stranger, guest.uid), "s": 0} == {"answer": "Libvirt", "boot_id": boot, "s": 0}
    assert ask()["boot_id"] is None  # libvirt alone does not know


def test_another_machine_at_its_address_is_not_its_libvirt(ask: Ask) -> None:
    assert ask(machine="11111111-1111-4111-8111-111111111111")["answer"] == "Kernel"


@pytest.mark.usefixtures("healed")
def test_with_libvirtd_stopped_or_frozen_only_the_kernel_answers(lab: LabTool, ask: Ask) -> None:
    lab("libvirtd", "stop", "host-1")
    assert ask()["answer"] == "Kernel"
    lab("libvirtd", "start", "host-1")
    lab("libvirtd", "freeze", "host-1")
    assert ask()["answer"] == "Kernel"
    lab("libvirtd", "thaw", "host-1")
    assert ask()["answer"] == "Libvirt"


@pytest.mark.usefixtures("healed")
def test_a_frozen_host_answers_by_its_kernel(lab: LabTool, ask: Ask) -> None:
    lab("host", "freeze", "host-1")
    assert ask()["answer"] == "Kernel"


@pytest.mark.usefixtures("healed")
def test_a_host_without_power_is_silent(lab: LabTool, ask: Ask) -> None:
    lab("host", "power-off", "host-1")
    assert ask()["answer"] == "Silence"
    lab("host", "power-on", "host-1")
    assert ask()["answer"] == "Libvirt"


@pytest.mark.usefixtures("healed")
def test_what_cut_planes_leave_to_be_heard(lab: LabTool, ask: Ask) -> None:
    lab("host", "cut", "host-1", "storage")
    assert ask()["answer"] == "Libvirt"
    lab("host", "cut", "host-1", "management")
    assert ask()["answer"] == "Silence"
    lab("host", "heal", "host-1", "storage")
    assert ask()["answer"] == "Kernel"
    lab("host", "heal", "host-1", "management")
    eventually("it is heard again", lambda: ask()["answer"] == "Libvirt")


def test_a_libvirt_that_hangs_on_a_domain_has_answered(
    lab: LabTool, ask: Ask, driver: Driver
) -> None:
    disks = Disks(lab)
    driver("set_guard", mode="hang")
    creating = driver.begin("create", **disks.order(1))
    eventually("the question", lambda: driver("told")["asked"], period=0.02)
    assert ask(disks.uid)["answer"] == "Libvirt"
    driver("set_guard", mode="yes")
    assert creating.exception(10) is None
