"""What the hook decides, by its functions and as libvirt calls it: a program with an exit code."""

import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from respawn.agent import hook

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
IMAGE = f"vs-{UID}-root"
MARK = (
    '<metadata><respawn:server xmlns:respawn="https://respawn.dev/domain/v1" uid="x"/></metadata>'
)


def domain(inner: str) -> bytes:
    return f"<domain type='kvm'><name>d</name>{inner}</domain>".encode()


def disk(image: str) -> str:
    return f"<devices><disk><source protocol='rbd' name='{image}'/></disk></devices>"


FOREIGN = domain(
    "<metadata><other:server xmlns:other='urn:x'/></metadata><devices>"
    "<disk><source file='/var/vs-1.img'/></disk><disk><source protocol='nbd' name='vms/a'/></disk>"
    "</devices>"
)


@pytest.mark.parametrize("pools", [{"vms"}, None, set()])
def test_a_foreign_domain_is_nobodys_business(pools: set[str] | None) -> None:
    assert hook.why_ours(FOREIGN, pools) == ""


@pytest.mark.parametrize(
    ("xml", "pools", "ours"),
    [
        (domain(MARK), {"vms"}, "it is a server"),
        (domain(disk(f"elsewhere/{IMAGE}")), {"vms"}, IMAGE),
        (domain(disk("vms/anything")), {"vms"}, "vms/anything"),
        (domain(disk("other/anything")), {"vms"}, ""),
        (domain(disk("other/anything")), set(), ""),
        (domain(disk("other/anything")), None, "other/anything"),
        (domain(f"<source pool='p' volume='{IMAGE}'/>"), {"vms"}, IMAGE),
        (domain(f"<source file='/dev/rbd/vms/{IMAGE}'/>"), {"vms"}, IMAGE),
        (domain(f"<backingStore>{disk('vms/base')}</backingStore>"), {"vms"}, "vms/base"),
        (domain(f"<arg value='file=rbd:vms/{IMAGE}:id=a'/>"), {"vms"}, IMAGE),
        (domain(f"<description>vs-{UID}.3 and /x/vs-{UID}.log</description>"), {"vms"}, ""),
        (b"<domain", {"vms"}, "cannot be read"),
        (b"", {"vms"}, "cannot be read"),
    ],
)
def test_what_is_ours(xml: bytes, pools: set[str] | None, ours: str) -> None:
    why = hook.why_ours(xml, pools)
    assert ours in why and bool(why) == bool(ours)


def test_pools_that_were_never_told_are_unknown(tmp_path: Path) -> None:
    assert hook.read_pools(str(tmp_path / "none")) is None
    (tmp_path / "pools").write_text("vms\nslow\n\n")
    assert hook.read_pools(str(tmp_path / "pools")) == {"vms", "slow"}


@contextmanager
def agent(path: Path, answer: bytes | None) -> Iterator[list[bytes]]:
    """A listener that takes one question and says `answer`; None: it never answers."""
    heard: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    done = threading.Event()

    def serve() -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            parts = []
            while part := connection.recv(4096):
                parts.append(part)
            heard.append(b"".join(parts))
            if answer is None:
                done.wait(10)
            else:
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        done.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (b"yes", ""),
        (b"no because", "because"),
        (b"no", "no answer"),
        (b"", "no answer"),
        (b"yes and no", "yes and no"),
        (b"YES", "YES"),
    ],
)
def test_only_a_plain_yes_is_one(tmp_path: Path, answer: bytes, refused: str) -> None:
    path = tmp_path / "a.sock"
    with agent(path, answer) as heard:
        assert hook.refusal("prepare begin", domain(MARK), str(path), "/none") == refused
    assert heard == [b"prepare begin\n" + domain(MARK)]


def test_without_an_agent_ours_is_refused_and_the_foreign_passes(tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")
    assert "cannot be asked" in hook.refusal("prepare begin", domain(MARK), path, "/none")
    assert hook.refusal("prepare begin", FOREIGN, path, "/none") == ""


# As libvirt calls it.


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The hook as installed, with its socket and pools in a folder of this test."""
    text = Path(hook.__file__).read_text()
    text = text.replace(hook.AGENT, str(tmp_path / "agent.sock"))
    text = text.replace(hook.POOLS, str(tmp_path / "pools"))
    path = tmp_path / "qemu"
    path.write_text(text)
    path.chmod(0o755)
    return path


def call(program: Path, operation: str, xml: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program, "d", operation, "begin", "-"], input=xml, capture_output=True, timeout=10
    )


@pytest.mark.parametrize(
    "operation", ["reconnect", "start", "started", "stopped", "release", "attach", "new-in-2030"]
)
def test_other_operations_pass_whatever_happens(program: Path, operation: str) -> None:
    program.write_text(program.read_text().replace("/usr/bin/python3", "/nowhere/python3"))
    done = call(program, operation, b"<broken")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
def test_the_three_are_asked(program: Path, tmp_path: Path, operation: str) -> None:
    with agent(tmp_path / "agent.sock", b"yes") as heard:
        done = call(program, operation, domain(MARK))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert heard[0].startswith(f"{operation} begin\n".encode())


def test_a_refusal_is_told_on_stderr_alone(program: Path, tmp_path: Path) -> None:
    with agent(tmp_path / "agent.sock", b"no, not here"):
        done = call(program, "prepare", domain(MARK))
    assert done.returncode != 0 and done.stdout == b""
    assert b"not here" in done.stderr


def test_an_agent_that_never_answers_is_a_no_within_3_s_and_no_child_is_left(
    program: Path, tmp_path: Path
) -> None:
    with agent(tmp_path / "agent.sock", None):
        begun = time.monotonic()
        done = call(program, "prepare", domain(MARK))
        assert done.returncode != 0 and b"no answer within" in done.stderr
        assert time.monotonic() - begun < 3.3
    assert children_of(str(program)) == []


def test_a_program_that_hangs_before_its_own_clock_runs_is_ended_too(
    program: Path, tmp_path: Path
) -> None:
    stuck = program.read_text().replace("import sys\n", "import sys\nwhile True: pass\n", 1)
    program.write_text(stuck)
    begun = time.monotonic()
    assert call(program, "prepare", FOREIGN).returncode != 0
    assert time.monotonic() - begun < 3.6
    assert children_of(str(program)) == []


def children_of(program: str) -> list[str]:
    """Processes that still run it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if program.encode() in words:
            found.append(entry.parent.name)
    return found


def test_it_is_a_program_that_imports_nothing_but_what_is_built_in() -> None:
    path = Path(hook.__file__)
    assert path.stat().st_mode & stat.S_IXUSR
    code = "import sys; before = set(sys.modules); import _signal, _socket, pyexpat, sys"
    code += "; print([m for m in set(sys.modules) - before if hasattr(sys.modules[m], '__file__')])"
    done = subprocess.run(["/usr/bin/python3", "-SE", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", os.fspath(path)
