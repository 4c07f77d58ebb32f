"""The logs of a lab's parts, by the names that orders know them by."""

from __future__ import annotations

from pathlib import Path

from labkit import ceph, names
from labkit.consoles import STAMPED
from labkit.errors import Unknown
from labkit.state import Folder, LabState

#: what a part is called in orders -> its service
ALIASES = {"api": "kube-apiserver"} | {d: ceph.service(d) for d in names.CEPH_DAEMONS}


def parts(folder: Folder, state: LabState) -> dict[str, Path]:
    """Every log there is, by part."""
    found = {path.stem: path for path in sorted(folder.logs.glob("*.log"))}
    for host in state.hosts:
        for path in sorted(folder.host_logs(host).glob("*.log")):
            found[f"{host}/{path.stem}"] = path
    for path in sorted((folder.consoles / STAMPED).glob("*.log")):
        found[f"console/{path.stem}"] = path
    return found


def find(found: dict[str, Path], part: str) -> Path:
    """The log of PART; raises Unknown, with what there is, if it has none."""
    path = found.get(part) or found.get(ALIASES.get(part, ""))
    of_it = [name for name in found if name.startswith(f"{part}/")]
    if path is None and of_it:
        raise Unknown(f"'{part}' has several logs: {', '.join(of_it)}")
    if path is None:
        raise Unknown(f"no log '{part}'; there are: {', '.join(found) or 'none'}")
    return path
