"""The host's side of a test: servers made of an order and images, and the driver on a host."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from byhand import make_golden
from labtool import ROOT, LabTool

PYTHON = str(ROOT / ".venv/bin/python")
DRIVER = str(Path(__file__).with_name("driver.py"))


class Failed(Exception):
    """An order failed with a port error."""

    def __init__(self, kind: str, text: str, ms: float) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.ms = kind, text, ms


class Driver:
    """The driver process on one host; a call returns its answer, `.ms` is how long it took."""

    def __init__(self, lab: LabTool, host: str, op_timeout: float) -> None:
        fsid = lab.ceph("ceph", "fsid").strip()
        command = [str(ROOT / "hack/lab"), "--name", lab.name, "host", "exec", host, "--"]
        self.process = subprocess.Popen(
            [*command, PYTHON, DRIVER, host, fsid, str(op_timeout)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.host, self.ms = host, 0.0
        self._ids = itertools.count()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            self._waiting.pop(answer["id"]).set_result(answer)
        for future in list(self._waiting.values()):
            future.set_exception(RuntimeError("the driver has ended"))

    def begin(self, do: str, **order: Any) -> Future[dict[str, Any]]:
        """Send an order; its raw answer comes later."""
        assert self.process.stdin is not None
        ident = next(self._ids)
        future = self._waiting[ident] = Future()
        self.process.stdin.write(json.dumps({"id": ident, "do": do, **order}) + "\n")
        self.process.stdin.flush()
        return future

    def end(self, future: Future[dict[str, Any]], timeout: float = 90) -> Any:
        """The answer of an order that was begun. Raises Failed."""
        answer = future.result(timeout)
        self.ms = answer["ms"]
        if "error" in answer:
            raise Failed(answer["error"], answer["text"], answer["ms"])
        return answer["ok"]

    def __call__(self, do: str, **order: Any) -> Any:
        return self.end(self.begin(do, **order))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@contextmanager
def driver_on(lab: LabTool, host: str, *, op_timeout: float = 0) -> Iterator[Driver]:
    driver = Driver(lab, host, op_timeout)
    try:
        driver("set_guard", mode="yes")
        yield driver
    finally:
        driver.close()


class Disks:
    """Images of one server: `root` from the golden image or blank, `data` blank."""

    def __init__(self, lab: LabTool, *names: str, bootable: bool = False) -> None:
        self.lab, self.uid, self.names = lab, str(uuid.uuid4()), list(names or ("root",))
        for name in self.names:
            if bootable and name == "root":
                make_golden(lab)
                lab.ceph("rbd", "clone", "vms/image-byhand@golden", self.image(name))
                lab.ceph("rbd", "resize", "--no-progress", "--size", "128M", self.image(name))
            else:
                lab.ceph("rbd", "create", "--size", "64M", self.image(name))

    def image(self, name: str) -> str:
        return f"vms/vs-{self.uid}-{name}"

    def order(self, epoch: int) -> dict[str, Any]:
        return {"uid": self.uid, "epoch": epoch, "disks": self.names}

    def of(self, epoch: int) -> dict[str, Any]:
        return {"uid": self.uid, "epoch": epoch}

    def domain(self, epoch: int) -> str:
        return f"vs-{self.uid}.{epoch}"

    def row(self) -> dict[str, Any] | None:
        """What the lab itself sees of its QEMU; None: there is none."""
        rows = [d for d in self.lab.domains() if d["uid"] == self.uid]
        assert len(rows) <= 1, rows
        return rows[0] if rows else None

    def console(self) -> str:
        return self.lab.on("host-1", "cat", f"/var/log/respawn/consoles/vs-{self.uid}.log")
