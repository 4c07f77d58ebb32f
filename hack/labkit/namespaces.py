"""Making a namespace with its own PID 1, and running programs in one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import LabError
from labkit.supervise import init_pid

HERE = Path(__file__).resolve().parent
SYSTEM_PYTHON = "/usr/bin/python3"
ALL = ("-n", "-m", "-u", "-p", "-i")
START_PATIENCE_S = 20.0


def unshared(setup: Path, socket: Path, logs: Path, *more: str) -> list[str]:
    """The command of a new namespace: SETUP prepares it, then supervisor.py becomes its PID 1."""
    supervisor = [SYSTEM_PYTHON, "-SE", str(HERE / "supervisor.py"), str(socket), str(logs), *more]
    return [
        "unshare", *ALL, "--fork", "--kill-child", "--mount-proc",
        "/bin/bash", str(setup), *supervisor,
    ]  # fmt: skip


def start_namespace(
    command: Sequence[str],
    *,
    socket: Path,
    log: Path,
    env: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start COMMAND (of `unshared`) and return its PID 1; raises LabError with the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    with log.open("ab") as output:
        parent = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **(env or {})},
            pass_fds=pass_fds,
        )
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        pid = init_pid(socket)
        if pid is not None:
            return pid
        if parent.poll() is not None:
            break
        time.sleep(0.01)
    if parent.poll() is None:
        parent.kill()
    tail = log.read_text(errors="replace")[-1500:]
    raise LabError(f"the namespace of {socket.parent.name} did not start:\n{tail}")


class Inside:
    """Runs programs inside the namespaces of a PID 1, or in a named network of the lab."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def argv(self, command: Sequence[str], network: str | None = None) -> list[str]:
        inner = [*in_network(network), *command] if network else list(command)
        return ["nsenter", "-t", str(self.pid), *ALL, "--", *inner]

    def run(
        self,
        command: Sequence[str],
        *,
        network: str | None = None,
        check: bool = True,
        timeout: float | None = 60,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run COMMAND with its output taken; raises LabError with that output if it fails."""
        try:
            done = subprocess.run(
                self.argv(command, network),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if check else subprocess.PIPE,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                timeout=timeout,
                env={**os.environ, **(env or {})},
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"no end of `{_short(command)}` within {timeout} s") from error
        if check and done.returncode:
            raise LabError(f"`{_short(command)}` failed: {done.stdout.strip()[-1500:]}")
        return done

    def script(self, text: str) -> None:
        """Run shell lines in the namespace; the first that fails ends it."""
        self.run(["/bin/bash", "-euc", text])

    def replace_self(self, command: Sequence[str]) -> None:
        """Become COMMAND inside; it has the terminal and its exit code is ours."""
        sys.stdout.flush()
        argv = self.argv(command)
        os.execvp(argv[0], argv)


def _short(command: Sequence[str]) -> str:
    text = " ".join(" ".join(command).split())
    return text if len(text) <= 120 else text[:117] + "…"


def pid_inside(pid: int, depth: int = 1) -> int:
    """The pid that a process of the machine has DEPTH PID namespaces further in."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[1 + depth])
    raise LabError(f"/proc/{pid}/status has no NSpid")


def in_network(network: str) -> list[str]:
    """Prefix that puts a program into one of the lab's named networks (exec, same pid)."""
    return ["nsenter", f"--net=/run/netns/{network}", "--"]


def nice(level: int) -> list[str]:
    """Prefix that gives a program, the first of its session, that niceness (exec, same pid).

    Where the kernel groups processes by session, niceness only counts within a session, and the
    session has one of its own (sched(7), "The autogroup feature").
    """
    script = (
        f"[ ! -e /proc/self/autogroup ] || echo {level} > /proc/self/autogroup; "
        f'exec nice -n {level} "$@"'
    )
    return ["sh", "-c", script, "nice"]
