"""Bringing a lab up, repairing it, taking it down."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from labkit import ceph, controlplane, install, names, network
from labkit.binaries import control_plane
from labkit.errors import LabError
from labkit.host import Host, is_machine, new_state
from labkit.lab import Lab
from labkit.namespaces import HERE, SYSTEM_PYTHON, in_network, start_namespace, unshared
from labkit.progress import say, step
from labkit.state import ROOT, Folder, HostState, LabState
from labkit.supervise import Supervisor, init_pid, kill_namespace

NICE_QEMU = """#!/bin/bash
# A guest is a session of its own, as yet without niceness. libvirtd's session, in which it tries
# QEMU out, keeps its own: see namespaces.nice.
if [[ -e /proc/self/autogroup && $(</proc/self/autogroup) == *" nice 0" ]]; then
  echo 10 > /proc/self/autogroup
fi
renice -n 10 -p $$ >/dev/null
exec -a /usr/bin/qemu-system-x86_64 /usr/bin/qemu-system-x86_64.real "$@"
"""

DEFAULT_HOSTS = 3


def _start_lab_namespace(folder: Folder, state: LabState) -> Lab:
    listener = controlplane.open_listener()
    state.port = listener.getsockname()[1]
    folder.save(state)
    folder.logs.mkdir(parents=True, exist_ok=True)
    command = unshared(HERE / "lab-boot.sh", folder.socket, folder.logs, str(listener.fileno()))
    pid = start_namespace(
        command,
        socket=folder.socket,
        log=folder.logs / "init.log",
        env={"LAB_NAME": state.name},
        pass_fds=[listener.fileno()],
    )
    listener.close()  # the lab's PID 1 has it now
    return Lab(folder, state, pid)


def _prepare(lab: Lab) -> None:
    folder = lab.folder
    for path in (folder.pki, folder.consoles, folder / "hosts"):
        path.mkdir(parents=True, exist_ok=True)
    wrapper = folder / "nice-qemu"
    wrapper.write_text(NICE_QEMU)
    wrapper.chmod(0o755)
    network.build_switches(lab.inside)
    for index in range(1, lab.state.operators + 1):
        addresses = {
            plane: f"{names.operator_address(plane, index)}/24"
            for plane in ("management", "storage")
        }
        network.add_network(lab.inside, f"op-{index}", addresses)
    lab.supervisor.define(
        "consoles", [SYSTEM_PYTHON, "-SE", str(HERE / "consoles.py"), str(folder.consoles)]
    )
    lab.supervisor.start("consoles")
    _start_dhcp(lab)


def _start_dhcp(lab: Lab) -> None:
    leases = lab.folder / "dhcp.leases"
    lab.supervisor.define(
        "dhcp",
        [
            *in_network("tenant"), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
            "--port=0", "--interface=ten0", "--bind-interfaces", "--no-ping",
            "--dhcp-authoritative", "--dhcp-rapid-commit",
            "--dhcp-range=10.40.1.1,10.40.250.254,infinite",
            f"--dhcp-leasefile={leases}", "--user=root", "--log-facility=-",
            "--dhcp-option=3", "--dhcp-option=6",
        ],
    )  # fmt: skip
    lab.supervisor.start("dhcp")


def _start_control_plane(lab: Lab) -> None:
    with step("etcd and kube-apiserver"):
        controlplane.define(lab.folder, lab.state, lab.authority(), lab.supervisor)
        controlplane.start(lab.supervisor)
        controlplane.wait_ready(lab.folder, lab.state)


def _start_ceph(lab: Lab) -> None:
    with step("Ceph: mon, mgr, 3 OSDs"):
        ceph.create(lab.folder, lab.state, lab.inside, lab.supervisor)
        lab.folder.save(lab.state)


def _start_host(lab: Lab, host: Host) -> None:
    with step(f"{host.name}: network, libvirtd"):
        host.install(lab.authority())
        host.power_on()


@dataclass(frozen=True)
class Shape:
    """What `up` was asked for; None: not said."""

    hosts: int | None = None
    operators: int | None = None
    profile: str | None = None
    bare: bool = False

    def state(self, name: str, before: LabState | None) -> LabState:
        """A new lab of this shape; what is not said is as it was BEFORE a crash."""
        was = before or LabState(name=name, hosts=_fresh_hosts(DEFAULT_HOSTS))
        state = LabState(
            name=name,
            profile=self.profile or was.profile,
            operators=self.operators or was.operators,
            bare=self.bare or was.bare,
        )
        state.hosts = (
            _fresh_hosts(self.hosts) if self.hosts else {h: new_state(h) for h in was.hosts}
        )
        return state


def _fresh_hosts(count: int) -> dict[str, HostState]:
    return {f"host-{i}": new_state(f"host-{i}") for i in range(1, count + 1)}


def up(
    name: str,
    *,
    hosts: int | None = None,
    operators: int | None = None,
    profile: str | None = None,
    bare: bool = False,
) -> Lab:
    """Bring a lab up, or repair one: what runs is left, what does not is started."""
    folder, before = Folder(name), None
    if folder.exists():
        before = folder.load()
        if before.complete and init_pid(folder.socket) is not None:
            return repair(Lab.open(name))
        say(f"lab '{name}' is left from a crash: taking the rest of it down first")
        down(name)
    state = Shape(hosts, operators, profile, bare).state(name, before)
    if before is not None:
        say(f"and bringing it up with {', '.join(state.hosts)}, operators: {state.operators}")
    control_plane()
    started = time.monotonic()
    try:
        lab = _build(folder, state)
    except KeyboardInterrupt:
        say("interrupted: taking down what was started")
        _break_off(folder)
    except BaseException as error:
        if state.complete and isinstance(error, LabError):
            # everything was started, but not all is well: the logs tell why
            say(f"the lab is left up: hack/lab logs --name {name}")
            raise
        say("taking down what was started")
        _take_down(folder)
        raise
    say(f"  ✓ lab '{name}' is up  ({time.monotonic() - started:.1f} s)")
    return lab


def _build(folder: Folder, state: LabState) -> Lab:
    folder.save(state)
    with step("namespaces and switches"):
        lab = _start_lab_namespace(folder, state)
        _prepare(lab)
        lab.authority()
    side_by_side(lab, [lambda: _start_ceph(lab), lambda: _start_control_plane(lab)])
    calls = [partial(_start_host, lab, host) for host in lab.hosts()]
    if not state.bare:
        calls.append(partial(install.install, lab))
    side_by_side(lab, calls)
    state.complete = True
    folder.save(state)
    if not state.bare:
        with step("everything Ready"):
            install.wait_ready(lab)
    return lab


def side_by_side(lab: Lab, calls: Sequence[Callable[[], None]]) -> None:
    """Run calls in threads. The first failure, or Ctrl-C, kills the lab, which ends the others."""
    pool = ThreadPoolExecutor(4)
    futures: list[Future[None]] = []
    try:
        for call in calls:  # one by one: Ctrl-C may come between two of them
            futures.append(pool.submit(call))
        for future in as_completed(futures):
            future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        kill_namespace(lab.folder.socket)
        wait(futures)  # each fails at its next call into the lab; none may write once it is removed
        raise
    pool.shutdown()


def repair(lab: Lab) -> Lab:
    """Undo every fault that may be in force: thaw, heal, power on, start."""
    started = time.monotonic()
    with step("services and switches"):
        _wake(lab.supervisor, [n for n in lab.supervisor.services() if not is_machine(n)])
        for set_name, ports in network.cut_ports(lab.inside).items():
            network.change(lab.inside, "delete", set_name, sorted(ports))
    with step("API server and Ceph"):
        controlplane.wait_ready(lab.folder, lab.state)
        ceph.wait_osds(lab.folder, lab.inside)
        ceph.check_data(lab.folder, lab.state, lab.inside)
    with step("hosts"):
        for host in lab.hosts():
            _repair_host(lab, host)
    if not lab.state.bare:
        with step("everything Ready"):
            install.add_nodes(lab, lab.hosts())
            install.wait_ready(lab)
    say(f"  ✓ lab '{lab.state.name}' is well  ({time.monotonic() - started:.1f} s)")
    return lab


def _repair_host(lab: Lab, host: Host) -> None:
    if host.pid() is not None:
        host.thaw()
    host.install(lab.authority())
    host.power_on()
    supervisor = host.supervisor()
    _wake(supervisor, list(supervisor.services()))
    host.wait_libvirtd()


def _wake(supervisor: Supervisor, services: Sequence[str]) -> None:
    states = supervisor.services()
    for name in services:
        if states[name]["state"] == "frozen":
            supervisor.order(op="thaw", name=name)
        elif states[name]["state"] in ("stopped", "dead"):
            supervisor.start(name)


# --- down


def down(name: str) -> bool:
    """Take the lab down with all that it started; False when there was none."""
    folder = Folder(name)
    if not folder.exists() and init_pid(folder.socket) is None:
        return False
    _take_down(folder)
    return True


def _break_off(folder: Folder) -> NoReturn:
    """Take everything down and end with 130, whatever the threads of `up` are doing just now.

    Ctrl-C may come at any moment, so nobody knows what still writes into the folder: becoming
    another program ends every thread, and only then is the folder removed. The lock is held until
    that is done: an `up` that waits for it must not find its own new lab removed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C is no other wish
    kill_namespace(folder.socket)
    folder.bequeath_lock()
    script = 'rm -rf -- "$1"; rmdir -- "$2" 2>/dev/null; exit 130'
    sys.stderr.flush()
    os.execv("/bin/sh", ["sh", "-c", script, "sh", str(folder.path), str(ROOT)])


def _take_down(folder: Folder) -> None:
    # everything of the lab lives in the PID, mount and network namespaces of this one process
    kill_namespace(folder.socket)
    folder.clear()
