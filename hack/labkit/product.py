"""Respawn's processes on a host of the lab: their configuration and commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

from labkit import names
from labkit.errors import LabError
from labkit.namespaces import HERE, nice

RESPAWN = HERE.parent.parent / ".venv/bin/respawn"
NICE = -5
CONFIG = "/etc/respawn/agent.yaml"


def agent_config(host: str, machine_id: str) -> dict:
    """/etc/respawn/agent.yaml of a host.

    All hosts share one machine, so its firmware's ID, memory and cores are nobody's own.
    """
    return {
        "node": host,
        "kubeconfig": "/etc/respawn/kubeconfig",
        "namespace": names.NAMESPACE,
        "consoles": "/var/log/respawn/consoles",
        "accelerator": "qemu",
        "machineID": machine_id,
        "memory": "8Gi",
        "cores": 32,
        "reservedMemory": "512Mi",
        "ceph": {
            "conf": "/etc/ceph/ceph.conf",
            "client": host,
            "keyring": f"/etc/ceph/ceph.client.{host}.keyring",
            "pool": names.POOL,
        },
    }


def install_hook(hooks: Path) -> None:
    """libvirt's hook, which must be there before libvirtd starts."""
    done = subprocess.run(
        [str(RESPAWN), "install-hook", "--hooks", str(hooks)], capture_output=True, text=True
    )
    if done.returncode:
        raise LabError(f"respawn install-hook: {done.stderr.strip()}")


def host_services() -> dict[str, list[str]]:
    """Service -> command, in the order in which a host starts them."""
    return {
        name: [*nice(NICE), str(RESPAWN), name, "--config", CONFIG] for name in ("heart", "agent")
    }
