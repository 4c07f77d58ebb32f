"""Everything outside that an agent needs."""

from dataclasses import dataclass

from respawn.ports.clock import Clock
from respawn.ports.cluster import HostCluster
from respawn.ports.heart import HeartWrites
from respawn.ports.hypervisor import Host, Hypervisor, Journal
from respawn.ports.images import Epochs

RETRY = 1.0
"""Seconds until something that got no answer is tried again."""


@dataclass(frozen=True)
class AgentPorts:
    """Everything outside that an agent needs."""

    cluster: HostCluster
    hypervisor: Hypervisor
    journal: Journal
    host: Host
    heart: HeartWrites
    epochs: Epochs
    clock: Clock
