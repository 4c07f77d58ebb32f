"""The hypervisor hosts of the lab: their files, their power, their freezing."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import yaml

from labkit import ceph, controlplane, names, network, product
from labkit.errors import LabError, Unknown
from labkit.namespaces import HERE, Inside, nice, pid_inside, unshared
from labkit.pki import Authority
from labkit.state import Folder, HostState, LabState
from labkit.supervise import Supervisor, doors, init_pid, kill_namespace, wake

PROJECT = HERE.parent.parent
CONTROL_NICE = -5
SERVICES = ("libvirtd", "heart", "agent")
MACHINE = "machine-"
SHUTDOWN_PATIENCE_S = 10.0
FREEZE_PATIENCE_S = 10.0
#: states of processes that do nothing any more
STOPPED = ("T", "t", "Z", "X")
MIGRATION_TLS_FILES = {
    "ca-cert.pem": "ca.pem",
    "server-cert.pem": "{host}.pem",
    "server-key.pem": "{host}.key",
    "client-cert.pem": "{host}.pem",
    "client-key.pem": "{host}.key",
}
LIBVIRT_FILES = {
    "CA/cacert.pem": "ca.pem",
    "libvirt/servercert.pem": "{host}.pem",
    "libvirt/clientcert.pem": "{host}.pem",
    "libvirt/private/serverkey.pem": "{host}.key",
    "libvirt/private/clientkey.pem": "{host}.key",
}


class Host:
    """One host of a lab. Methods raise Unknown for orders that make no sense now."""

    def __init__(self, folder: Folder, state: LabState, lab: Inside, name: str) -> None:
        self.folder = folder
        self.lab_state = state
        self.lab = lab
        self.name = name
        self.index = names.host_index(name)
        self.path = folder.host(name)
        self.socket = folder.host_socket(name)

    @property
    def state(self) -> HostState:
        return self.lab_state.hosts[self.name]

    def pid(self) -> int | None:
        """The host's PID 1 as the machine's /proc shows it; None when powered off."""
        return init_pid(self.socket)

    def on(self) -> int:
        """Like pid(), but a host that is off raises Unknown."""
        pid = self.pid()
        if pid is None:
            raise Unknown(f"{self.name} is powered off: hack/lab host power-on {self.name}")
        return pid

    def supervisor(self) -> Supervisor:
        self.on()
        if self.frozen():
            raise Unknown(f"{self.name} is frozen: hack/lab host thaw {self.name}")
        return Supervisor(self.socket)

    # --- files

    def install(self, authority: Authority) -> None:
        """Give the host its disk, unless it has it."""
        if self.state.installed:
            return
        self.write_files(authority)
        self.state.installed = True
        self.folder.save(self.lab_state)

    def write_files(self, authority: Authority) -> None:
        """Everything that a host has on its disk before it boots for the first time."""
        for folder in (
            self.path,
            self.folder.host_logs(self.name),
            self.folder.consoles / self.name,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        etc = self.path / "etc"
        for part in ("libvirt/hooks", "respawn"):
            (etc / part).mkdir(parents=True, exist_ok=True)
        management = names.host_address("management", self.index)
        migration = names.host_address("migration", self.index)
        authority.issue(
            self.name,
            common_name=self.name,
            organizations=["respawn-lab"],
            addresses=[management, migration],
            hostnames=[self.name],
        )
        for target, source in LIBVIRT_FILES.items():
            self._copy_pki(source, etc / "pki" / target)
        for target, source in MIGRATION_TLS_FILES.items():
            self._copy_pki(source, etc / "pki/qemu" / target)
        (etc / "libvirt/libvirtd.conf").write_text(self._libvirtd_conf(management))
        (etc / "libvirt/qemu.conf").write_text(_qemu_conf(migration))
        (etc / "machine-id").write_text(self.state.machine_id.replace("-", "") + "\n")
        ceph.client_files(self.folder, self.lab_state, self.lab, self.name, etc)
        agent = authority.issue(
            f"agent-{self.name}",
            common_name=f"respawn:host:{self.name}",
            organizations=["respawn:hosts"],
        )
        controlplane.write_kubeconfig(
            self.folder, etc / "respawn/kubeconfig", controlplane.plane_url(), self.name, agent
        )
        config = product.agent_config(self.name, self.state.machine_id)
        (etc / "respawn/agent.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        if not self.lab_state.bare:
            product.install_hook(etc / "libvirt/hooks")

    def _copy_pki(self, source: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        origin = self.folder.pki / source.format(host=self.name)
        target.write_bytes(origin.read_bytes())
        target.chmod(0o600 if target.name.endswith("key.pem") else 0o644)

    def _libvirtd_conf(self, management: str) -> str:
        return f"""listen_tls = 1
listen_tcp = 0
listen_addr = "{management}"
tls_no_verify_certificate = 0
tls_allowed_dn_list = ["O=respawn-lab,CN=operator", "O=respawn-lab,CN=host-*"]
host_uuid = "{self.state.machine_id}"
unix_sock_group = "root"
unix_sock_ro_perms = "0700"
max_client_requests = 50
max_workers = 200
keepalive_interval = 5
keepalive_count = 3
"""

    # --- power

    def power_on(self) -> None:
        """Boot with a new boot ID; returns when libvirtd answers.

        A boot that was broken off half-way is brought to its end. Raises Unknown when frozen.
        """
        if self.frozen():
            raise Unknown(f"{self.name} is frozen: hack/lab host thaw {self.name}")
        running = self.pid() is not None
        if running and self.state.booted:
            return
        self.state.booted = False
        if not running:
            self.state.boot_id = str(uuid.uuid4())
        self.folder.save(self.lab_state)
        if not running:
            self._start_namespace()
        self.plug()
        supervisor = Supervisor(self.socket)
        for name, argv in self.services().items():
            supervisor.define(name, argv)
            supervisor.start(name)
        self.wait_libvirtd()
        self.state.booted = True
        self.folder.save(self.lab_state)

    def _start_namespace(self) -> None:
        command = unshared(HERE / "host-boot.sh", self.socket, self.folder.host_logs(self.name))
        environment = {
            "HOST": self.name,
            "LAB_FOLDER": str(self.folder.path),
            "PROJECT": str(PROJECT),
            "BOOT_ID": self.state.boot_id,
        }
        lab = Supervisor(self.folder.socket)
        self._end_boot()
        # what is left of a broken-off boot hears no SIGTERM
        lab.define(self.service, command, env=environment, restart=False, stop_patience=0.5)
        lab.start(self.service)
        deadline = time.monotonic() + 20
        while self.pid() is None:
            if time.monotonic() > deadline or self._dead():
                log = self.folder.logs / f"{self.service}.log"
                raise LabError(f"{self.name} does not boot:\n{log.read_text()[-1500:]}")
            time.sleep(0.01)

    def _end_boot(self) -> None:
        """Until the process that holds the host's namespaces is gone, and reaped.

        It outlives their PID 1 by a moment, or the host is half-way into a boot and has none yet.
        """
        lab = Supervisor(self.folder.socket)
        if self.service in lab.services():
            lab.stop(self.service)

    @property
    def service(self) -> str:
        return MACHINE + self.name

    def _dead(self) -> bool:
        services = Supervisor(self.folder.socket).services()
        return bool(services[self.service]["state"] == "dead")

    def plug(self) -> None:
        network.plug_host(self.lab, self.index, pid_inside(self.on()))

    def services(self) -> dict[str, list[str]]:
        """Service -> command, in the order in which a host starts them."""
        libvirtd = [*nice(CONTROL_NICE), "libvirtd", "--listen", "-p", "/run/libvirt/libvirtd.pid"]
        return {"libvirtd": libvirtd, **({} if self.lab_state.bare else product.host_services())}

    def wait_libvirtd(self, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        inside = Inside(self.on())
        while inside.run(["virsh", "-q", "uri"], check=False).returncode:
            if time.monotonic() > deadline:
                log = self.folder.host_logs(self.name) / "libvirtd.log"
                raise LabError(
                    f"libvirtd of {self.name} does not answer:\n{log.read_text()[-1500:]}"
                )
            time.sleep(0.02)

    def power_off(self) -> None:
        """SIGKILL to PID 1, then the links go: nobody is told. Returns when no process is left."""
        self.state.booted = False
        self.folder.save(self.lab_state)
        kill_namespace(self.socket)
        self._end_boot()
        network.unplug_host(self.lab, self.index)

    def erase(self) -> None:
        """Forget the disk of a host that is powered off."""
        if self.pid() is not None:
            raise LabError(f"{self.name} is on")
        lab = Supervisor(self.folder.socket)
        if self.service in lab.services():
            lab.order(op="forget", name=self.service)
        if self.path.exists():
            shutil.rmtree(self.path)
        self.lab.run(["rm", "-rf", f"/run/hosts/{self.name}"])

    def shutdown(self) -> None:
        """What an orderly shutdown does: services, then the QEMUs get SIGTERM and 10 s."""
        supervisor = self.supervisor()
        running = supervisor.services()
        for name in ("agent", "heart", "libvirtd"):
            if name in running:
                supervisor.stop(name)
        qemus = list(self.qemus())
        for pid in qemus:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + SHUTDOWN_PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() for pid in qemus) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.power_off()

    # --- processes

    def processes(self) -> Iterator[int]:
        """Every process of the host, as the machine's /proc shows them."""
        pid = self.pid()
        if pid is None:
            return
        own = os.readlink(f"/proc/{pid}/ns/pid")
        for entry in os.listdir("/proc"):
            if entry.isdigit() and _pid_namespace(int(entry)) == own:
                yield int(entry)

    def qemus(self) -> Iterator[int]:
        for pid in self.processes():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu-system" in command.split(b"\0", 1)[0]:
                yield pid

    def frozen(self) -> bool:
        pid = self.pid()
        return pid is not None and _stopped(pid)

    def freeze(self) -> None:
        """SIGSTOP to every process, PID 1 first; again until no new one has appeared."""
        self.on()
        told: set[int] = set()
        deadline = time.monotonic() + FREEZE_PATIENCE_S
        while True:
            moving = [pid for pid in self.processes() if not _at_rest(pid, told)]
            if not moving:
                return
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not freeze: {moving} run on")
            for pid in moving:
                _signal(pid, signal.SIGSTOP)
                told.add(pid)
            time.sleep(0.002)

    def thaw(self) -> None:
        """SIGCONT to all that is stopped, except a service that was frozen by itself.

        Also when PID 1 runs: an earlier thaw may have been broken off.
        """
        pid = self.on()
        _signal(pid, signal.SIGCONT)
        keep = {
            service["pid"]
            for service in Supervisor(self.socket).services().values()
            if service["state"] == "frozen"
        }
        for process in self.processes():
            try:
                kept = pid_inside(process, 2) in keep
            except OSError:
                continue  # it has ended meanwhile
            if not kept:
                _signal(process, signal.SIGCONT)
        wake(doors(pid))  # an open `host exec`, which stopped itself along with its command


def is_machine(service: str) -> bool:
    """Whether a service of the lab's supervisor is the PID 1 of a host."""
    return service.startswith(MACHINE)


def new_state(name: str, machine_id: str = "") -> HostState:
    """A host that is not there yet; of a machine that was there before, if MACHINE_ID is given."""
    return HostState(name=name, machine_id=machine_id or str(uuid.uuid4()))


def _qemu_conf(migration: str) -> str:
    return f"""user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_address = "{migration}"
migration_host = "{migration}"
migrate_tls_x509_cert_dir = "/etc/pki/qemu"
migrate_tls_x509_verify = 1
"""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _pid_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _stopped(pid: int) -> bool:
    return _process_state(pid) in STOPPED


def _at_rest(pid: int, told: set[int]) -> bool:
    """Whether a process is stopped, or will be before it runs again.

    One that has been TOLD to stop and sleeps in the kernel (as the parent of a vfork does until its
    child, which is stopped too, is done) stops on its way out.
    """
    state = _process_state(pid)
    return state in STOPPED or (state == "D" and pid in told)


def _process_state(pid: int) -> str:
    """The letter in /proc; X when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat.rpartition(")")[2].split()[0]
