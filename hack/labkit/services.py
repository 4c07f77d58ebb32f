"""Orders to services: of a host, of the lab, of Ceph. Each returns when its effect is true."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from labkit import ceph, controlplane, install, names
from labkit.errors import LabError, Unknown
from labkit.lab import Lab
from labkit.supervise import Supervisor
from respawn.model.actions import CRASH_POINTS

VERBS = ("stop", "start", "kill", "freeze", "thaw")
VERBS_NO_KILL = ("stop", "start", "freeze", "thaw")
#: orders that arm a step of an operator -> what tells the process
POINT_VARIABLES = {"crash-after": "RESPAWN_CRASH_AFTER", "freeze-after": "RESPAWN_FREEZE_AFTER"}
API_SERVICES = ("kube-apiserver",)
#: seconds for a service that died to be restarted: the supervisor waits for one
RESTART_PATIENCE_S = 10.0
#: seconds that a process must live to count as started, and for one to do so
SETTLED_S = 0.3
START_PATIENCE_S = 5.0


def of_host(lab: Lab, service: str, verb: str, name: str) -> None:
    """agent, heart or libvirtd of a host."""
    machine = lab.host(name)
    supervisor = machine.supervisor()
    if service not in supervisor.services():
        more = "" if lab.state.bare else f": hack/lab host power-on {name} brings it to its end"
        raise Unknown(f"{name} has no {service}{more}")
    order(supervisor, [service], verb, VERBS)
    if service == "libvirtd" and verb in ("start", "thaw"):
        machine.wait_libvirtd()


def of_lab(lab: Lab, service: str, verb: str) -> None:
    order(lab.supervisor, [service], verb, VERBS)


def of_api(lab: Lab, verb: str) -> None:
    order(lab.supervisor, API_SERVICES, verb, VERBS_NO_KILL)
    if verb in ("start", "thaw"):
        controlplane.wait_ready(lab.folder, lab.state)


def of_ceph(lab: Lab, daemon: str, verb: str) -> None:
    """One daemon, or `all`: with that, daemons that are stopped are neither frozen nor thawed."""
    if daemon != "all" and daemon not in names.CEPH_DAEMONS:
        raise Unknown(f"no Ceph daemon '{daemon}': {', '.join(names.CEPH_DAEMONS)}, all")
    wanted = [d for d in ceph.STOP_ORDER if daemon in ("all", d)]
    if verb != "stop":
        wanted.reverse()  # the mon first
    if daemon == "all" and verb in ("freeze", "thaw"):
        states = _states(lab.supervisor)
        up = [d for d in wanted if states[ceph.service(d)] not in ("stopped", "dead")]
        wanted = up or wanted
    order(lab.supervisor, [ceph.service(d) for d in wanted], verb, VERBS_NO_KILL)
    if verb in ("start", "thaw"):
        ceph.wait_back(lab.folder, lab.inside, lab.supervisor, wanted)
    if verb == "start" and _all_run(lab.supervisor):
        ceph.mark(lab.folder, lab.state, lab.inside)


def operator_point(lab: Lab, verb: str, word: str, point: str) -> None:
    """Restart an operator that will crash, or freeze, once: right after its step POINT."""
    if point not in CRASH_POINTS:
        raise Unknown(f"no step '{point}': one of {', '.join(CRASH_POINTS)}")
    service, index = lab.operator_service(word), int(word)
    lab.supervisor.stop(service)
    install.define_operator(lab, index, {POINT_VARIABLES[verb]: point})
    lab.supervisor.start(service)
    # for the process after this one
    install.define_operator(lab, index, {})


def order(supervisor: Supervisor, services: Sequence[str], verb: str, verbs: Sequence[str]) -> None:
    """Give one order to some services; raises Unknown, before any of it, if one cannot take it."""
    if verb not in verbs:
        raise Unknown(f"unknown order '{verb}': one of {', '.join(verbs)}")
    states = _states(supervisor)
    for service in services:
        _refuse_impossible(service, verb, states.get(service))
    for service in services:
        if verb in ("kill", "freeze"):
            # one that was killed just now is about to come back: it is that one which is meant
            _wait(supervisor, service, lambda s: s["state"] != "waiting", RESTART_PATIENCE_S)
        supervisor.order(op=verb, name=service)
        if verb == "start" and states[service] != "running":
            wait_settled(supervisor, service)


def _states(supervisor: Supervisor) -> dict[str, str]:
    return {name: s["state"] for name, s in supervisor.services().items()}


def _all_run(supervisor: Supervisor) -> bool:
    states = _states(supervisor)
    return all(states[ceph.service(d)] == "running" for d in names.CEPH_DAEMONS)


def _refuse_impossible(service: str, verb: str, state: str | None) -> None:
    if state is None:
        raise Unknown(f"this lab has no {service}")
    if verb in ("kill", "freeze", "thaw") and state in ("stopped", "dead"):
        raise Unknown(f"{service} is stopped: it cannot be ordered to {verb}")
    if verb == "start" and state == "frozen":
        raise Unknown(f"{service} is frozen: thaw it")


def wait_settled(supervisor: Supervisor, service: str) -> None:
    """Until one process of the service has lived for SETTLED_S."""
    since, pid = time.monotonic(), 0

    def settled(now: dict) -> bool:
        nonlocal since, pid
        if now["state"] != "running" or now["pid"] != pid:
            since, pid = time.monotonic(), now["pid"]
        return now["state"] == "running" and time.monotonic() - since >= SETTLED_S

    _wait(supervisor, service, settled, START_PATIENCE_S)


def _wait(
    supervisor: Supervisor, service: str, enough: Callable[[dict], bool], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while not enough(supervisor.services()[service]):
        if time.monotonic() > deadline:
            raise LabError(f"{service} does not stay up: see its log")
        time.sleep(0.02)
