"""Orders to services in sequence, given to a real supervisor with small real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import services
from labkit.errors import LabError, Unknown
from labkit.namespaces import HERE
from labkit.services import VERBS, order
from labkit.supervise import Supervisor, init_pid

SLEEPS = ["sleep", "600"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    socket = tmp_path / "s"
    command = [sys.executable, "-SE", str(HERE / "supervisor.py"), str(socket), str(tmp_path)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while init_pid(socket) is None:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        there = Supervisor(socket)
        there.define("one", SLEEPS)
        there.define("two", SLEEPS)
        order(there, ["one", "two"], "start", VERBS)
        yield there
        for name in ("one", "two"):
            there.stop(name)
    finally:
        process.kill()
        process.wait()


def state(supervisor: Supervisor, name: str = "one") -> str:
    return str(supervisor.services()[name]["state"])


def pid(supervisor: Supervisor, name: str = "one") -> int:
    return int(supervisor.services()[name]["pid"])


def test_a_second_kill_is_for_the_process_that_comes_after_the_first(
    supervisor: Supervisor,
) -> None:
    order(supervisor, ["one"], "kill", VERBS)
    assert state(supervisor) == "waiting"
    order(supervisor, ["one"], "kill", VERBS)
    order(supervisor, ["one"], "start", VERBS)
    assert supervisor.services()["one"]["restarts"] == 2


def test_a_freeze_right_after_a_kill_freezes_what_comes_back(supervisor: Supervisor) -> None:
    before = pid(supervisor)
    order(supervisor, ["one"], "kill", VERBS)
    order(supervisor, ["one"], "freeze", VERBS)
    assert state(supervisor) == "frozen" and pid(supervisor) not in (0, before)
    order(supervisor, ["one"], "freeze", VERBS)
    with pytest.raises(Unknown, match="one is frozen: thaw it"):
        order(supervisor, ["one"], "start", VERBS)
    order(supervisor, ["one"], "thaw", VERBS)
    order(supervisor, ["one"], "thaw", VERBS)
    assert state(supervisor) == "running"


def test_a_stop_ends_a_frozen_one_and_one_that_is_about_to_come_back(
    supervisor: Supervisor,
) -> None:
    order(supervisor, ["one"], "freeze", VERBS)
    order(supervisor, ["two"], "kill", VERBS)
    order(supervisor, ["one", "two"], "stop", VERBS)
    assert (state(supervisor), state(supervisor, "two")) == ("stopped", "stopped")
    order(supervisor, ["one", "two"], "stop", VERBS)
    for verb in ("kill", "freeze", "thaw"):
        with pytest.raises(Unknown, match="one is stopped"):
            order(supervisor, ["one"], verb, VERBS)


def test_nothing_is_done_when_one_of_several_cannot_take_the_order(
    supervisor: Supervisor,
) -> None:
    supervisor.stop("two")
    with pytest.raises(Unknown):
        order(supervisor, ["one", "two"], "freeze", VERBS)
    assert state(supervisor) == "running"


def test_a_program_that_ends_at_once_is_not_started(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "START_PATIENCE_S", 0.5)
    supervisor.define("short", ["sleep", "0.05"])
    with pytest.raises(LabError, match="short does not stay up"):
        order(supervisor, ["short"], "start", VERBS)
    supervisor.stop("short")


def test_what_ignores_sigterm_is_given_its_own_patience(supervisor: Supervisor) -> None:
    supervisor.define(
        "deaf", ["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"], stop_patience=0.2
    )
    order(supervisor, ["deaf"], "start", VERBS)
    before = time.monotonic()
    supervisor.stop("deaf")
    assert 0.2 <= time.monotonic() - before < 5


class OfCeph:
    """What `services.of_ceph` asks and orders, of a supervisor that knows states alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **states: str) -> None:
        self.states = {
            f"ceph-{d}": "running" for d in ("mon.a", "mgr.x", "osd.0", "osd.1", "osd.2")
        }
        self.states |= {f"ceph-{k.replace('_', '.')}": v for k, v in states.items()}
        self.ordered: list[str] = []
        self.supervisor = self
        self.folder = self.inside = None
        self.state = None
        monkeypatch.setattr(services.ceph, "wait_back", lambda *_: None)
        monkeypatch.setattr(services.ceph, "mark", lambda *_: None)
        monkeypatch.setattr(services, "wait_settled", lambda *_: None)

    def services(self) -> dict[str, dict[str, object]]:
        return {name: {"state": state, "pid": 1} for name, state in self.states.items()}

    def order(self, *, op: str, name: str) -> None:
        self.ordered.append(name.removeprefix("ceph-"))


def test_osds_are_stopped_before_the_mon_and_started_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ceph = OfCeph(monkeypatch)
    services.of_ceph(ceph, "all", "stop")  # type: ignore[arg-type]
    assert ceph.ordered == ["osd.0", "osd.1", "osd.2", "mgr.x", "mon.a"]
    ceph = OfCeph(monkeypatch, **dict.fromkeys(("mon_a", "osd_1"), "stopped"))
    services.of_ceph(ceph, "all", "start")  # type: ignore[arg-type]
    assert ceph.ordered[0] == "mon.a" and len(ceph.ordered) == 5


def test_all_of_ceph_is_frozen_but_for_what_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ceph = OfCeph(monkeypatch, osd_1="stopped")
    services.of_ceph(ceph, "all", "freeze")  # type: ignore[arg-type]
    assert "osd.1" not in ceph.ordered and len(ceph.ordered) == 4
    ceph = OfCeph(
        monkeypatch, **dict.fromkeys(("mon_a", "mgr_x", "osd_0", "osd_1", "osd_2"), "stopped")
    )
    with pytest.raises(Unknown):
        services.of_ceph(ceph, "all", "thaw")  # type: ignore[arg-type]
    with pytest.raises(Unknown):
        services.of_ceph(ceph, "osd.1", "freeze")  # type: ignore[arg-type]
    with pytest.raises(Unknown, match="no Ceph daemon"):
        services.of_ceph(ceph, "osd.9", "stop")  # type: ignore[arg-type]
    assert ceph.ordered == []
