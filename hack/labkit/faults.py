"""Orders to hosts and switches. Each returns when its effect is true."""

from __future__ import annotations

from labkit import install, network
from labkit.errors import Unknown
from labkit.host import Host, new_state
from labkit.lab import Lab
from labkit.names import host_index, host_port, planes

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
