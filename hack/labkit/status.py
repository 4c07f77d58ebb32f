"""The answer of `hack/lab status`."""

from __future__ import annotations

import datetime

from labkit import controlplane, names, network
from labkit.ceph import service as ceph_service
from labkit.errors import LabError
from labkit.host import SERVICES, Host
from labkit.lab import Lab
from labkit.supervise import Gone, Supervisor


def status(lab: Lab) -> dict:
    services = lab.supervisor.services()
    cuts = network.cut_ports(lab.inside)
    cut = set().union(*cuts.values())
    leads = leader_answer(lab)
    return {
        "name": lab.state.name,
        "profile": lab.state.profile,
        "api": _api(lab, services),
        "hosts": [_host(h, cut) for h in lab.hosts()],
        "ceph": [
            {"name": d, "state": _state(services, ceph_service(d))} for d in names.CEPH_DAEMONS
        ],
        "operators": [
            _operator(index, _state(services, f"operator-{index}"), leads)
            for index in range(1, lab.state.operators + 1)
        ],
    }


def _state(services: dict[str, dict], name: str) -> str | None:
    found = services.get(name, {})
    state = found.get("state")
    if state == "running" and found.get("suspended"):
        return "frozen"  # by a signal that was no order of ours: `freeze-after`
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
    """Index of the operator that leads by the Lease operator-leader; None when nobody does: the
    Lease of a process that has ended, or has another life now, runs on for a while.

    Raises controlplane.Silent when it cannot be known.
    """
    path = f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases/operator-leader"
    lease = controlplane.get(lab.folder, lab.state, path)
    index = holder(lease, datetime.datetime.now(datetime.UTC))
    begun = lab.supervisor.services().get(f"operator-{index}", {}).get("since")
    return index if lease and acquired_since(lease, begun) else None


def acquired_since(lease: dict, begun: float | None) -> bool:
    """Whether LEASE was acquired by a process that was started at BEGUN (None: there is none)."""
    acquired = lease.get("spec", {}).get("acquireTime")
    if begun is None or not acquired:
        return begun is not None
    return datetime.datetime.fromisoformat(acquired.replace("Z", "+00:00")).timestamp() >= begun


def holder(lease: dict | None, now: datetime.datetime) -> int | None:
    """Index of the operator that holds LEASE at the time NOW; None when it has run out."""
    spec = (lease or {}).get("spec", {})
    renewed, duration = spec.get("renewTime"), spec.get("leaseDurationSeconds")
    if not spec.get("holderIdentity") or not renewed or not duration:
        return None
    # as the API server writes it, with six decimals
    last = datetime.datetime.fromisoformat(renewed.replace("Z", "+00:00"))
    if now > last + datetime.timedelta(seconds=duration):
        return None
    # holderIdentity is NAME/INCARNATION, the operators are called operator-INDEX
    return names.number(spec["holderIdentity"].partition("/")[0].removeprefix("operator-"))


def leader_answer(lab: Lab) -> dict:
    """The answer of `hack/lab operator leader -o json`."""
    try:
        return {"leader": leader(lab), "known": True}
    except controlplane.Silent:
        return {"leader": None, "known": False}


def leader_text(answer: dict) -> str:
    if not answer["known"]:
        return "unknown"
    return "none" if answer["leader"] is None else str(answer["leader"])


def _operator(index: int, state: str | None, answer: dict) -> dict:
    """A process that has ended leads no more, however long its Lease still runs."""
    leads = answer["leader"] == index and state not in ("stopped", "dead", None)
    return {"index": index, "state": state, "leader": leads if answer["known"] else None}


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
        mark = {True: "   leader", False: "", None: "   leader: unknown"}[o["leader"]]
        lines.append(f"operator {o['index']} {o['state'] or '-'}{mark}")
    return "\n".join(lines)


__all__ = ["SERVICES", "holder", "leader", "leader_answer", "leader_text", "status", "text"]
