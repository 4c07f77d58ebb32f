"""The commands of `hack/lab`: names, exit codes, JSON, effects that are true on return."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from labtool import ROOT, LabTool, eventually, running

from labkit.supervise import init_pid

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[LabTool]:
    with running("contract", "--hosts", "2", "--operators", "1", "--bare") as tool:
        yield tool


def answers(lab: LabTool, plane_address: str) -> bool:
    """Whether a ping from the switch's side comes back.

    Three are sent: while the question for the MAC that an earlier one asked in vain has not been
    given up, a first one fails together with it, whoever has the address by now.
    """
    name = f"/proc/{init(lab)}/root/run/netns/probe"
    ping = ["nsenter", f"--net={name}", "ping", "-q", "-c3", "-i0.3", "-W1", plane_address]
    return subprocess.run(ping, capture_output=True).returncode == 0


def init(lab: LabTool) -> int:
    """The lab's PID 1."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                f"/var/lib/respawn-lab/{lab.name}/init.sock".encode() in words
                and b"unshare" not in words[0]
            ):
                return int(entry.name)
    raise AssertionError("the lab has no PID 1")


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["host", "power-off", "host-9"],
        ["host", "power-off", "hostess"],
        ["host", "explode", "host-1"],
        ["host", "cut", "host-1", "sideways"],
        ["host", "cut", "host-1"],
        ["switch", "cut", "sideways"],
        ["operator", "kill", "7"],
        ["agent", "explode", "host-1"],
        ["ceph", "stop", "osd.9"],
        ["api", "kill"],
        ["logs", "nothing"],
        ["operator", "kill", "²"],
        ["status", "--name", ""],
        ["guest", "a/--help"],
        ["guest", "noslash"],
        ["guest", "nobody/nothing"],
        ["ping", "a/b", "--seconds", "soon"],
        ["status", "--hosts", "3"],
        ["guest", "a/b", "--seconds", "3"],
        ["operator", "leader", "1"],
        ["up", "--hosts", "many"],
        ["up", "--hosts", "5"],
        ["up", "--profile", "reckless"],
        ["status", "-o", "yaml"],
        ["status", "--frob"],
    ],
)
def test_what_nothing_bears_or_makes_no_sense_is_refused_with_2_and_one_clear_line(
    lab: LabTool, words: list[str]
) -> None:
    done = lab.run(*words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("hack/lab: ")


def test_the_flag_wins_over_the_environment_and_stands_anywhere() -> None:
    environment = {**os.environ, "LAB_NAME": "no-such-lab"}
    for words in (["status", "--name", "also-none"], ["--name", "also-none", "status"]):
        done = subprocess.run(["hack/lab", *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 2 and "also-none" in done.stderr
    done = subprocess.run(["hack/lab", "status"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "no-such-lab" in done.stderr
    done = subprocess.run(
        ["hack/lab", "--name", "Bad_Name", "down"], capture_output=True, text=True
    )
    assert done.returncode == 2


def test_status_has_every_key(lab: LabTool) -> None:
    status = lab.json("status")
    assert set(status) == {"name", "profile", "api", "hosts", "ceph", "operators"}
    assert [h["name"] for h in status["hosts"]] == ["host-1", "host-2"]
    for host in status["hosts"]:
        assert set(host) == {"name", "power", "cut", "agent", "heart", "libvirtd"}
        assert (host["power"], host["libvirtd"], host["cut"]) == ("on", "running", [])
    assert [c["name"] for c in status["ceph"]] == ["mon.a", "mgr.x", "osd.0", "osd.1", "osd.2"]
    assert {c["state"] for c in status["ceph"]} == {"running"}
    assert [set(o) for o in status["operators"]] == [{"index", "state", "leader"}]


def test_env_and_kubectl_reach_the_api_server(lab: LabTool) -> None:
    script = (
        f'eval "$(hack/lab env --name {lab.name})"; echo $LAB_NAME; '
        "kubectl get --raw /readyz; kubectl version"
    )
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True)
    assert done.stdout.startswith(f"{lab.name}\nok"), done.stderr
    assert done.stdout.count("v1.36.3") == 2  # client and server
    config = next(w for w in lab("env").split() if w.startswith("KUBECONFIG=")).split("=")[1]
    assert os.stat(config).st_mode & 0o777 == 0o600
    assert "https://127.0.0.1:" in Path(config).read_text()
    assert lab.kubectl("auth", "can-i", "*", "*").strip() == "yes"


def test_logs_bear_the_names_of_orders_and_no_word_of_exec_is_dropped(lab: LabTool) -> None:
    assert "monmap" in lab("logs", "mon.a") and lab("logs", "api")
    assert lab("host", "exec", "host-1", "echo", "--", "-l").split() == ["-l"]


def test_a_cut_plane_swallows_packets_and_the_others_do_not(lab: LabTool) -> None:
    lab("host", "cut", "host-1", "storage")
    assert not answers(lab, "198.51.100.11")
    assert (
        answers(lab, "192.0.2.11")
        and answers(lab, "203.0.113.11")
        and answers(lab, "198.51.100.12")
    )
    assert "UP" in lab.on("host-1", "ip", "-br", "link", "show", "stor0")  # no loss of carrier
    assert lab.json("status")["hosts"][0]["cut"] == ["storage"]
    lab("switch", "cut", "storage")
    assert not answers(lab, "198.51.100.12")
    assert answers(lab, "198.51.100.1")  # Ceph keeps its port
    lab("switch", "heal", "storage")
    assert answers(lab, "198.51.100.12") and not answers(lab, "198.51.100.11")
    lab("host", "power-cycle", "host-1")
    assert not answers(lab, "198.51.100.11")  # a cable that is cut stays cut
    lab("host", "heal", "host-1", "all")
    assert answers(lab, "198.51.100.11")


def test_power_off_leaves_no_process_and_power_on_is_another_boot_of_the_same_machine(
    lab: LabTool,
) -> None:
    def identity() -> tuple[str, str]:
        boot = lab.on("host-2", "cat", "/proc/sys/kernel/random/boot_id").strip()
        machine = lab.on("host-2", "virsh", "capabilities").split("<uuid>")[1].split("<")[0]
        return boot, machine

    boot, machine = identity()
    lab.on("host-2", "sh", "-c", "echo kept > /var/kept; echo gone > /run/gone")
    inside = set(Path("/proc").glob("[0-9]*"))
    lab("host", "power-off", "host-2")
    lab("host", "power-off", "host-2")
    assert lab.json("status")["hosts"][1] == {
        "name": "host-2", "power": "off", "cut": [],
        "agent": "stopped", "heart": "stopped", "libvirtd": "stopped",
    }  # fmt: skip
    assert not answers(lab, "192.0.2.12")
    assert lab.run("libvirtd", "start", "host-2").returncode == 2
    assert lab.run("host", "exec", "host-2", "--", "true").returncode == 2
    lab("host", "power-on", "host-2")
    lab("host", "power-on", "host-2")
    again = identity()
    assert again[0] != boot and again[1] == machine
    assert lab.on("host-2", "cat", "/var/kept").strip() == "kept"
    assert lab.run("host", "exec", "host-2", "--", "test", "-e", "/run/gone").returncode == 1
    assert inside


def test_a_frozen_host_still_answers_pings_and_does_nothing_else(lab: LabTool) -> None:
    lab("host", "freeze", "host-1")
    assert answers(lab, "192.0.2.11")
    assert lab.json("status")["hosts"][0]["power"] == "frozen"
    assert lab.run("libvirtd", "kill", "host-1").returncode == 2
    assert lab.run("host", "power-on", "host-1").returncode == 2
    lab("host", "thaw", "host-1")
    lab("host", "thaw", "host-1")
    assert lab.on("host-1", "virsh", "-q", "uri").strip() == "qemu:///system"


def test_a_command_that_runs_on_a_host_is_frozen_with_it_and_dies_with_it(lab: LabTool) -> None:
    said = "echo begun; read word; echo $word"
    words = [str(ROOT / "hack/lab"), "--name", lab.name, "host", "exec", "host-1", "--"]

    def begin() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        begun = subprocess.Popen([*words, "sh", "-c", said], stdin=pipe, stdout=pipe, text=True)
        assert begun.stdout and begun.stdout.readline() == "begun\n"
        lab("host", "freeze", "host-1")
        return begun

    thawed = begin()
    lab("host", "thaw", "host-1")
    assert thawed.communicate("more\n", timeout=20) == ("more\n", None)

    lost = begin()
    lab("host", "power-off", "host-1")
    assert lost.communicate("more\n", timeout=20) == ("", None)
    assert lost.returncode != 0
    lab("host", "power-on", "host-1")


def test_a_killed_service_comes_back_and_a_stopped_one_does_not(lab: LabTool) -> None:
    pid = lambda: lab.on("host-1", "cat", "/run/libvirt/libvirtd.pid").strip()  # noqa: E731
    before = pid()
    lab("libvirtd", "kill", "host-1")
    lab("libvirtd", "start", "host-1")
    assert pid() != before
    lab("libvirtd", "stop", "host-1")
    lab("libvirtd", "stop", "host-1")
    assert lab.json("status")["hosts"][0]["libvirtd"] == "stopped"
    assert lab.run("libvirtd", "kill", "host-1").returncode == 2
    lab("libvirtd", "start", "host-1")
    lab("libvirtd", "kill", "host-1")
    lab("libvirtd", "freeze", "host-1")  # the one that comes back
    assert lab.json("status")["hosts"][0]["libvirtd"] == "frozen"
    done = lab.run("libvirtd", "start", "host-1")
    assert done.returncode == 2 and "frozen: thaw it" in done.stderr
    lab("libvirtd", "thaw", "host-1")
    assert lab.json("status")["hosts"][0]["libvirtd"] == "running"


def test_api_and_ceph_go_and_come(lab: LabTool) -> None:
    lab("api", "stop")
    assert lab.json("status")["api"] == "stopped"
    lab("api", "start")
    lab("api", "freeze")
    status = lab.json("status")
    assert (status["api"], status["operators"][0]["leader"]) == ("frozen", None)
    lab("api", "thaw")
    assert lab.json("status")["api"] == "running"
    assert lab.json("operator", "leader") == {"leader": None, "known": True}
    lab("ceph", "stop", "osd.2")
    assert lab.json("status")["ceph"][4]["state"] == "stopped"
    lab("ceph", "start", "all")
    assert "HEALTH" in lab.ceph("ceph", "health")


def test_libvirt_speaks_tls_and_only_to_whom_it_knows(lab: LabTool) -> None:
    uri = "qemu+tls://192.0.2.12/system"
    assert lab.on("host-1", "virsh", "-q", "-c", uri, "hostname").strip() == "host-2"
    without = lab.run(
        "host", "exec", "host-1", "--", "virsh", "-q", "-c", f"{uri}?pkipath=/nowhere", "hostname"
    )
    assert without.returncode != 0
    plain = lab.run(
        "host",
        "exec",
        "host-1",
        "--",
        "virsh",
        "-q",
        "-c",
        "qemu+tcp://192.0.2.12/system",
        "hostname",
    )
    assert plain.returncode != 0


def test_a_host_is_added_and_removed_while_its_switch_is_cut(lab: LabTool) -> None:
    lab("switch", "cut", "storage")
    lab("host", "add", "host-5")
    lab("host", "add", "host-5")
    assert answers(lab, "192.0.2.15") and not answers(lab, "198.51.100.15")
    lab("host", "cut", "host-5", "management")
    lab("host", "remove", "host-5")
    assert [h["name"] for h in lab.json("status")["hosts"]] == ["host-1", "host-2"]
    lab("switch", "heal", "storage")
    lab("host", "add", "host-5")  # with new cables
    assert answers(lab, "192.0.2.15") and answers(lab, "198.51.100.15")
    lab("host", "remove", "host-5")
    assert not answers(lab, "192.0.2.15")


def test_a_boot_that_is_broken_off_is_brought_to_its_end(lab: LabTool) -> None:
    lab("host", "power-off", "host-2")
    words = ["hack/lab", "host", "power-on", "host-2", "--name", lab.name]
    order = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)
    socket = Path("/var/lib/respawn-lab") / lab.name / "hosts/host-2/init.sock"
    eventually("host-2 has a PID 1", lambda: init_pid(socket), period=0.001)
    os.killpg(order.pid, 9)
    assert order.wait() == -9
    lab("host", "power-on", "host-2")
    assert lab.json("status")["hosts"][1]["libvirtd"] == "running"
    assert answers(lab, "192.0.2.12") and answers(lab, "198.51.100.12")
    assert "ten0" in lab.on("host-2", "ls", "/sys/class/net/tenant/brif")


def test_two_orders_at_once_are_carried_out_one_after_the_other(lab: LabTool) -> None:
    words = ["hack/lab", "--name", lab.name, "host"]
    both = [
        subprocess.Popen([*words, verb, "host-2"], stderr=subprocess.PIPE, text=True)
        for verb in ("power-cycle", "power-cycle")
    ]
    said = [order.communicate(timeout=90)[1] for order in both]
    assert [order.returncode for order in both] == [0, 0], said
    assert lab.json("status")["hosts"][1]["power"] == "on"
    assert lab.on("host-2", "virsh", "-q", "uri").strip() == "qemu:///system"


def test_up_repairs_what_is_broken(lab: LabTool) -> None:
    lab("host", "power-off", "host-1")
    lab("host", "cut", "host-2", "all")
    lab("libvirtd", "stop", "host-2")
    lab("ceph", "stop", "osd.1")
    lab("api", "freeze")
    lab("up")
    status = lab.json("status")
    assert status["api"] == "running"
    assert [(h["power"], h["cut"], h["libvirtd"]) for h in status["hosts"]] == [
        ("on", [], "running")
    ] * 2
    assert {c["state"] for c in status["ceph"]} == {"running"}


def test_a_second_lab_crashes_comes_back_as_it_was_and_leaves_nothing(lab: LabTool) -> None:
    machine = links()
    second = LabTool("crash")
    try:
        second("up", "--hosts", "1", "--operators", "1", "--bare")
        os.kill(init(second), 9)
        assert second.run("status").returncode == 2
        assert second("logs", "api")  # what a crash left tells why
        second("up")
        status = second.json("status")
        assert status["api"] == "running"
        assert (len(status["hosts"]), len(status["operators"])) == (1, 1)
        assert lab.json("status")["api"] == "running"
        assert answers(lab, "192.0.2.12") and not answers(second, "192.0.2.12")
        spaces = namespaces_of(second)
        assert len(spaces) >= 8  # the lab's and the host's, of several kinds
    finally:
        second("down")
    assert traces("crash") == []
    assert spaces & all_namespaces() == set()
    assert links() == machine
    second("down")


def links() -> set[str]:
    """Devices of the machine's own network namespace."""
    return set(os.listdir("/sys/class/net"))


def namespaces_of(lab: LabTool) -> set[str]:
    """Every namespace of the lab's PID 1 and of its hosts' that is not the machine's own."""
    sockets = (Path("/var/lib/respawn-lab") / lab.name).glob("**/init.sock")
    pids = [pid for socket in sockets if (pid := init_pid(socket)) is not None]
    return {n for pid in pids for n in _namespaces(str(pid))} - _namespaces("self")


def all_namespaces() -> set[str]:
    return {n for e in os.listdir("/proc") if e.isdigit() for n in _namespaces(e)}


def _namespaces(process: str) -> set[str]:
    try:
        return {os.readlink(path) for path in Path(f"/proc/{process}/ns").iterdir()}
    except OSError:
        return set()  # it has ended


def test_an_interrupted_up_cleans_up_and_says_130() -> None:
    process = subprocess.Popen(
        ["hack/lab", "up", "--name", "interrupted", "--hosts", "1", "--bare"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "Ceph" in line:
            break
    done = LabTool("interrupted").run("status")
    assert done.returncode == 2 and "is being brought up" in done.stderr
    os.killpg(process.pid, 2)
    process.stderr.read()
    assert process.wait(30) == 130
    assert traces("interrupted") == []


def traces(name: str) -> list[str]:
    """Whatever of a lab is left on the machine."""
    found = [str(p) for p in [Path("/var/lib/respawn-lab") / name] if p.exists()]
    mounts = Path("/proc/mounts").read_text().splitlines()
    found += [m for m in mounts if f"respawn-lab/{name}" in m]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"respawn-lab/{name}/".encode() in words:
            found.append(f"{entry.name} {words[:200]!r}")
    return found
