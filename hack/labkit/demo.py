"""`hack/demo`: the main job end to end, live in the terminal.

Brings a lab up, applies the sample server, powers its host off, tells the timeline as it happens,
and proves from the guest's own disk that nothing it was told to be safe was lost.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from labkit import guests, install, lifecycle, views, writers
from labkit.cli import Order, parse
from labkit.commands import PROFILES
from labkit.errors import LabError, Unknown
from labkit.host import PROJECT
from labkit.lab import Lab, require_root
from labkit.names import MAX_HOSTS, MAX_OPERATORS, ServerName
from labkit.state import Folder
from labkit.telling import Patience, clock, parse_time, say, title, wait_for

USAGE = """\
hack/demo: the main job, shown: a lab comes up, a server runs, its host loses power, it comes back

  hack/demo [--name NAME] [--hosts 3] [--operators 2] [--profile default|fast]

The lab is left up, and can be shown again. Exit codes: 0 all came true, 1 something did not,
2 a word that makes no sense, 130 interrupted."""
OPTIONS = {"--name", "--hosts", "--operators", "--profile"}

SERVER = ServerName("customer-a", "web-1")
SAMPLE = PROJECT / "manifests/samples/web-1.yaml"
BOOT = 240
"""Seconds for the guest to boot and write: 10 on an idle machine, many more on a busy one."""


def main(arguments: list[str]) -> int:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        order = parse(arguments)
        if order.words == ["help"]:
            print(USAGE)
            return 0
        _check(order)
        require_root()
        show(order)
    except LabError as error:
        print(f"hack/demo: {error}", file=sys.stderr)
        if not isinstance(error, Unknown):
            print(_what_to_look_at(order.lab), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nhack/demo: interrupted; the lab, if it was up, is left as it is", file=sys.stderr)
        return 130
    return 0


def _check(order: Order) -> None:
    """Refuse, before anything is started, what makes no sense; raises Unknown."""
    odd = [*order.words, *order.rest, *sorted(order.flags), *(order.options.keys() - OPTIONS)]
    if odd:
        raise Unknown(f"'{odd[0]}' is no word of the demo: see hack/demo --help")
    _ = order.lab
    order.number("--hosts", 3, 2, MAX_HOSTS)
    order.number("--operators", 2, 1, MAX_OPERATORS)
    if order.options.get("--profile", "default") not in PROFILES:
        raise Unknown(f"--profile is one of {', '.join(PROFILES)}")


def show(order: Order) -> None:
    """The whole story; raises LabError when a chapter does not come true."""
    lab = _lab(order)
    title("A server is applied")
    _apply(lab)
    server = wait_for("the server runs", lambda: _running(lab), 120)
    host = server["status"]["node"]
    _kubectl(lab, "get", "virtualservers,nodes.respawn.dev", "-A")
    wait_for("the guest writes to its disk", lambda: _acknowledged(lab) > 20, BOOT)
    before = guests.evidence(lab, SERVER)
    say(f"the guest has been told that {before['lastSeq']} records are safe on its disk")

    title(f"{host} loses power")
    if others := _others_on(lab, host):
        say(f"other servers run there, and will start elsewhere as well: {', '.join(others)}")
    off = datetime.datetime.now(datetime.UTC)
    with _left_off(lab, host):
        _power_off(lab, host)
        say(f"{clock(off)}  {host} is off: not a process of it is left, and nobody was told")
        back = _follow(lab, host, off)

        title("What the guest itself proves")
        proof = _proof(lab, off)
        _tell_downtime(proof, off)
        _kubectl(lab, "get", "virtualservers,nodes.respawn.dev", "-A")
    _closing(lab, host, back)


def _lab(order: Order) -> Lab:
    title("A cluster in this machine")
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        say(f"this machine is busy (load {load:.0f} on {cores} cores): everything takes longer")
    with Folder(order.lab).locked():
        lab = lifecycle.up(
            order.lab,
            hosts=order.number("--hosts", 3, 2, MAX_HOSTS),
            operators=order.number("--operators", 2, 1, MAX_OPERATORS),
            profile=order.options.get("--profile", "default"),
        )
    if lab.state.bare or len(lab.state.hosts) < 2:
        raise Unknown(
            f"lab '{lab.state.name}' is there with one host or without Respawn: "
            f"say another --name, or take it down first"
        )
    return lab


def _what_to_look_at(name: str) -> str:
    return f"""The lab, as far as it came up, is left as it is; hack/demo can be run again. To look:
  hack/lab status --name {name}
  hack/lab --name {name} kubectl -n {SERVER.namespace} describe vs {SERVER.name}
  hack/lab guest {SERVER} --name {name}"""


def _others_on(lab: Lab, host: str) -> list[str]:
    """Somebody else's servers there, of a lab that was up before: NAMESPACE/NAME."""
    rows = json.loads(install.kubectl(lab, "get", "virtualservers", "-A", "-o", "json"))["items"]
    names = [
        f"{row['metadata']['namespace']}/{row['metadata']['name']}"
        for row in rows
        if row.get("status", {}).get("node") == host
    ]
    return [name for name in names if name != str(SERVER)]


@contextmanager
def _left_off(lab: Lab, host: str) -> Iterator[None]:
    """If the story ends early, say which host is without power."""
    try:
        yield
    except (LabError, KeyboardInterrupt):
        back = f"hack/lab host power-on {host} --name {lab.state.name}"
        print(f"\n{host} was left without power: {back}", file=sys.stderr)
        raise


def _power_off(lab: Lab, host: str) -> None:
    command = [str(PROJECT / "hack/lab"), "host", "power-off", host, "--name", lab.state.name]
    if subprocess.run(command).returncode:
        raise LabError(f"{host} could not be powered off")


def _apply(lab: Lab) -> None:
    say(f"kubectl apply -f {SAMPLE.relative_to(PROJECT)}")
    print(install.kubectl(lab, "apply", "--server-side", "-f", str(SAMPLE)), end="")


def _server(lab: Lab) -> dict[str, Any]:
    words = ("-n", SERVER.namespace, "get", "virtualserver", SERVER.name, "-o", "json")
    found: dict[str, Any] = json.loads(install.kubectl(lab, *words))
    return found


def _running(lab: Lab) -> dict[str, Any] | None:
    server = _server(lab)
    conditions = {c["type"]: c["status"] for c in server.get("status", {}).get("conditions", [])}
    return server if conditions.get("Ready") == "True" else None


def _acknowledged(lab: Lab) -> int:
    return guests.evidence(lab, SERVER)["lastSeq"] or 0


def _follow(lab: Lab, host: str, off: datetime.datetime) -> str:
    """Print each step of the recovery as the server's status tells it; the new host."""
    told: set[str] = set()
    words = {
        "lastSeen": "last sign of life of the host",
        "suspected": "suspected: Lease and heart are both silent",
        "decided": "decided: it is dead or cut off, and nobody answers for it",
        "fenced": "fenced: its addresses are shut out of Ceph, and read back",
        "placed": "placed on another host, with the proof",
        "started": "its QEMU was started",
        "ready": "running again",
    }
    deadline = time.monotonic() + 120
    patience = Patience("its server comes back")
    while time.monotonic() < deadline:
        patience.tell()
        recovery = _server(lab).get("status", {}).get("lastRecovery") or {}
        if recovery.get("fromNode") == host and parse_time(recovery.get("decided")) > off:
            for key, text in words.items():
                if key not in told and recovery.get(key):
                    told.add(key)
                    at = parse_time(recovery[key])
                    say(f"{clock(at)}  {(at - off).total_seconds():+6.2f} s  {text}")
            if "ready" in told:
                say(f"proof: {recovery.get('proof')};  {host} -> {recovery.get('toNode')}")
                return str(recovery.get("toNode"))
        time.sleep(0.1)
    raise LabError("the server did not come back within two minutes: kubectl describe vs")


def _proof(lab: Lab, off: datetime.datetime) -> dict[str, Any]:
    wait_for("the guest writes again", lambda: boots_after(guests.evidence(lab, SERVER), off), BOOT)
    proof = guests.evidence(lab, SERVER)
    images = writers.writers(lab)["images"]
    unknown = any(row["active"] is None for row in images)
    many = None if unknown else [row["image"] for row in images if row["active"] > 1]
    say(f"boots {len(proof['boots'] or [])}, last record {proof['lastSeq']}")
    say(f"records acknowledged but lost: {views.listed(proof['lost'])}")
    say(f"records that another writer left behind: {views.listed(proof['foreign'])}")
    say(f"images with more than one writer: {views.listed(many)}")
    judge(proof["lost"], proof["foreign"], many)
    return proof


def judge(*findings: list[Any] | None) -> None:
    """Each must have been looked at, and be empty; raises LabError."""
    if any(findings):
        raise LabError("that must never be")
    if any(found is None for found in findings):
        raise LabError("what could not be read proves nothing: hack/lab status tells what is down")


def boots_after(proof: Mapping[str, Any], off: datetime.datetime) -> list[datetime.datetime]:
    """Of a lab that is shown again there are earlier ones."""
    return [at for at in map(parse_time, proof["boots"] or []) if at > off]


def _tell_downtime(proof: dict[str, Any], off: datetime.datetime) -> None:
    seconds = (boots_after(proof, off)[0] - off).total_seconds()
    say(f"downtime, power-off to the first record that is safe again: {seconds:.1f} s")


def _closing(lab: Lab, host: str, back: str) -> None:
    flag = "" if lab.state.name == "lab" else f" --name {lab.state.name}"
    print(
        f"""
The lab is left up. Try next:
  eval "$(hack/lab env{flag})"
  kubectl -n {SERVER.namespace} describe vs {SERVER.name}   what happened, told by the object alone
  hack/lab host power-on {host}{flag}            it comes back, is found clean, and is let in again
  hack/lab guest kill {SERVER}{flag}      SIGKILL to its QEMU
  hack/lab operator kill 1{flag}                 whichever leads
  hack/lab host power-off {back}{flag}
  hack/lab writers{flag}; hack/lab guest {SERVER}{flag}
  hack/lab down{flag}"""
    )


def _kubectl(lab: Lab, *words: str) -> None:
    print(f"\n  $ kubectl {' '.join(words)}")
    for line in install.kubectl(lab, *words).splitlines():
        print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
