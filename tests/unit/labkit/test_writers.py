"""Who could write, joined from QEMUs and Ceph's lists."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rbd", reason="Debian's python3-rbd")
pytest.importorskip("libvirt", reason="Debian's python3-libvirt")

from labkit import cephview, truth, views
from labkit.cephview import ImageClients
from labkit.truth import Qemu
from labkit.writers import Seen, remember, rows, writers

IMAGE = "vms/vs-1-root"


def qemu(pid: int, **more: object) -> Qemu:
    facts = {
        "pid": pid, "host": "host-1", "uid": "u", "domain": "vs-u.1", "epoch": 1,
        "images": [IMAGE], "incoming": False, "stopped": False, "started_at": None,
        "start_ticks": 7, "state": "running",
    }  # fmt: skip
    return Qemu(**{**facts, **more})  # type: ignore[arg-type]


def test_without_ceph_the_qemus_are_told_and_what_only_ceph_knows_is_unknown() -> None:
    (row,) = rows([qemu(5)], None, {})
    assert (row["image"], row["active"], row["watchers"], row["lockers"]) == (IMAGE, *[None] * 3)
    (told,) = row["qemus"]
    assert told["blocklisted"] is None
    assert (told["pid"], told["role"], told["state"]) == (5, "active", "running")
    assert set(told) == {"host", "pid", "uid", "epoch", "state", "role", "blocklisted"}
    text = views.writers({"images": [row]})
    assert text.count("unknown") == 2 and "False" not in text
    assert "customer-a/web-1" in views.writers({"images": [row]}, {5: "customer-a/web-1"})


def test_two_that_are_active_are_counted_and_a_fenced_one_is_not() -> None:
    seen = Seen([], {IMAGE: ImageClients(), "vms/idle": ImageClients()})
    both = [qemu(5), qemu(6, host="host-2", state="paused")]
    idle, row = rows(both, seen, {})
    assert (idle["image"], idle["active"], idle["qemus"]) == ("vms/idle", 0, [])
    assert row["active"] == 2 and "more than one" in views.writers({"images": [row]})
    seen.blocklist = ["198.51.100.12:0/0"]
    assert rows(both, seen, {})[1]["active"] == 1


def test_one_that_ended_before_ceph_answered_was_let_in_by_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host saw it end and reported so, and the fence was lifted, all during one look."""
    stale, current = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    found = [qemu(p.pid, start_ticks=ticks(p.pid)) for p in (stale, current)]

    def ceph_answers(lab: object, look: object) -> Seen:
        stale.kill()
        os.waitid(os.P_PID, stale.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is waited for
        return Seen([], {IMAGE: ImageClients()})

    monkeypatch.setattr(truth, "qemus", lambda lab: found)
    monkeypatch.setattr(cephview, "question", ceph_answers)
    lab: Any = SimpleNamespace(folder=tmp_path)
    try:
        (row,) = writers(lab)["images"]
        assert [told["pid"] for told in row["qemus"]] == [current.pid]
        assert row["active"] == 1
    finally:
        current.kill()
        stale.wait()
        current.wait()


def ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def own_key(image: str) -> str:
    return f"{os.getpid()}@{ticks(os.getpid())} {image}"


def test_what_was_seen_is_kept_while_the_process_lives_whoever_asks_at_once(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    path.write_text(json.dumps({"1@77777 vms/gone": [9], own_key("vms/kept"): [1]}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: remember(path, {own_key("vms/new"): {n}}), range(40)))
    assert json.loads(path.read_text()) == {
        own_key("vms/kept"): [1],
        own_key("vms/new"): list(range(40)),
    }
