"""Respawn's processes on a host of the lab: their configuration and commands."""

from __future__ import annotations

from labkit import names
from labkit.namespaces import HERE, nice

RESPAWN = HERE.parent.parent / ".venv/bin/respawn"
NICE = -5
CONFIG = "/etc/respawn/agent.yaml"


def agent_config(host: str) -> dict:
    """/etc/respawn/agent.yaml of a host."""
    return {
        "node": host,
        "kubeconfig": "/etc/respawn/kubeconfig",
        "namespace": names.NAMESPACE,
        "consoles": "/var/log/respawn/consoles",
        "accelerator": "qemu",
        "reservedMemory": "512Mi",
        "ceph": {
            "conf": "/etc/ceph/ceph.conf",
            "client": host,
            "keyring": f"/etc/ceph/ceph.client.{host}.keyring",
            "pool": names.POOL,
        },
    }


def host_services() -> dict[str, list[str]]:
    """Service -> command, in the order in which a host starts them."""
    return {
        name: [*nice(NICE), str(RESPAWN), name, "--config", CONFIG] for name in ("heart", "agent")
    }
