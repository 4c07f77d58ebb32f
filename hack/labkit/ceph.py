"""A real Ceph in the lab: one mon, one mgr, three OSDs on memstore, cephx with least caps."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Collection
from pathlib import Path

from labkit import names
from labkit.errors import LabError
from labkit.namespaces import Inside, in_network, nice
from labkit.pki import write_private
from labkit.state import Folder, LabState
from labkit.supervise import Supervisor

NICE = -5
OSDS = (0, 1, 2)
#: seconds an OSD has to write its memory down before it is killed, which would lose all of it
STOP_PATIENCE_S = 60.0
#: OSDs go while the mon still hears them leave, and come when it is there to let them in
STOP_ORDER = (*names.CEPH_DAEMONS[2:], "mgr.x", "mon.a")
#: storage network namespace of hearts inside the pool
HEART_NAMESPACE = "respawn"
OPERATOR_CLIENT = "respawn"


def service(daemon: str) -> str:
    """The supervisor's name of a daemon: osd.0 -> ceph-osd.0."""
    return f"ceph-{daemon}"


def fsid_conf(fsid: str) -> str:
    address = names.CEPH_ADDRESS
    return (
        f"fsid = {fsid}\n"
        f"mon host = [v2:{address}:3300,v1:{address}:6789]\n"
        "auth cluster required = cephx\n"
        "auth service required = cephx\n"
        "auth client required = cephx\n"
    )


def _cluster_conf(folder: Folder, fsid: str) -> str:
    root = folder.ceph
    return f"""[global]
{fsid_conf(fsid)}public network = {names.PLANE_NETS["storage"]}.0/24
cluster network = {names.PLANE_NETS["storage"]}.0/24
run dir = {root}/run
pid file =
log file =
log to stderr = true
admin socket = {root}/run/$cluster-$name.asok
keyring = {root}/$name.keyring
paxos propose interval = 0.05
paxos min wait = 0.01
auth allow insecure global id reclaim = false
osd pool default size = 3
osd pool default min size = 2
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool delete = true
mon warn on pool no redundancy = false
# OSDs that fail fast: the lab is small, and its faults are meant
mon osd reporter subtree level = osd
mon osd min down reporters = 1
osd heartbeat grace = 6
osd heartbeat interval = 2
rbd default clone format = 2
[mon]
mon data = {root}/mon.$id
mgr initial modules =
mon data avail warn = 3
mon data avail crit = 1
[mgr]
mgr data = {root}/mgr.$id
[osd]
osd data = {root}/osd.$id
osd objectstore = memstore
# memstore is written to its folder when the OSD unmounts it, which a fast shutdown leaves out:
# an OSD that is stopped by order has its data when it is started again
osd fast shutdown = false
memstore device bytes = 2147483648
osd memory target = 939524096
[client]
admin socket =
log file = /dev/null
log to stderr = false
"""


def create(folder: Folder, state: LabState, lab: Inside, supervisor: Supervisor) -> None:
    """Make a fresh cluster, start it, and create the pool and the keys. ~10 s."""
    state.fsid = str(uuid.uuid4())
    root = folder.ceph
    root.mkdir(parents=True, exist_ok=True)
    (root / "run").mkdir(exist_ok=True)
    (root / "ceph.conf").write_text(_cluster_conf(folder, state.fsid))
    _make_monitor(folder, state, lab)
    _define(folder, supervisor)
    supervisor.start(service("mon.a"))
    _wait_monitor(folder, lab)
    _make_manager_and_osds(folder, lab)
    for daemon in names.CEPH_DAEMONS[1:]:
        supervisor.start(service(daemon))
    wait_osds(folder, lab)
    _make_pool(folder, lab)
    mark(folder, state, lab)
    _make_operator_key(folder, lab)


def _define(folder: Folder, supervisor: Supervisor) -> None:
    for daemon in names.CEPH_DAEMONS:
        kind, _, ident = daemon.partition(".")
        argv = [f"ceph-{kind}", "-f", "-i", ident, "-c", str(folder.ceph / "ceph.conf")]
        supervisor.define(
            service(daemon),
            [*in_network("ceph"), *nice(NICE), *argv],
            stop_patience=STOP_PATIENCE_S,
        )


def run(
    folder: Folder, lab: Inside, command: list[str], *, check: bool = True, timeout: float = 30
) -> str:
    """A ceph, rbd or rados command as the administrator of the lab's cluster; its output."""
    return lab.run(
        command, network="ceph", env=_environment(folder), check=check, timeout=timeout
    ).stdout


def _environment(folder: Folder) -> dict[str, str]:
    return {"CEPH_CONF": str(folder.ceph / "ceph.conf"), "CEPH_ARGS": ""}


def _make_monitor(folder: Folder, state: LabState, lab: Inside) -> None:
    root = folder.ceph
    admin, mon = root / "client.admin.keyring", root / "mon.a.keyring"
    address = names.CEPH_ADDRESS
    _script(
        lab,
        f"""
ceph-authtool --create-keyring {admin} --gen-key -n client.admin \
  --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
ceph-authtool --create-keyring {mon} --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool {mon} --import-keyring {admin} >/dev/null
monmaptool --create --addv a '[v2:{address}:3300,v1:{address}:6789]' --fsid {state.fsid} \
  {root}/monmap >/dev/null
mkdir -p {root}/mon.a
ceph-mon -c {root}/ceph.conf --mkfs -i a --monmap {root}/monmap --keyring {mon}
chmod 600 {admin} {mon}
""",
    )


def _script(lab: Inside, text: str) -> None:
    lab.run(["/bin/bash", "-euc", text], network="ceph")


def _wait_monitor(folder: Folder, lab: Inside, timeout: float = 20.0) -> None:
    run(folder, lab, ["timeout", str(timeout), "ceph", "-s"], timeout=timeout + 5)


def _make_manager_and_osds(folder: Folder, lab: Inside) -> None:
    root = folder.ceph
    lines = [
        f"export CEPH_CONF={root}/ceph.conf",
        f"mkdir -p {root}/mgr.x",
        "ceph auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' "
        f"-o {root}/mgr.x.keyring",
    ]
    for osd in OSDS:
        ident, keyring = uuid.uuid4(), f"{root}/osd.{osd}.keyring"
        lines += [
            f"mkdir -p {root}/osd.{osd}",
            f"ceph-authtool --create-keyring {keyring} --gen-key -n osd.{osd} >/dev/null",
            f"S=$(ceph-authtool {keyring} -n osd.{osd} --print-key)",
            f'echo "{{\\"cephx_secret\\":\\"$S\\"}}" | ceph osd new {ident} {osd} -i - >/dev/null',
            f"ceph-osd -i {osd} --mkfs --osd-uuid {ident} >/dev/null 2>&1 &",
        ]
    lines.append("for job in $(jobs -p); do wait $job; done")
    _script(lab, "\n".join(lines))


def wait_osds(
    folder: Folder, lab: Inside, osds: Collection[int] = OSDS, timeout: float = 60.0
) -> None:
    """Until the OSDs are up: by the mon's map, and by their own word that they have seen it.

    The map alone may still mean the process before.
    """
    deadline = time.monotonic() + timeout
    while True:
        missing = {osd for osd in osds if not _is_active(folder, osd)}
        if not missing:
            asked = ["timeout", "20", "ceph", "osd", "dump", "-f", "json"]
            dump = json.loads(run(folder, lab, asked))
            missing = set(osds) - {row["osd"] for row in dump["osds"] if row["up"]}
        if not missing:
            return
        if time.monotonic() > deadline:
            who = ", ".join(f"osd.{osd}" for osd in sorted(missing))
            raise LabError(f"not up after {timeout:.0f} s: {who}")
        time.sleep(0.1)


def _is_active(folder: Folder, osd: int) -> bool:
    """What the OSD says of itself at its admin socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(str(folder.ceph / f"run/ceph-osd.{osd}.asok"))
            connection.sendall(b'{"prefix": "status"}\0')
            answer = connection.makefile("rb").read()
        except OSError:
            return False
    try:
        return bool(json.loads(answer[4:])["state"] == "active")  # after its length
    except ValueError:
        return False  # it ended while it spoke


def wait_back(
    folder: Folder, lab: Inside, supervisor: Supervisor, daemons: Collection[str]
) -> None:
    """Until DAEMONS, which have just been started or thawed, do their work."""
    states = {name: s["state"] for name, s in supervisor.services().items()}
    runs = {d for d in names.CEPH_DAEMONS if states[service(d)] == "running"}
    if "mon.a" not in runs:
        return  # no OSD can join now
    if "mon.a" in daemons:
        _wait_monitor(folder, lab)
        daemons = runs
    wait_osds(folder, lab, [o for o in OSDS if f"osd.{o}" in runs and f"osd.{o}" in daemons])


def mark(folder: Folder, state: LabState, lab: Inside) -> None:
    """Write a new mark into the pool, and remember it: it tells whether what follows is kept.

    OSDs that are killed come back with what they last wrote down. Each has the others to get the
    rest from, unless all are killed: then the mark is gone, or an earlier one is there.
    """
    value = str(uuid.uuid4())
    put = ["timeout", "30", *_RADOS_MARK, "put", MARK, "-"]
    lab.run(put, network="ceph", env=_environment(folder), stdin=value)
    state.mark = value
    folder.save(state)


def check_data(folder: Folder, state: LabState, lab: Inside) -> None:
    """Raises LabError when the OSDs have lost what was in their memory; renews the mark."""
    try:
        found = run(folder, lab, ["timeout", "30", *_RADOS_MARK, "get", MARK, "-"], timeout=40)
    except LabError as error:
        raise LabError(f"{_LOST} (its mark cannot be read: {error})") from error
    if state.mark not in found:
        raise LabError(f"{_LOST} (its mark is an earlier one)")
    mark(folder, state, lab)


MARK = "mark"
_RADOS_MARK = ("rados", "-p", names.POOL, "-N", "lab")
_LOST = (
    f"the pool {names.POOL} has lost data: OSDs keep it in memory, and all were killed; "
    "take the lab down and bring it up"
)


def _make_pool(folder: Folder, lab: Inside) -> None:
    script = f"""
export CEPH_CONF={folder.ceph}/ceph.conf
ceph osd pool create {names.POOL} 16 >/dev/null 2>&1
rbd pool init {names.POOL}
"""
    _script(lab, script)


def key(folder: Folder, lab: Inside, client: str, **caps: str) -> str:
    """The key of client.CLIENT, made with CAPS (mon=…, osd=…) if it is new."""
    words = [word for who, what in caps.items() for word in (who, what)]
    out = run(
        folder, lab, ["ceph", "auth", "get-or-create", f"client.{client}", *words, "-f", "json"]
    )
    found: str = json.loads(out)[0]["key"]
    return found


def _make_operator_key(folder: Folder, lab: Inside) -> str:
    secret = key(
        folder,
        lab,
        OPERATOR_CLIENT,
        mon='allow r, allow command "osd blocklist"',
        osd=f"profile rbd pool={names.POOL}, "
        f"allow rw pool={names.POOL} namespace={HEART_NAMESPACE}",
    )
    write_private(folder.ceph / f"client.{OPERATOR_CLIENT}.key", secret.encode())
    return secret


def host_key(folder: Folder, lab: Inside, host: str) -> str:
    """One key per host: its images, and its own heart. It can fence nobody."""
    pool, space = names.POOL, HEART_NAMESPACE
    return key(
        folder,
        lab,
        host,
        mon="allow r",
        osd=f'profile rbd pool={pool} namespace="", '
        f"allow rw pool={pool} namespace={space} object_prefix heart.{host}.",
    )


def client_files(folder: Folder, state: LabState, lab: Inside, host: str, etc: Path) -> None:
    """/etc/ceph of a host: a ceph.conf and the host's own keyring."""
    (etc / "ceph").mkdir(parents=True, exist_ok=True)
    (etc / "ceph/ceph.conf").write_text(
        f"[global]\n{fsid_conf(state.fsid)}[client]\nadmin socket =\nlog file = /dev/null\n"
    )
    secret = host_key(folder, lab, host)
    keyring = f"[client.{host}]\n\tkey = {secret}\n"
    write_private(etc / f"ceph/ceph.client.{host}.keyring", keyring.encode())
