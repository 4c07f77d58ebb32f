"""Twenty servers on one host that dies, against creating twenty by hand on the other hosts."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from byhand import CLIENT, SECRET, allow_ceph
from labtool import LabTool, eventually
from window import Window

from labkit.guest import build
from respawn.adapters.libvirt.hypervisor import CREATING

COUNT = 20
VICTIM, OTHERS = "host-1", ("host-2", "host-3", "host-4")
POOL = "byhand"
LOOK_AGAIN = 2.0
"""Seconds between two looks at what runs."""
BY_HAND = {"oneByOne": 1, "sideBySide": CREATING}
"""How many domains are created at a time on each host: as a shell's loop does it, and the agent."""

PAXOS_DEFAULTS = {"paxos_propose_interval": "1.0", "paxos_min_wait": "0.05"}
"""Seconds (https://docs.ceph.com/en/latest/rados/configuration/mon-config-ref/)."""


def crowd(lab: LabTool, manifest: Callable[..., str], namespace: str) -> dict[str, Any]:
    """Seconds from `decided` to each placement and each QEMU, and what it takes by hand.

    Then once more, with the monitors' paxos timings as Ceph ships them: the lab's are shorter.
    """
    result, xml = lose_crowd(lab, manifest, namespace)
    tell("lost", result)
    prepare_by_hand(lab, xml)
    result["byHand"] = {way: by_hand(lab, at_once) for way, at_once in BY_HAND.items()}
    for way, times in result["byHand"].items():
        print(f"by hand, {way}: all {times[-1]:.2f}", flush=True)
    lab("host", "power-on", VICTIM)
    lab.kubectl("wait", "--for=condition=Ready", f"vnode/{VICTIM}", "--timeout=120s")
    for option, seconds in PAXOS_DEFAULTS.items():
        lab.ceph("ceph", "tell", "mon.a", "config", "set", option, seconds)
    result["defaultPaxos"], _ = lose_crowd(lab, manifest, namespace)
    tell("with Ceph's own paxos timings", result["defaultPaxos"])
    return result


def tell(what: str, result: dict[str, Any]) -> None:
    spans = "; ".join(
        f"{k} {result[k][0]:.2f} to {result[k][-1]:.2f}" for k in ("placed", "started")
    )
    print(f"{COUNT} servers {what}: {spans}", flush=True)


def lose_crowd(
    lab: LabTool, manifest: Callable[..., str], namespace: str
) -> tuple[dict[str, Any], str]:
    """COUNT servers lose VICTIM: their timeline, and the domain XML of one as it was there."""
    names = [f"crowd-{n:02d}" for n in range(COUNT)]
    for host in OTHERS:
        schedule(lab, host, "Cordoned")
    for name in names:
        lab.kubectl("apply", "-f", "-", stdin=manifest(name))
    eventually("all run on one host", lambda: on_host(lab, VICTIM) == COUNT, 300, LOOK_AGAIN)
    for host in OTHERS:
        schedule(lab, host, "Enabled")
    xml = lab.on(VICTIM, "virsh", "dumpxml", domain_of(lab, names[0]))
    for name in names:  # emulated guests that boot take the whole machine
        eventually(f"{name} writes", lambda n=name: lab.guest(f"{namespace}/{n}")["lastSeq"], 300)
    print(f"{COUNT} servers lose {VICTIM}", flush=True)
    lab("host", "power-off", VICTIM)
    eventually("all are started elsewhere", lambda: started(lab) == COUNT, 300, LOOK_AGAIN)
    eventually("all are told", lambda: timeline(lab, namespace, names), 60, 1)
    result = timeline(lab, namespace, names)
    lab.kubectl("-n", namespace, "delete", "virtualserver", "--all", "--timeout=180s")
    eventually("all are gone", lambda: not lab.domains(), 120, 1)
    return result, xml


def schedule(lab: LabTool, host: str, mode: str) -> None:
    patch = json.dumps({"spec": {"scheduling": {"mode": mode}}})
    lab.kubectl("patch", "nodes.respawn.dev", host, "--type=merge", "-p", patch)


def on_host(lab: LabTool, host: str) -> int:
    return sum(d["host"] == host and d["state"] == "running" for d in look(lab))


def started(lab: LabTool) -> int:
    return sum(d["host"] in OTHERS and d["state"] == "running" for d in look(lab))


def look(lab: LabTool) -> list[dict[str, Any]]:
    """As `hack/lab domains` answers, without a program for each look: the machine is measured."""
    return Window(lab.name).domains()


def domain_of(lab: LabTool, name: str) -> str:
    return str(next(d["domain"] for d in lab.domains() if d["name"] == name))


def timeline(lab: LabTool, namespace: str, names: list[str]) -> dict[str, Any]:
    """Seconds after the first `decided`, sorted; empty until all have started."""
    found = json.loads(lab.kubectl("-n", namespace, "get", "virtualserver", "-o", "json"))["items"]
    told = {s["metadata"]["name"]: s["status"]["lastRecovery"] for s in found}
    if not all(told[n].get("started") for n in names):
        return {}
    decided = min(moment(told[n]["decided"]) for n in names)

    def after(times: list[datetime]) -> list[float]:
        return sorted((t - decided).total_seconds() for t in times)

    return {
        "placed": after([moment(told[n]["placed"]) for n in names]),
        "started": after([moment(d["startedAt"]) for d in lab.domains()]),
    }


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def prepare_by_hand(lab: LabTool, xml: str) -> None:
    """COUNT domains of the same kind, ready to be created, on disks in a pool that is nobody's."""
    lab.ceph("ceph", "osd", "pool", "create", POOL, "8")
    lab.ceph("rbd", "pool", "init", POOL)
    lab.ceph("rbd", "import", "--no-progress", str(build.ensure()), f"{POOL}/golden")
    lab.ceph("rbd", "snap", "create", "--no-progress", f"{POOL}/golden@s")
    for number in range(COUNT):
        lab.ceph("rbd", "clone", f"{POOL}/golden@s", f"{POOL}/disk-{number}")
    for host in OTHERS:
        allow_ceph(lab, host)
    lab.ceph(
        *("ceph", "auth", "caps", f"client.{CLIENT}", "mon", "profile rbd"),
        *("osd", f"profile rbd pool={POOL}"),
    )
    for number in range(COUNT):
        lab.on(there(number), "tee", file_of(number), stdin=foreign(xml, number))


def by_hand(lab: LabTool, at_once: int) -> list[float]:
    """Create them with virsh on all OTHERS; sorted seconds until each QEMU has started."""
    begun = datetime.now(UTC)
    with ThreadPoolExecutor(len(OTHERS)) as pool:
        list(pool.map(lambda host: create_all(lab, host, at_once), OTHERS))
    times = sorted((moment(d["startedAt"]) - begun).total_seconds() for d in lab.domains())
    for domain in lab.domains():
        lab.on(domain["host"], "virsh", "-q", "destroy", domain["domain"])
    return times


def there(number: int) -> str:
    return OTHERS[number % len(OTHERS)]


def file_of(number: int) -> str:
    return f"/run/byhand-{number}.xml"


def create_all(lab: LabTool, host: str, at_once: int) -> None:
    files = "".join(f"{file_of(n)}\n" for n in range(COUNT) if there(n) == host)
    lab.on(host, "xargs", "-P", str(at_once), "-n", "1", "virsh", "-q", "create", stdin=files)


def foreign(xml: str, number: int) -> str:
    """The same domain as nobody's: other name, UUID, disk; no metadata of ours."""
    xml = re.sub(r"<metadata>.*?</metadata>", "", xml, flags=re.S)
    xml = re.sub(r"<name>.*?</name>", f"<name>byhand-{number}</name>", xml, count=1)
    xml = re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuid.uuid4()}</uuid>", xml, count=1)
    xml = re.sub(r"<entry name='uuid'>.*?</entry>", "", xml)
    xml = re.sub(r"name='vms/vs-[^']*'", f"name='{POOL}/disk-{number}'", xml)
    xml = re.sub(r"<auth username='[^']*'>", f"<auth username='{CLIENT}'>", xml)
    xml = re.sub(r"(<secret type='ceph' )[^/]*/>", rf"\1uuid='{SECRET}'/>", xml)
    xml = re.sub(r"vs-[0-9a-f-]{36}\.log", f"byhand-{number}.log", xml)
    xml = re.sub(r"<mac address='[^']*'/>", f"<mac address='52:54:00:ff:00:{number:02x}'/>", xml)
    xml = re.sub(r"<target dev='vs[^']*'/>", "", xml)  # its tap; libvirt names another
    return re.sub(r"<domain type='qemu' id='\d+'", "<domain type='qemu'", xml)
