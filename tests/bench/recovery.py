"""How long a server is away when its host loses power, and where the time goes.

    .venv/bin/python tests/bench/recovery.py [--rounds 10] [--profile default] [--part one]

Each round powers the host of one server off and waits for the first record that the guest has
fsynced elsewhere. The same run cold-starts the same server (Halted -> Always), so that the result
is a ratio to a limit of this machine: (fenceAfter + cold start). Then 20 servers on one host lose
it at once, against creating as many by hand on the hosts that remain. Raw samples and plots go
to docs/bench; docs/benchmarks.md is written from them. Needs root and a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lab"), str(ROOT / "tests/bench"), str(ROOT / "hack")]

from crowd import crowd  # noqa: E402
from labtool import LabTool, eventually, running  # noqa: E402
from report import write_report  # noqa: E402

OUT = ROOT / "docs/bench"
FENCE_AFTER = {"default": 8.0, "fast": 3.0}
NAMESPACE, NAME = "bench", "probe"
SERVER = f"{NAMESPACE}/{NAME}"
PARTS = ["one", "crowd"]
PHASES = ("detect", "fence", "place", "create", "boot")


def manifest(name: str, **spec: Any) -> str:
    """A VirtualServer as the samples have it."""
    body = {
        "apiVersion": "respawn.dev/v1alpha1",
        "kind": "VirtualServer",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "runPolicy": "Always",
            "cpu": {"cores": 1},
            "memory": {"size": "128Mi"},
            "disks": [
                {"name": "root", "pool": "ceph", "size": "128Mi", "source": {"image": "lab-guest"}}
            ],
            "networks": [{"name": "public", "bridge": "tenant"}],
            **spec,
        },
    }
    return json.dumps(body)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def server(lab: LabTool, name: str = NAME) -> dict[str, Any]:
    found = lab.kubectl("-n", NAMESPACE, "get", "virtualserver", name, "-o", "json")
    return dict(json.loads(found))


def status(lab: LabTool, name: str = NAME) -> dict[str, Any]:
    return dict(server(lab, name).get("status", {}))


def ready(lab: LabTool, name: str = NAME) -> bool:
    conditions = {c["type"]: c["status"] for c in status(lab, name).get("conditions", [])}
    return conditions.get("Ready") == "True"


def boots(lab: LabTool) -> list[datetime]:
    return [moment(b) for b in lab.guest(SERVER)["boots"] or []]


def wait_boot(lab: LabTool, after: datetime) -> datetime:
    """Time of the first record of the boot that began after AFTER."""
    return eventually(
        "the guest writes", lambda: next((b for b in boots(lab) if b > after), None), 180, 0.3
    )


def cold_start(lab: LabTool) -> float:
    """Seconds from the order to run to the first fsynced record."""
    policy(lab, "Halted")
    eventually("it is halted", lambda: not lab.domains(), 60)
    begun = datetime.now(UTC)
    policy(lab, "Always")
    return (wait_boot(lab, begun) - begun).total_seconds()


def policy(lab: LabTool, run_policy: str) -> None:
    patch = json.dumps({"spec": {"runPolicy": run_policy}})
    lab.kubectl("-n", NAMESPACE, "patch", "virtualserver", NAME, "--type=merge", "-p", patch)


def lose_host(lab: LabTool) -> dict[str, float]:
    """One sample: power off the server's host; seconds in all and for each of PHASES."""
    host = status(lab)["node"]
    begun = datetime.now(UTC)
    lab("host", "power-off", host)
    first = wait_boot(lab, begun)
    told = status(lab)["lastRecovery"]
    (qemu,) = [d for d in lab.domains() if d["name"] == NAME]
    at = {key: moment(told[key]) for key in ("decided", "fenced", "placed")}
    marks = [begun, at["decided"], at["fenced"], at["placed"], moment(qemu["startedAt"]), first]
    spans = [(later - earlier).total_seconds() for earlier, later in pairwise(marks)]
    lab("host", "power-on", host)
    eventually(f"{host} is back", lambda: node_ready(lab, host), 120)
    sample = dict(zip(PHASES, spans, strict=True))
    sample["last sign to decided"] = (at["decided"] - moment(told["lastSeen"])).total_seconds()
    sample["decided to QEMU"] = (moment(qemu["startedAt"]) - at["decided"]).total_seconds()
    return {"total": (first - begun).total_seconds(), **sample}


def node_ready(lab: LabTool, host: str) -> bool:
    node = json.loads(lab.kubectl("get", "nodes.respawn.dev", host, "-o", "json"))
    conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True"


def rounds(lab: LabTool, profile: str, count: int) -> dict[str, Any]:
    """All samples of one server that loses its host."""
    lab.kubectl("apply", "-f", "-", stdin=manifest(NAME))
    eventually("it runs", lambda: ready(lab), 90)
    wait_boot(lab, datetime.min.replace(tzinfo=UTC))
    cold, lost = [], []
    for number in range(1, count + 1):
        cold.append(cold_start(lab))
        lost.append(lose_host(lab))
        print(
            f"{profile} {number}/{count}: cold start {cold[-1]:.2f} s, "
            + ", ".join(f"{k} {v:.2f}" for k, v in lost[-1].items()),
            flush=True,
        )
    lab.kubectl("-n", NAMESPACE, "delete", "virtualserver", NAME, "--timeout=60s")
    limit = FENCE_AFTER[profile] + statistics.median(cold)
    ratio = statistics.median(s["total"] for s in lost) / limit
    print(f"{profile}: median ratio to fenceAfter + cold start: {ratio:.3f}", flush=True)
    return {"cold": cold, "lost": lost, "ratio": ratio}


def measure(profile: str, count: int, parts: list[str], file: Path) -> None:
    """Measure PARTS, each into FILE as soon as it is whole; what else is in FILE stays."""
    lab_name = f"bench-{profile}"
    with running(lab_name, "--hosts", "4", "--operators", "2", "--profile", profile) as lab:
        lab.kubectl("create", "namespace", NAMESPACE)
        for part in parts:
            begun = datetime.now(UTC)
            if part == "one":
                found = rounds(lab, profile, count)
            else:
                found = {"crowd": crowd(lab, manifest, NAMESPACE)}
            kept = json.loads(file.read_text()) if file.exists() else {"measuredAt": {}}
            kept |= {"profile": profile, "fenceAfter": FENCE_AFTER[profile], **found}
            kept["measuredAt"][part] = begun.strftime("%Y-%m-%dT%H:%M:%SZ")
            file.write_text(json.dumps(kept, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--profile", action="append", choices=sorted(FENCE_AFTER))
    parser.add_argument("--part", action="append", choices=PARTS)
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for profile in given.profile or sorted(FENCE_AFTER):
        begun = time.monotonic()
        measure(profile, given.rounds, given.part or PARTS, OUT / f"recovery-{profile}.json")
        print(f"{profile}: done in {time.monotonic() - begun:.0f} s", flush=True)
    write_report(OUT, ROOT / "docs/benchmarks.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
