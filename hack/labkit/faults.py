"""Orders that break or mend a part of the lab. Each returns when its effect is true."""

from __future__ import annotations

import time
from collections.abc import Sequence

from labkit import install, network
from labkit.errors import LabError, Unknown
from labkit.host import Host, new_state
from labkit.lab import Lab
from labkit.names import bridge, host_index, host_port, planes
from labkit.supervise import Supervisor
from respawn.model.actions import CRASH_POINTS

VERBS = ("stop", "start", "kill", "freeze", "thaw")
#: orders that arm a step of an operator -> what tells the process
POINT_VARIABLES = {"crash-after": "RESPAWN_CRASH_AFTER", "freeze-after": "RESPAWN_FREEZE_AFTER"}
VERBS_NO_KILL = ("stop", "start", "freeze", "thaw")
API_SERVICES = ("kube-apiserver",)
HOST_VERBS = (
    "power-off", "power-on", "power-cycle", "shutdown", "freeze", "thaw", "cut", "heal",
    "add", "remove", "exec",
)  # fmt: skip


def host(lab: Lab, verb: str, name: str, more: list[str]) -> None:
    """One of HOST_VERBS. `cut` and `heal` take planes, the others nothing more."""
    if verb not in HOST_VERBS:
        raise Unknown(f"unknown order 'host {verb}': one of {', '.join(HOST_VERBS)}")
    if verb in ("cut", "heal"):
        _cut_or_heal_host(lab, verb, lab.host(name), planes(more))
        return
    if more:
        raise Unknown(f"'host {verb}' takes a host and nothing more")
    if verb == "add":
        add(lab, name)
    elif verb == "remove":
        remove(lab, lab.host(name))
    else:
        _power(lab.host(name), verb)


def _power(machine: Host, verb: str) -> None:
    if verb == "power-cycle":
        machine.power_off()
        machine.power_on()
    elif verb == "shutdown":
        if machine.pid() is not None:
            machine.shutdown()
    else:
        getattr(machine, verb.replace("-", "_"))()


def add(lab: Lab, name: str) -> None:
    """A new host, powered on."""
    host_index(name)
    if name in lab.state.hosts:
        lab.host(name).power_on()
        return
    lab.state.hosts[name] = new_state(name)
    lab.folder.save(lab.state)
    machine = lab.host(name)
    machine.write_files(lab.authority())
    if not lab.state.bare:
        install.apply(lab, [install.node(machine)])
    machine.power_on()


def remove(lab: Lab, machine: Host) -> None:
    """The host is powered off and taken out of the rack: it never comes back."""
    machine.power_off()
    if not lab.state.bare:
        install.remove_node(lab, machine.name)
    machine.erase()
    del lab.state.hosts[machine.name]
    lab.folder.save(lab.state)


# --- planes


def _cut_or_heal_host(lab: Lab, verb: str, machine: Host, which: list[str]) -> None:
    if not which:
        raise Unknown("say which planes: management storage migration tenant all")
    ports = {host_port(plane, machine.index): plane for plane in which}
    _cut_or_heal(lab, verb, network.HOST_SET, ports, {p: [machine] for p in which})


def switch(lab: Lab, verb: str, which: list[str]) -> None:
    """Cut or heal every host's port of a plane; what is no host keeps its own."""
    ports = {host_port(plane, h.index): plane for plane in which for h in lab.hosts()}
    _cut_or_heal(lab, verb, network.SWITCH_SET, ports, {p: lab.hosts() for p in which})


def _cut_or_heal(
    lab: Lab, verb: str, set_name: str, ports: dict[str, str], machines: dict[str, list[Host]]
) -> None:
    if verb == "cut":
        network.change(lab.inside, "add", set_name, list(ports))
        plugged = {p: plane for p, plane in ports.items() if _is_plugged(lab, p)}
        network.wait_vanished(lab.inside, plugged)
        return
    network.change(lab.inside, "delete", set_name, list(ports))
    still = set().union(*network.cut_ports(lab.inside).values())
    for plane, hosts in machines.items():
        for machine in hosts:
            if machine.pid() is not None and host_port(plane, machine.index) not in still:
                network.wait_reachable(lab.inside, plane, machine.index)


def _is_plugged(lab: Lab, port: str) -> bool:
    return lab.inside.run(["test", "-e", f"/sys/class/net/{port}"], check=False).returncode == 0


# --- services


def host_service(lab: Lab, service: str, verb: str, name: str) -> None:
    machine = lab.host(name)
    supervisor = machine.supervisor()
    if service not in supervisor.services():
        raise Unknown(f"{name} has no {service}")
    _order(supervisor, [service], verb, VERBS)
    if service == "libvirtd" and verb in ("start", "thaw"):
        machine.wait_libvirtd()


def lab_service(lab: Lab, services: Sequence[str], verb: str, verbs: Sequence[str]) -> None:
    known = lab.supervisor.services()
    for service in services:
        if service not in known:
            raise Unknown(f"this lab has no {service}")
    _order(lab.supervisor, services, verb, verbs)


def _order(
    supervisor: Supervisor, services: Sequence[str], verb: str, verbs: Sequence[str]
) -> None:
    if verb not in verbs:
        raise Unknown(f"unknown order '{verb}': one of {', '.join(verbs)}")
    states = {name: s["state"] for name, s in supervisor.services().items()}
    for service in services:
        _refuse_impossible(service, verb, states[service])
    for service in services:
        supervisor.order(op=verb, name=service)
        if verb == "start":
            _wait_running(supervisor, service)


def _refuse_impossible(service: str, verb: str, state: str) -> None:
    if verb in ("kill", "freeze", "thaw") and state in ("stopped", "dead"):
        raise Unknown(f"{service} is stopped: it cannot be ordered to {verb}")


def _wait_running(supervisor: Supervisor, service: str, timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while supervisor.services()[service]["state"] != "running":
        if time.monotonic() > deadline:
            raise LabError(f"{service} does not stay up: see its log")
        time.sleep(0.02)


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


def api(lab: Lab, verb: str) -> None:
    from labkit import controlplane

    lab_service(lab, API_SERVICES, verb, VERBS_NO_KILL)
    if verb in ("start", "thaw"):
        controlplane.wait_ready(lab.folder, lab.state)


__all__ = ["HOST_VERBS", "VERBS", "VERBS_NO_KILL", "add", "api", "bridge", "host", "switch"]
