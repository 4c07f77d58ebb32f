"""What the tests about the life of servers ask of the lab, over and over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fleet import NAMESPACE, Fleet, manifest
from labtool import LabTool, eventually


class Desk(Fleet):
    """A fleet, and what an engineer at a terminal reads of it and does to it."""

    def blank(self, name: str, **spec: Any) -> dict[str, Any]:
        """A server with one empty disk: it runs for ever, boots nothing and ignores ACPI."""
        document = manifest(name)
        disks = [{"name": "root", "pool": "ceph", "size": "16Mi"}]
        document["spec"] |= {"disks": disks, "shutdownGracePeriod": "1s", **spec}
        return document

    def guest_server(self, name: str, **spec: Any) -> dict[str, Any]:
        """A server that boots the lab's guest; one that is still booting is soon deleted."""
        document = manifest(name)
        document["spec"] |= {"shutdownGracePeriod": "1s", **spec}
        return document

    def change(self, name: str, **spec: Any) -> None:
        """Merge into its spec."""
        patch = json.dumps({"spec": spec})
        self.lab.kubectl("-n", NAMESPACE, "patch", "vs", name, "--type=merge", "-p", patch)

    def delete(self, name: str, *words: str) -> None:
        self.lab.kubectl("-n", NAMESPACE, "delete", "vs", name, "--timeout=60s", *words)

    # Reading.

    def conditions(self, name: str) -> dict[str, dict[str, Any]]:
        return {c["type"]: c for c in self.status(name).get("conditions", [])}

    def ready(self, name: str) -> tuple[str, str, str]:
        """Status, reason and message of its condition Ready."""
        found = self.conditions(name).get("Ready", {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    def await_reason(self, name: str, reason: str, timeout: float = 60) -> str:
        """Until its Ready has that reason; the message."""

        def there() -> tuple[str, str, str] | None:
            return found if (found := self.ready(name))[1] == reason else None

        return eventually(f"{name} is {reason}", there, timeout=timeout)[2]

    def epoch(self, name: str) -> int:
        return int(self.status(name)["placement"]["epoch"])

    def await_epoch(self, name: str, epoch: int, timeout: float = 60) -> dict[str, Any]:
        """Until it runs at that epoch; its status."""

        def there() -> dict[str, Any] | None:
            status = self.status(name)
            runs = status["phase"] == "Running" and status["placement"]["epoch"] == epoch
            return status if runs else None

        return eventually(f"{name} runs at epoch {epoch}", there, timeout=timeout)

    def events(self, name: str) -> dict[str, list[str]]:
        """Messages of its events by reason, in order."""
        found: dict[str, list[str]] = {}
        for event in self._events(name):
            found.setdefault(event["reason"], []).append(event["message"])
        return found

    def told_at(self, name: str, reason: str) -> str:
        """When the last event of that reason was told."""
        return str([e["firstTimestamp"] for e in self._events(name) if e["reason"] == reason][-1])

    def _events(self, name: str) -> list[dict[str, Any]]:
        """Of the newest object of that name, also when it is gone."""
        which = f"involvedObject.name={name},involvedObject.kind=VirtualServer"
        words = ("-n", NAMESPACE, "get", "events", "--field-selector", which, "-o", "json")
        found = sorted(json.loads(self.lab.kubectl(*words))["items"], key=_order)
        newest = found[-1]["involvedObject"]["uid"] if found else ""
        return [event for event in found if event["involvedObject"]["uid"] == newest]

    def domain(self, name: str) -> dict[str, Any]:
        """The one QEMU of that server."""
        return eventually(f"{name} has a QEMU", lambda: self.domains().get(name))

    def xml(self, name: str) -> str:
        """Its domain's XML as libvirt has it."""
        domain = self.domain(name)
        return self.lab.on(domain["host"], "virsh", "dumpxml", "--inactive", domain["domain"])

    def images(self) -> set[str]:
        return set(self.lab.ceph("rbd", "ls", "vms").split())

    def trash(self) -> set[str]:
        """Names of the images in the trash."""
        listed = json.loads(self.lab.ceph("rbd", "trash", "ls", "vms", "--format", "json"))
        return {row["name"] for row in listed}

    def cluster(self, kind: str, name: str) -> dict[str, Any] | None:
        """A cluster-scoped object; None when there is none."""
        text = self.lab.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return dict(json.loads(text)) if text else None


def _order(event: dict[str, Any]) -> tuple[str, str]:
    return event["lastTimestamp"], event["metadata"]["name"]


def desk(lab: LabTool) -> Iterator[Desk]:
    """A desk whose servers are deleted in the end."""
    there = Desk(lab)
    there.apply()  # the namespace, whichever test comes first
    yield there
    there.remove()
