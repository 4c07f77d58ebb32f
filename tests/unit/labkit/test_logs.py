"""Which log is meant."""

from pathlib import Path

import pytest

from labkit import logs
from labkit.errors import Unknown
from labkit.host import new_state
from labkit.state import Folder, LabState


def test_logs_are_found_by_the_names_of_orders_and_of_services(tmp_path: Path) -> None:
    folder = Folder("x")
    folder.path = tmp_path
    for name in ("logs/kube-apiserver", "logs/ceph-mon.a", "logs/ceph-osd.0", "logs/operator-1",
                 "hosts/host-1/logs/agent", "consoles/stamped/vs-u"):  # fmt: skip
        path = tmp_path / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    parts = logs.parts(folder, LabState("x", hosts={"host-1": new_state("host-1")}))
    said = {
        "api": "logs/kube-apiserver",
        "kube-apiserver": "logs/kube-apiserver",
        "mon.a": "logs/ceph-mon.a",
        "osd.0": "logs/ceph-osd.0",
        "operator-1": "logs/operator-1",
        "host-1/agent": "hosts/host-1/logs/agent",
        "console/vs-u": "consoles/stamped/vs-u",
    }
    assert {part: logs.find(parts, part).read_text() for part in said} == said
    for bad in ("", "nothing", "mgr.x", "host-1"):
        with pytest.raises(Unknown):
            logs.find(parts, bad)
