"""The lab's four switches: bridges, ports, and cutting a port so that packets just vanish.

Everything lives in the lab's network namespace. A cut is an element of an nftables set, not a
link that goes down: a real partition gives no loss of carrier, and software that watches the
carrier must get no help.
"""

from __future__ import annotations

import json
import time

from labkit import names
from labkit.errors import LabError
from labkit.namespaces import Inside

#: sets of cut ports: a host's own cable, and the whole switch
HOST_SET, SWITCH_SET = "cut", "switchcut"

_TABLE = """
table bridge lab {
  set cut { type ifname; counter; }
  set switchcut { type ifname; counter; }
  chain pre {
    type filter hook prerouting priority -300; policy accept;
    iifname @cut counter drop
    iifname @switchcut counter drop
  }
  chain post {
    type filter hook postrouting priority 300; policy accept;
    oifname @cut counter drop
    oifname @switchcut counter drop
  }
}
"""


def build_switches(lab: Inside) -> None:
    """Four bridges, the table of cuts, and the named networks of what is not a host."""
    for plane in names.PLANES:
        name = names.bridge(plane)
        lab.script(
            f"ip link add {name} type bridge stp_state 0 forward_delay 0; ip link set {name} up"
        )
    lab.run(["nft", "-f", "-"], stdin=_TABLE)
    listed = lab.run(["nft", "-j", "list", "table", "bridge", "lab"]).stdout
    if '"postrouting"' not in listed:
        raise LabError("nftables did not load the lab's table: cuts would silently do nothing")
    management, storage, migration = (names.PLANE_NETS[p] for p in names.PLANES[:3])
    add_network(lab, "api", {"management": f"{names.API_ADDRESS}/24"})
    add_network(lab, "ceph", {"storage": f"{names.CEPH_ADDRESS}/24"})
    add_network(lab, "tenant", {"tenant": f"{names.TENANT_GATEWAY}/16"})
    probe = names.PROBE_HOST_PART
    add_network(
        lab,
        "probe",
        {
            "management": f"{management}.{probe}/24",
            "storage": f"{storage}.{probe}/24",
            "migration": f"{migration}.{probe}/24",
            "tenant": f"10.40.0.{probe}/16",
        },
    )


def add_network(lab: Inside, name: str, addresses: dict[str, str]) -> None:
    """A named network with one device per plane that it is plugged into."""
    lines = [f"ip netns add {name}", f"ip -n {name} link set lo up"]
    for plane, address in addresses.items():
        short = names.PLANE_DEVICES[plane]
        port, device = f"{short}-{name}", f"{short}0"
        lines += [
            f"ip link add {port} type veth peer name {device} netns {name}",
            f"ip link set {port} master {names.bridge(plane)} up",
            f"ip -n {name} addr add {address} dev {device}",
            f"ip -n {name} link set {device} up",
        ]
    lines.append(
        f"ip netns exec {name} sysctl -qw net.ipv4.conf.all.arp_ignore=1 "
        "net.ipv4.conf.all.arp_announce=2"
    )
    lab.script("\n".join(lines))


def plug_host(lab: Inside, index: int, pid: int) -> None:
    """Plug a host that has just booted into the four switches. PID as the lab's /proc shows it."""
    lines = []
    for plane in names.PLANES:
        port, device = names.host_port(plane, index), names.host_device(plane)
        lines += [
            f"ip link del {port} 2>/dev/null || true",
            f"ip link add {port} type veth "
            f"peer name {device} address {names.host_mac(plane, index)} netns {pid}",
            f"ip link set {port} master {names.bridge(plane)} up",
        ]
    lab.script("\n".join(lines))
    inner = ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1 || true"]
    for plane in names.PLANES:
        device = names.host_device(plane)
        if plane == "tenant":
            inner += [
                "[ -e /sys/class/net/tenant ] || "  # of a boot that was broken off
                "ip link add tenant type bridge stp_state 0 forward_delay 0",
                f"ip link set {device} master tenant up",
                "ip link set tenant up",
            ]
        else:
            inner += [
                f"ip addr add {names.host_address(plane, index)}/24 dev {device}",
                f"ip link set {device} up",
            ]
    lab.run(["nsenter", "-t", str(pid), "-n", "-m", "--", "/bin/bash", "-euc", "\n".join(inner)])


def unplug_host(lab: Inside, index: int) -> None:
    ports = [names.host_port(plane, index) for plane in names.PLANES]
    lab.script("\n".join(f"ip link del {port} 2>/dev/null || true" for port in ports))


def plugged(lab: Inside) -> set[str]:
    """Every device in the lab's own network: switches, and the ports in them."""
    return set(lab.run(["ls", "/sys/class/net"]).stdout.split())


def _elements(lab: Inside, set_name: str) -> dict[str, int]:
    """Port -> packets that vanished at it."""
    done = lab.run(["nft", "-j", "list", "set", "bridge", "lab", set_name])
    for entry in json.loads(done.stdout)["nftables"]:
        if "set" in entry:
            found = {}
            for element in entry["set"].get("elem", []):
                inner = element["elem"] if isinstance(element, dict) else {"val": element}
                found[inner["val"]] = inner.get("counter", {}).get("packets", 0)
            return found
    raise LabError(f"nftables has no set {set_name}")


def cut_ports(lab: Inside) -> dict[str, set[str]]:
    """set name -> ports in it."""
    return {name: set(_elements(lab, name)) for name in (HOST_SET, SWITCH_SET)}


def change(lab: Inside, verb: str, set_name: str, ports: list[str]) -> None:
    """Add ports to a set of cuts or delete them; what is so already stays so."""
    present = set(_elements(lab, set_name))
    wanted = [p for p in ports if (p in present) == (verb == "delete")]
    if wanted:
        body = ", ".join(f'"{p}"' for p in wanted)
        lab.run(["nft", verb, "element", "bridge", "lab", set_name, "{ " + body + " }"])


def wait_vanished(lab: Inside, ports: dict[str, str], timeout: float = 5.0) -> None:
    """Send probes until a packet has vanished at each port (port -> plane)."""
    deadline = time.monotonic() + timeout
    before = _vanished(lab)
    missing = set(ports)
    while missing:
        for plane in {ports[p] for p in missing}:
            _broadcast_probe(lab, plane)
        now = _vanished(lab)
        missing = {p for p in missing if now.get(p, 0) <= before.get(p, 0)}
        if missing and time.monotonic() > deadline:
            raise LabError(f"probes still pass or never reach: {', '.join(sorted(missing))}")


def _vanished(lab: Inside) -> dict[str, int]:
    """Port -> packets swallowed there, by whichever of the two cuts came first."""
    found: dict[str, int] = {}
    for set_name in (HOST_SET, SWITCH_SET):
        for port, packets in _elements(lab, set_name).items():
            found[port] = found.get(port, 0) + packets
    return found


def _broadcast_probe(lab: Inside, plane: str) -> None:
    """Ping an address that nobody has: its ARP question is flooded to every port."""
    net = names.PLANE_NETS.get(plane, "10.40.0")
    lab.run(["ping", "-q", "-c", "1", "-W", "0.1", f"{net}.253"], network="probe", check=False)


def wait_reachable(lab: Inside, plane: str, index: int, timeout: float = 5.0) -> None:
    """Until the host answers pings on the plane (the tenant plane has no address of a host)."""
    if plane == "tenant":
        return
    address = names.host_address(plane, index)
    deadline = time.monotonic() + timeout
    while True:
        ping = ["ping", "-q", "-c", "1", "-W", "0.3", address]
        if lab.run(ping, network="probe", check=False).returncode == 0:
            return
        if time.monotonic() > deadline:
            raise LabError(f"{address} does not answer on the {plane} plane")
