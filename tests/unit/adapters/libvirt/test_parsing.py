"""Small readers: sockets, ARP, ICMP, events, states, capabilities, guest agents, keys, marks."""

import asyncio
import base64
import struct
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import libvirt
import pytest

from respawn.adapters.libvirt import kernel_probe
from respawn.adapters.libvirt.accelerator import boot_sector
from respawn.adapters.libvirt.addresses import agent_addresses, ordered
from respawn.adapters.libvirt.arp import ADDRESSES_AT_MOST, ArpListener, sender
from respawn.adapters.libvirt.ceph_access import read_key, write_conf
from respawn.adapters.libvirt.domains import state_of
from respawn.adapters.libvirt.errors import of_libvirt
from respawn.adapters.libvirt.events import DomainEvent, ending, told_by_host
from respawn.adapters.libvirt.journal import Marks, RunJournal
from respawn.adapters.libvirt.machine import MOST_BRIDGES, Offer, bridges, read_offer
from respawn.adapters.libvirt.sockets import (
    Monitors,
    TowardsCeph,
    links,
    route_source,
)
from respawn.model.conditions import Reason
from respawn.model.host import DomainState
from respawn.ports.errors import Conflict, NotFound, Refused, Unavailable

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
MORE = "00000000:00000000 00:00000000 00000000     0        0"
TCP = f"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt ... inode
   0: 0B0200C0:4082 00000000:0000 0A {MORE} 1 1 0000000000000000 100 0 0 10 0
   1: 0B6433C6:A0F2 016433C6:0CE4 01 {MORE} 2 1 0000000000000000 20 4 30 10 -1
   2: 0B6433C6:A0F4 026433C6:1A90 04 {MORE} 0 1 0000000000000000 20 4 30 10 -1
   3: 0B0200C0:A0F4 010200C0:192B 01 {MORE} 4 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:A0F4 0100007F:1A90 01 {MORE} 5 1 0000000000000000 20 4 30 10 -1
   5: 0C6433C6:1A90 00000000:1A90 0A {MORE} 6 1 0000000000000000 20 4 30 10 -1
   6: 010011AC:C001 020011AC:1B58 01 {MORE} 7 1 0000000000000000 20 4 30 10 -1
   7: 0B0200C0:0016 090200C0:1AFF 01 {MORE} 8 1 0000000000000000 20 4 30 10 -1
   8: 0D6433C6:A0F6 026433C6:1A92 01 {MORE} 9 1 0000000000000000 20 4 30 10 -1
"""
"""1: a monitor; 2: of a QEMU that has ended; 6: a container's service; 7: SSH; 8: of a QEMU."""
TCP6 = f"""  sl  local_address remote_address st
   0: B80D0120000000000000000001000000:A000 B80D0120000000000000000002000000:0CE4 01 {MORE} 1
   1: 0000000000000000FFFF00000D6433C6:A000 0000000000000000FFFF0000016433C6:1A85 01 {MORE} 2
"""


def towards(folder: Path, *owned: int) -> TowardsCeph:
    (folder / "tcp").write_text(TCP)
    return TowardsCeph(lambda: frozenset(owned), [folder / "tcp", folder / "none"])


def test_links_to_ports_of_ceph_closing_ones_too() -> None:
    found = [(link.local, link.remote, link.inode) for link in links(TCP)]
    assert found == [
        ("198.51.100.11", "198.51.100.1", 2),
        ("198.51.100.11", "198.51.100.2", 0),
        ("172.17.0.1", "172.17.0.2", 7),
        ("192.0.2.11", "192.0.2.9", 8),
        ("198.51.100.13", "198.51.100.2", 9),
    ]
    six = [(link.local, link.remote) for link in links(TCP6)]
    assert six == [("2001:db8::1", "2001:db8::2"), ("198.51.100.13", "198.51.100.1")]


def test_only_what_talks_with_ceph_counts(tmp_path: Path) -> None:
    """A container bridge that every host has, and a client of ours on an odd port, do not."""
    assert towards(tmp_path).addresses(["198.51.100.1:3300"]) >= {"198.51.100.11"}
    assert not towards(tmp_path).addresses(["198.51.100.1:3300"]) & {"172.17.0.1", "192.0.2.11"}
    both = {"198.51.100.11", "198.51.100.13"}
    assert towards(tmp_path, 9).addresses([]) == both


def test_what_a_dead_qemu_left_behind_counts(tmp_path: Path) -> None:
    owned = {9}
    (tmp_path / "tcp").write_text(TCP)
    it = TowardsCeph(lambda: frozenset(owned), [tmp_path / "tcp"])
    it.addresses([])
    owned.clear()
    (tmp_path / "tcp").write_text(TCP.replace(f"01 {MORE} 9 ", f"04 {MORE} 0 "))
    assert it.addresses([]) == {"198.51.100.11", "198.51.100.13"}


def test_processes_are_looked_at_only_for_an_unknown_end(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text("\n".join(TCP.splitlines()[:4]))
    looked: list[int] = []

    def owned() -> frozenset[int]:
        looked.append(1)
        return frozenset()

    TowardsCeph(owned, [tmp_path / "tcp"]).addresses(["198.51.100.1:3300"])
    assert not looked


def test_routes_count_before_any_socket_does(tmp_path: Path) -> None:
    found = towards(tmp_path, 9).addresses(["127.0.0.1:3300"])
    assert found == {"198.51.100.11", "198.51.100.13", "127.0.0.1"}
    assert route_source("[::ffff:255.255.255.255]:1") is None


@pytest.mark.parametrize(
    "odd", ["mon-a.example.com:3300", "300.1.1.1:3300", "127.0.0.1:99999", "", ":"]
)
def test_a_monitor_that_makes_no_sense_has_no_route(odd: str) -> None:
    assert route_source(odd) is None


def test_monitors_by_name_are_resolved_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = {"mon-a": ["192.0.2.1", "2001:db8::1"], "300.1.1.1": []}

    async def story() -> None:
        loop, monitors = asyncio.get_running_loop(), Monitors()

        async def resolve(host: str, port: int, **_: object) -> list[object]:
            asked.append(host)
            if not answers[host]:
                raise OSError("Name or service not known")
            return [(0, 0, 0, "", (address, port)) for address in answers[host]]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        given = ["mon-a:3300", "300.1.1.1:3300", "192.0.2.9:3300", "[2001:db8::9]:3300"]
        expected = {"192.0.2.1:3300", "[2001:db8::1]:3300", "192.0.2.9:3300", "[2001:db8::9]:3300"}
        assert await monitors.by_address(given) == expected
        assert await monitors.by_address(given) == expected and len(asked) == 2
        answers["mon-a"] = []
        monitors._due = 0.0
        assert await monitors.by_address(given) == expected and len(asked) == 4

    asyncio.run(story())


def arp(address: str, *, operation: int = 1, cut: int = 60) -> bytes:
    ethernet = b"\xff" * 6 + b"\x52\x54\x00\x00\x00\x01" + b"\x08\x06"
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    body = b"\x52\x54\x00\x00\x00\x01" + IPv4Address(address).packed + b"\0" * 10
    return (ethernet + fixed + body).ljust(60, b"\0")[:cut]


@pytest.mark.parametrize(
    ("frame", "address"),
    [
        (arp("10.40.0.7"), "10.40.0.7"),
        (arp("10.40.0.7", operation=2), "10.40.0.7"),
        (arp("0.0.0.0"), None),
        (arp("127.0.0.1"), None),
        (arp("10.40.0.7", cut=40), None),
        (b"", None),
        (b"\0" * 60, None),
    ],
)
def test_arp_senders(frame: bytes, address: str | None) -> None:
    assert sender(frame) == address


def test_a_guest_that_claims_everything_is_believed_a_little() -> None:
    news: list[str] = []
    listener = ArpListener(news.append)
    for last in range(1, 100):
        listener.hear("vs1", arp(f"10.40.0.{last}"))
        listener.hear("vs1", arp(f"10.40.0.{last}"))
    assert listener.heard("vs1") == tuple(f"10.40.0.{n}" for n in range(1, ADDRESSES_AT_MOST + 1))
    assert news == ["vs1"] * ADDRESSES_AT_MOST
    assert listener.heard("vs2") == ()


def test_a_guest_agents_cards() -> None:
    answer = (
        '{"return":[{"name":"lo","ip-addresses":[{"ip-address":"127.0.0.1"}]},{"name":"none"},'
        '{"name":"eth0","ip-addresses":[{"ip-address":"fe80::1"},{"ip-address":"2001:db8::5"},'
        '{"ip-address":"10.40.0.7"},{"ip-address":"rubbish"}]}]}'
    )
    assert ordered(agent_addresses(answer)) == ("10.40.0.7", "2001:db8::5")
    for broken in ("", "{}", '{"return": 5}', "[]", '{"return": ["a card"]}'):
        assert agent_addresses(broken) == ()


@pytest.mark.parametrize("odd", ['"2001:db8::5%' + "x" * 200 + '"', "5", "true", "[]"])
def test_a_guest_cannot_make_its_hosts_report_unwritable(odd: str) -> None:
    """One address that the API server refuses, and nothing of the whole host is told any more."""
    cards = f'[{{"ip-addresses":[{{"ip-address":{odd}}},{{"ip-address":"10.40.0.7"}}]}}]'
    assert ordered(agent_addresses(f'{{"return":{cards}}}')) == ("10.40.0.7",)


def event(kind: int, detail: int) -> DomainEvent:
    return DomainEvent(UID, 1, kind, detail)


STOPPED = libvirt.VIR_DOMAIN_EVENT_STOPPED


@pytest.mark.parametrize(
    ("told", "by_host", "reason"),
    [
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN), False, Reason.GUEST_SHUTDOWN),
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN), True, Reason.QEMU_DIED),
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED), False, Reason.QEMU_DIED),
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED), False, Reason.GUEST_PANICKED),
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED), False, Reason.DESTROYED),
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED), False, Reason.DESTROYED),
        (event(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED), False, Reason.VANISHED),
        (
            event(libvirt.VIR_DOMAIN_EVENT_CRASHED, libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED),
            False,
            Reason.GUEST_PANICKED,
        ),
        (event(libvirt.VIR_DOMAIN_EVENT_SUSPENDED, 0), False, None),
        (event(libvirt.VIR_DOMAIN_EVENT_STARTED, 0), False, None),
    ],
)
def test_ends(told: DomainEvent, by_host: bool, reason: Reason | None) -> None:
    assert ending(told, by_host=by_host) == reason


def test_who_told_a_qemu_to_go() -> None:
    shutdown = libvirt.VIR_DOMAIN_EVENT_SHUTDOWN
    assert told_by_host(event(shutdown, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST))
    assert not told_by_host(event(shutdown, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST))


@pytest.mark.parametrize(
    ("state", "reason", "seen"),
    [
        (libvirt.VIR_DOMAIN_SHUTOFF, 0, DomainState.STARTING),
        (libvirt.VIR_DOMAIN_NOSTATE, 0, DomainState.STARTING),
        (libvirt.VIR_DOMAIN_RUNNING, 1, DomainState.RUNNING),
        (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
            DomainState.STARTING,
        ),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, DomainState.PAUSED),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, DomainState.PAUSED),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, DomainState.INCOMING),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, DomainState.STOPPING),
        (libvirt.VIR_DOMAIN_CRASHED, 0, DomainState.STOPPING),
    ],
)
def test_states(state: int, reason: int, seen: DomainState) -> None:
    assert state_of(state, reason) is seen


class Error(libvirt.libvirtError):
    """libvirt's error with a code and a domain of our choice."""

    def __init__(self, code: int, domain: int = libvirt.VIR_FROM_QEMU) -> None:
        self.err = (code, domain, "text", 2, "", "", "", 0, 0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Error(libvirt.VIR_ERR_NO_DOMAIN), NotFound),
        (Error(libvirt.VIR_ERR_RPC), Unavailable),
        (Error(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC), Unavailable),
        (Error(libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_RPC), Unavailable),
        (Error(libvirt.VIR_ERR_OPERATION_TIMEOUT), Unavailable),
        (Error(libvirt.VIR_ERR_OPERATION_FAILED), Conflict),
        (Error(libvirt.VIR_ERR_HOOK_SCRIPT_FAILED), Refused),
        (Error(libvirt.VIR_ERR_INTERNAL_ERROR), Refused),
    ],
)
def test_errors(error: Error, kind: type[Exception]) -> None:
    assert type(of_libvirt(error)) is kind


CAPABILITIES = """<domainCapabilities><machine>pc-q35-7.2</machine><cpu>
<mode name='host-passthrough'/><mode name='host-model' supported='yes'><model>EPYC</model></mode>
</cpu></domainCapabilities>"""


def test_bridges_are_told_from_other_interfaces(tmp_path: Path) -> None:
    for folder in ("br0/bridge", "tenant/bridge", "eth0/device", "tap1/brport", "lo"):
        (tmp_path / folder).mkdir(parents=True)
    assert bridges(tmp_path) == ("br0", "tenant")
    assert bridges(tmp_path / "nothing") == ()
    for n in range(MOST_BRIDGES):
        (tmp_path / f"n{n}/bridge").mkdir(parents=True)
    assert bridges(tmp_path) is None, "half of a list would keep servers from where they can run"


def test_offers() -> None:
    assert read_offer(CAPABILITIES, "kvm") == Offer("pc-q35-7.2", "EPYC")
    assert read_offer(CAPABILITIES, "qemu") == Offer("pc-q35-7.2", "qemu64")
    assert read_offer("<domainCapabilities/>", "kvm") == Offer("q35", "qemu64")


def test_keys_of_keyrings(tmp_path: Path) -> None:
    key = base64.b64encode(b"0123456789").decode()
    ring = tmp_path / "keyring"
    ring.write_text(f'[client.host-1]\n\tkey = {key}\n\tcaps mon = "allow r"\n')
    assert read_key(ring) == b"0123456789"
    for text in ("[client.x]\n", "key = !!\n"):
        ring.write_text(text)
        with pytest.raises(Refused, match="no Ceph key"):
            read_key(ring)
    with pytest.raises(Refused, match="none"):
        read_key(tmp_path / "none")


def test_conf_for_qemu_is_the_hosts_with_less_patience(tmp_path: Path) -> None:
    made = tmp_path / "run/qemu.conf"
    (tmp_path / "ceph.conf").write_text("[global]\nfsid = x\n[client]\nadmin socket =\n")
    write_conf(made, base=tmp_path / "ceph.conf", op_timeout=2.5)
    assert made.read_text() == (
        "[global]\nfsid = x\n[client]\nadmin socket =\n\n[client]\nrados osd op timeout = 2.5\n"
    )
    write_conf(made, base=tmp_path / "none")
    assert made.read_text().split() == ["[client]", "rados", "osd", "op", "timeout", "=", "30"]
    assert [p.name for p in made.parent.iterdir()] == ["qemu.conf"]


def test_marks_survive_their_writer_and_are_set_once(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "m")
    assert marks.put(UID, 3) and not marks.put(UID, 3)
    again = Marks(tmp_path / "m")
    assert again.has(UID, 3) and not again.has(UID, 4)
    assert again.all() == {(UID, 3)}
    again.drop(UID, 3)
    again.drop(UID, 3)
    assert marks.all() == frozenset()


def test_an_epoch_is_admitted_once_in_a_boot(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path)
    assert journal.admit(UID, 1) and not journal.admit(UID, 1)
    successor = RunJournal(tmp_path)
    assert successor.admitted() == {(UID, 1)} and not successor.admit(UID, 1)
    assert successor.admit(UID, 2)


def test_the_last_contact_is_kept_for_the_next_agent_of_this_boot(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path / "run")
    assert journal.contact() is None
    journal.keep_contact(81.25)
    journal.keep_contact(82.125)
    assert RunJournal(tmp_path / "run").contact() == 82.125
    (tmp_path / "run" / "contact").write_text("soon")
    assert journal.contact() is None


def test_a_contact_that_cannot_be_kept_harms_nothing(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path)
    (tmp_path / "contact").mkdir()
    journal.keep_contact(81.25)
    assert journal.contact() is None


def test_a_mark_that_cannot_be_written_admits_nothing(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path)
    (tmp_path / "admitted").rmdir()
    with pytest.raises(OSError):
        journal.admit(UID, 1)
    assert journal.admitted() == frozenset()


def test_echo_requests_and_replies() -> None:
    request = kernel_probe.echo_request(4, 0x1234, 7)
    words = struct.unpack("!4H", request)
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    reply = b"\0" + request[1:]
    assert kernel_probe.is_reply(4, reply, None)
    assert not kernel_probe.is_reply(4, request, None)
    assert not kernel_probe.is_reply(4, reply[:7], None)
    raw = b"\x45" + b"\0" * 19 + reply
    assert kernel_probe.is_reply(4, raw, 0x1234) and not kernel_probe.is_reply(4, raw, 0x4321)
    assert kernel_probe.is_reply(6, b"\x81\0\0\0\0\x01\0\x01", None)
    assert ip_address("::1").version == 6


def test_a_boot_sector_is_one() -> None:
    sector = boot_sector()
    assert len(sector) == 512 and sector.endswith(b"\x55\xaa")
