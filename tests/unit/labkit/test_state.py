"""The lab's folder: its lock, its record, what a crash leaves of its shape."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit import lab, state
from labkit.errors import Unknown
from labkit.host import new_state
from labkit.lifecycle import Shape
from labkit.state import Folder, LabState


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "ROOT", tmp_path / "labs")
    return tmp_path / "labs"


def test_the_lock_leaves_nothing_behind_and_what_a_lab_needs_is_kept(root: Path) -> None:
    with Folder("x").locked():
        pass
    assert not root.exists()
    with Folder("x").locked():
        Folder("x").save(LabState("x"))
    assert Folder("x").load().name == "x"


def test_a_lab_that_is_taken_down_and_brought_up_under_one_lock_stays_locked(root: Path) -> None:
    folder = Folder("x")
    with folder.locked():
        folder.save(LabState("x"))
        (folder / "hosts").mkdir()
        folder.clear()
        assert list(folder.path.iterdir()) == []
        folder.save(LabState("x"))
        assert _asked_elsewhere(root, "Folder('x').is_locked()") == "True"
    assert _asked_elsewhere(root, "Folder('x').is_locked()") == "False"


def _asked_elsewhere(root: Path, question: str) -> str:
    """What another process answers."""
    lines = (
        "from pathlib import Path; from labkit import state; from labkit.state import Folder",
        f"state.ROOT = Path({str(root)!r})",
        f"print({question})",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_the_lock_can_be_left_to_the_program_that_clears_up(root: Path) -> None:
    """As `up` does when it is broken off: whoever waits must not have its new lab removed."""
    lines = (
        "import os; from pathlib import Path; from labkit import state",
        "from labkit.state import Folder",
        f"state.ROOT = Path({str(root)!r})",
        "with Folder('x').locked():",
        "    Folder('x').bequeath_lock()",
        "    os.execv('/bin/cat', ['cat'])",
    )
    program = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        env={"PYTHONPATH": ":".join(sys.path)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdin is not None and program.stdout is not None
    program.stdin.write(b"now\n")
    program.stdin.flush()
    assert program.stdout.readline() == b"now\n"  # it is cat by now
    assert Folder("x").is_locked()
    program.stdin.close()
    program.wait()
    assert not Folder("x").is_locked()


def test_an_order_that_waits_for_another_says_so_and_then_has_the_lab(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "TELL_OF_WAITING_S", 0.05)
    told, done, order = threading.Event(), threading.Event(), []

    def say(text: str) -> None:
        order.append(text)
        told.set()

    def second() -> None:
        with Folder("x").locked():
            order.append("second")
        done.set()

    monkeypatch.setattr(state, "say", say)
    with Folder("x").locked():
        waiter = threading.Thread(target=second)
        waiter.start()
        assert told.wait(10)
        order.append("first ends")
    assert done.wait(10)
    waiter.join()
    waits = "another order to lab 'x' is being carried out: waiting for its end"
    assert order == [waits, "first ends", "second"]


def test_hosts_that_boot_side_by_side_write_one_record() -> None:
    folder = Folder("x")
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(folder.save, LabState("x", port=i)) for i in range(200)]:
            written.result()
    assert folder.load().name == "x"


def test_a_record_of_another_version_can_be_read() -> None:
    folder = Folder("x")
    folder.save(LabState("x", hosts={"host-1": new_state("host-1")}))
    raw = json.loads(folder.record.read_text())
    raw["hosts"]["host-1"]["powered"] = raw["more"] = True
    folder.record.write_text(json.dumps(raw))
    assert list(folder.load().hosts) == ["host-1"]


def test_a_lab_that_is_being_brought_up_has_not_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder("x")
    folder.save(LabState("x"))
    with pytest.raises(Unknown, match="was never brought up to its end"):
        lab.Lab.open("x")
    monkeypatch.setattr(Folder, "is_locked", lambda _: True)
    with pytest.raises(Unknown, match="is being brought up"):
        lab.Lab.open("x")
    folder.save(LabState("x", complete=True))
    with pytest.raises(Unknown, match="has crashed"):
        lab.Lab.open("x")


BEFORE = LabState(
    "x", profile="fast", operators=1, bare=True,
    hosts={name: new_state(name) for name in ("host-1", "host-7")},
)  # fmt: skip


def test_up_after_a_crash_makes_the_lab_that_was_there() -> None:
    again = Shape().state("x", BEFORE)
    assert (list(again.hosts), again.operators) == (["host-1", "host-7"], 1)
    assert (again.profile, again.bare, again.complete) == ("fast", True, False)


def test_what_the_user_says_wins_over_what_was_there() -> None:
    again = Shape(hosts=2, operators=3, profile="default").state("x", BEFORE)
    assert (list(again.hosts), again.operators) == (["host-1", "host-2"], 3)
    assert again.profile == "default"


def test_a_new_lab_has_three_hosts_and_two_operators() -> None:
    new = Shape().state("x", None)
    assert (list(new.hosts), new.operators) == (["host-1", "host-2", "host-3"], 2)
    assert (new.profile, new.bare) == ("default", False)
