"""Orders to hosts and switches. Each returns when its effect is true."""

from __future__ import annotations

from labkit import install, network
from labkit.errors import Unknown
from labkit.host import Host, new_state
from labkit.lab import Lab
from labkit.names import MAX_HOSTS, PLANES, host_index, host_port, planes

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
    """A new host, powered on; one that is there already is powered on if it is off.

    Also brings an earlier `add` to its end that was broken off. A host that was removed is the
    same machine when it comes back: that proves that it is clean, so its fence is lifted.
    """
    host_index(name)
    install.require_api(lab)
    if name not in lab.state.hosts:
        lab.state.hosts[name] = new_state(name, lab.state.removed.pop(name, ""))
        lab.folder.save(lab.state)
    machine = lab.host(name)
    machine.install(lab.authority())
    machine.power_on()
    if not lab.state.bare:
        install.add_nodes(lab, [machine])


def remove(lab: Lab, machine: Host) -> None:
    """The host is powered off and taken out of the rack, with its disk and its cables."""
    install.require_api(lab)
    machine.power_off()
    if not lab.state.bare:
        install.remove_node(lab, machine.name)
    machine.erase()
    cables = [host_port(plane, machine.index) for plane in PLANES]
    network.change(lab.inside, "delete", network.HOST_SET, cables)
    lab.state.removed[machine.name] = machine.state.machine_id
    del lab.state.hosts[machine.name]
    lab.folder.save(lab.state)


# --- planes


def _cut_or_heal_host(lab: Lab, verb: str, machine: Host, which: list[str]) -> None:
    if not which:
        raise Unknown("say which planes: management storage migration tenant all")
    ports = {host_port(plane, machine.index): plane for plane in which}
    _cut_or_heal(lab, verb, network.HOST_SET, ports, {p: [machine] for p in which})


def switch(lab: Lab, verb: str, which: list[str]) -> None:
    """Cut or heal the port of every host, and of every one to come, on a plane.

    What is no host keeps its own.
    """
    indexes = range(1, MAX_HOSTS + 1)
    ports = {host_port(plane, i): plane for plane in which for i in indexes}
    _cut_or_heal(lab, verb, network.SWITCH_SET, ports, {p: lab.hosts() for p in which})


def _cut_or_heal(
    lab: Lab, verb: str, set_name: str, ports: dict[str, str], machines: dict[str, list[Host]]
) -> None:
    if verb == "cut":
        network.change(lab.inside, "add", set_name, list(ports))
        there = network.plugged(lab.inside)
        network.wait_vanished(lab.inside, {p: plane for p, plane in ports.items() if p in there})
        return
    network.change(lab.inside, "delete", set_name, list(ports))
    still = set().union(*network.cut_ports(lab.inside).values())
    for plane, hosts in machines.items():
        for machine in hosts:
            if machine.pid() is not None and host_port(plane, machine.index) not in still:
                network.wait_reachable(lab.inside, plane, machine.index)
