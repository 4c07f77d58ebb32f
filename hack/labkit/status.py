"""The answer of `hack/lab status`."""

from __future__ import annotations

from labkit import controlplane, names, network
from labkit.ceph import service as ceph_service
from labkit.errors import LabError
from labkit.host import SERVICES, Host
from labkit.lab import Lab
from labkit.namespaces import Inside
from labkit.supervise import Gone, Supervisor


def status(lab: Lab) -> dict:
    services = lab.supervisor.services()
    cuts = network.cut_ports(lab.inside)
    cut = set().union(*cuts.values())
    holder = leader(lab)
    return {
        "name": lab.state.name,
        "profile": lab.state.profile,
        "api": _api(lab, services),
        "hosts": [_host(h, cut) for h in lab.hosts()],
        "ceph": [
            {"name": d, "state": _state(services, ceph_service(d))} for d in names.CEPH_DAEMONS
        ],
        "operators": [
            {
                "index": index,
                "state": _state(services, f"operator-{index}"),
                "leader": holder == index,
            }
            for index in range(1, lab.state.operators + 1)
        ],
    }


def _state(services: dict[str, dict], name: str) -> str | None:
    state = services.get(name, {}).get("state")
    return "starting" if state == "waiting" else state


def _api(lab: Lab, services: dict[str, dict]) -> str | None:
    state = _state(services, "kube-apiserver")
    if state == "running" and not controlplane.api_state(lab.folder, lab.state):
        return "starting"
    return state


def _host(host: Host, cut: set[str]) -> dict:
    pid, frozen = host.pid(), host.frozen()
    services: dict[str, dict] = {}
    if pid is not None and not frozen:
        try:
            services = Supervisor(host.socket).services()
        except (Gone, LabError):
            services = {}
    power = "off" if pid is None else "frozen" if frozen else "on"
    return {
        "name": host.name,
        "power": power,
        "cut": [p for p in names.PLANES if names.host_port(p, host.index) in cut],
        **{name: _host_service(name, services, power) for name in ("agent", "heart", "libvirtd")},
    }


def _host_service(name: str, services: dict[str, dict], power: str) -> str | None:
    if power == "off":
        return "stopped"
    if power == "frozen":
        return "frozen"
    return _state(services, name)


def leader(lab: Lab) -> int | None:
    """Index of the operator that holds the Lease operator-leader; None if nobody is known to."""
    command = [
        str(controlplane.kubectl_path()), "--kubeconfig", str(lab.folder.kubeconfig),
        "--request-timeout=3s", "-n", names.NAMESPACE, "get", "lease", "operator-leader",
        "-o", "json",
    ]  # fmt: skip
    if _state(lab.supervisor.services(), "kube-apiserver") != "running":
        return None
    done = Inside(lab.pid).run(["true"], check=False)
    if done.returncode:
        return None
    import subprocess

    answer = subprocess.run(command, capture_output=True, text=True)
    holder = controlplane.leader(answer.stdout) if answer.returncode == 0 else None
    if holder is None:
        return None
    # holderIdentity is NAME/INCARNATION, the operators are called operator-INDEX
    index = holder.partition("/")[0].removeprefix("operator-")
    return names.number(index)


def text(answer: dict) -> str:
    lines = [f"lab {answer['name']}   profile {answer['profile']}   API server {answer['api']}", ""]
    lines.append(f"{'HOST':<10}{'POWER':<9}{'AGENT':<10}{'HEART':<10}{'LIBVIRTD':<10}CUT")
    for h in answer["hosts"]:
        cut = ", ".join(h["cut"]) or "-"
        parts = [h[name] or "-" for name in ("agent", "heart", "libvirtd")]
        lines.append(f"{h['name']:<10}{h['power']:<9}" + "".join(f"{p:<10}" for p in parts) + cut)
    lines.append("")
    lines.append("Ceph       " + "   ".join(f"{d['name']} {d['state']}" for d in answer["ceph"]))
    for o in answer["operators"]:
        mark = "   leader" if o["leader"] else ""
        lines.append(f"operator {o['index']} {o['state'] or '-'}{mark}")
    return "\n".join(lines)


__all__ = ["SERVICES", "leader", "status", "text"]
