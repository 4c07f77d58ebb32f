"""Driving the lab from tests, through its command alone, as any user does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
UP_S = 300.0
"""Patience with `up`, which takes 15 s on a quiet machine."""


class LabFailed(AssertionError):
    """An order that was expected to succeed did not."""


class LabTool:
    """`hack/lab` of one name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._environment: dict[str, str] = {}

    def run(
        self, *words: str, stdin: str | None = None, timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k not in ("LAB_NAME", "KUBECONFIG")}
        return subprocess.run(
            [str(ROOT / "hack/lab"), "--name", self.name, *words],
            text=True, capture_output=True, input=stdin, timeout=timeout, env=environment,
        )  # fmt: skip

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 90) -> str:
        """Run an order that must succeed; its stdout."""
        done = self.run(*words, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise LabFailed(
                f"hack/lab {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def on(self, host: str, *command: str, stdin: str | None = None) -> str:
        """Run a command on a host."""
        return self("host", "exec", host, "--", *command, stdin=stdin)

    def ceph(self, *command: str) -> str:
        return self("ceph", "exec", "--", *command)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """kubectl as a user's shell has it after `eval "$(hack/lab env)"`: tests ask all the time,
        and `hack/lab kubectl` takes four times the processor time to say the same.
        """
        if not self._environment:
            lines = (line.removeprefix("export ") for line in self("env").splitlines())
            pairs = (line.partition("=")[::2] for line in lines)
            said = {name: value.replace("$PATH", os.environ["PATH"]) for name, value in pairs}
            self._environment = {**os.environ, **said}
        done = subprocess.run(
            ["kubectl", *words],
            text=True, capture_output=True, input=stdin, timeout=90, env=self._environment,
        )  # fmt: skip
        if done.returncode:
            raise LabFailed(f"kubectl {' '.join(words)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def domains(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("domains")["domains"]
        return found

    def writers(self, image: str) -> dict[str, Any]:
        """The row of one image; an empty one when nobody has it."""
        for row in self.json("writers")["images"]:
            if row["image"] == image:
                return dict(row)
        return {"image": image, "active": 0, "qemus": [], "watchers": [], "lockers": []}

    def guest(self, name: str) -> dict[str, Any]:
        return dict(self.json("guest", name))


def eventually(what: str, ask: Callable[[], T], timeout: float = 60.0, period: float = 0.2) -> T:
    """Ask until the answer is true; it is returned. Fails with WHAT after TIMEOUT seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what} (last: {answer!r})")
        time.sleep(period)


UP: list[str] = []
"""The labs that are up for tests now."""


@contextmanager
def running(name: str, *options: str) -> Iterator[LabTool]:
    """A lab for the time of a test; taken down after it, whatever happened."""
    lab = LabTool(name)
    if os.environ.get("RESPAWN_TEST_LAB") == name:
        yield lab  # somebody else's, kept for speed
        return
    lab("down")
    UP.append(name)
    try:
        try:
            lab("up", *options, timeout=UP_S)
        except BaseException:
            keep_logs(f"{name}: up")
            raise
        yield lab
    finally:
        UP.remove(name)
        lab("down")


def keep_logs(failed: str) -> None:
    """Copy the logs of the labs that are up to where CI looks for those of `failed`, if it does."""
    keep = os.environ.get("RESPAWN_KEEP_LOGS")
    for name in UP if keep else ():
        folder = Path("/var/lib/respawn-lab") / name
        for log in [*folder.glob("logs/*.log"), *folder.glob("hosts/*/logs/*.log")]:
            target = Path(str(keep)) / failed.replace("/", ".") / name / log.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, target)
