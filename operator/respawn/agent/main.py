"""`respawn agent`: the process around one agent. Its end stops no server (S5)."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from respawn.adapters.ceph.access import Access, fixed
from respawn.adapters.ceph.hearts import CephHeart
from respawn.adapters.ceph.host import HostCeph
from respawn.adapters.ceph.images import CephImages
from respawn.adapters.clock import SystemClock
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.config import ConfigError as KubeconfigError
from respawn.adapters.kubernetes.config import load as load_kubeconfig
from respawn.adapters.kubernetes.host_cluster import KubernetesHostCluster
from respawn.adapters.kubernetes.revisions import Revisions
from respawn.adapters.libvirt import accelerator as accelerators
from respawn.adapters.libvirt.ceph_access import write_conf
from respawn.adapters.libvirt.domain_xml import DomainSettings
from respawn.adapters.libvirt.hypervisor import LibvirtHypervisor
from respawn.adapters.libvirt.journal import FOLDER, RunJournal
from respawn.adapters.libvirt.machine import LibvirtHost, MachineSettings
from respawn.agent import config as configs
from respawn.agent import machine
from respawn.agent.config import AgentConfig
from respawn.agent.core import Agent, AgentPorts
from respawn.agent.endless import endless
from respawn.agent.guard_server import GuardServer
from respawn.agent.heart_files import HeartFiles
from respawn.agent.heart_link import HeartLink
from respawn.agent.inputs import Inputs

log = logging.getLogger("respawn.agent")
MEMORY = Path("/var/lib/respawn")
"""What an agent remembers over reboots: /run is empty after one."""
EMULATOR = "/usr/bin/qemu-system-x86_64"


class Process:
    """One agent process: builds the adapters, feeds the agent, and lets go in order."""

    def __init__(self, config: AgentConfig, client: Client, accelerator: str) -> None:
        self._config, self._client, self._accelerator = config, client, accelerator
        self._hypervisor = self._make_hypervisor()
        self._ceph_access = fixed(Access(config.ceph_client, conffile=str(config.ceph.conf)))
        self._ceph = HostCeph(self._ceph_access)
        self._images = CephImages(self._ceph_access)
        self._heart = CephHeart(self._ceph_access, pool=config.ceph.pool, host=config.node)
        self._host = self._make_host()
        self._clock = SystemClock()
        self._agent: Agent | None = None

    def _make_hypervisor(self) -> LibvirtHypervisor:
        self._journal = RunJournal()
        patience = FOLDER / "qemu-ceph.conf"
        write_conf(patience, base=self._config.ceph.conf)
        settings = DomainSettings(
            accelerator=self._accelerator,
            ceph_client=self._config.ceph_client,
            consoles=str(self._config.consoles),
            ceph_conf=str(patience),
        )
        return LibvirtHypervisor(
            settings,
            boot_id=machine.boot_id(),
            journal=self._journal,
            on_change=lambda uid: self.agent.on_change(uid),
            on_exit=lambda gone: self.agent.on_exit(gone),
            on_connected=lambda: self.agent.wake_all(),
            keyring=self._config.keyring,
        )

    def _make_host(self) -> LibvirtHost:
        settings = MachineSettings(
            accelerator=self._accelerator,
            reserved=self._config.reserved_bytes,
            memory=self._config.memory_bytes,
            cores=self._config.cores,
            machine_id=machine.machine_id(self._config.machineID),
        )
        return LibvirtHost(
            self._config.node,
            settings,
            processes=self._hypervisor.processes,
            pools=lambda: self._agent.pools.values() if self._agent else (),
            blocklist=self._ceph.blocklist,
        )

    @property
    def agent(self) -> Agent:
        """The agent; callbacks of libvirt come only after it was made."""
        assert self._agent is not None
        return self._agent

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; raises what any part of it raised."""
        me = await self._host.identity()
        ports = AgentPorts(
            cluster=KubernetesHostCluster(self._client, namespace=self._config.namespace),
            hypervisor=self._hypervisor,
            journal=self._journal,
            host=self._host,
            heart=self._heart,
            epochs=self._images,
            clock=self._clock,
        )
        told = HeartFiles().account()
        self._agent = Agent(me, ports, {}, beaten=told.acknowledged if told else None)
        inputs = Inputs(self._agent, self._client, node=self._config.node, folder=MEMORY)
        self._agent.api_back = inputs.relist
        inputs.recall()
        log.info("agent of %s, machine %s, boot %s", me.node, me.machine_id, me.boot_id)
        guard = GuardServer(self._agent.guard.answer)
        await guard.start()
        self._hypervisor.start()
        try:
            await self._work(inputs, stop)
        finally:
            await guard.close()
            self._hypervisor.close()
            self._host.close()
            self._ceph.close()
            await self._images.close()

    async def _work(self, inputs: Inputs, stop: asyncio.Event) -> None:
        link = HeartLink(
            self.agent, HeartFiles(), self._clock, lambda: self.agent.state.timings.heartbeat
        )
        async with asyncio.TaskGroup() as group:
            follow: dict[str, Callable[[], Awaitable[None]]] = {
                "following servers": partial(inputs.follow, inputs.run_servers),
                "following the Node": partial(inputs.follow, inputs.run_node),
                "following the policy": partial(inputs.follow, inputs.run_policy),
                "following pools": partial(inputs.follow, inputs.run_pools),
                "keeping what was told": inputs.run_memory,
                "talking with the heart": link.run,
            }
            tasks = [group.create_task(self.agent.run())]
            tasks += [
                group.create_task(endless(what, work, self._clock)) for what, work in follow.items()
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()


async def run(config: AgentConfig) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    endpoint = load_kubeconfig(config.kubeconfig)
    wanted = None if config.accelerator == "auto" else config.accelerator
    accelerator = await accelerators.choose(EMULATOR, wanted)
    async with Client(endpoint, manager="respawn-agent", revisions=Revisions()) as client:
        await Process(config, client, accelerator).run(stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """`respawn agent`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="respawn agent", description=__doc__)
    parser.add_argument("--config", type=Path, default=configs.DEFAULT_PATH)
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        asyncio.run(run(configs.load(given.config)))
    except (configs.ConfigError, KubeconfigError, machine.NoMachineId) as error:
        print(f"respawn agent: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
