"""What the API server makes of our kinds: accepted, refused with what to do, listed, explained."""

from typing import Any

import pytest
import yaml

from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import SERVER_IMAGES, VIRTUAL_SERVERS
from respawn.api.kinds import KINDS

pytestmark = pytest.mark.lab


def test_the_crds_are_structural_and_established(control_plane: Any) -> None:
    listed = control_plane.kubectl("get", "crds", "-o", "yaml").stdout
    crds = {crd["spec"]["names"]["kind"]: crd for crd in yaml.safe_load(listed)["items"]}
    assert crds.keys() >= {kind.name for kind in KINDS}
    for crd in crds.values():
        conditions = {c["type"]: c for c in crd["status"]["conditions"]}
        assert conditions["Established"]["status"] == "True"
        assert conditions["NamesAccepted"]["status"] == "True"
        assert "NonStructuralSchema" not in conditions


def test_the_samples_apply_twice_without_a_change_and_without_a_difference(
    control_plane: Any, samples: Any, applied: None
) -> None:
    def versions() -> list[str]:
        kinds = ",".join(f"{kind.plural}.respawn.dev" for kind in KINDS)
        path = "jsonpath={range .items[*]}{.kind}/{.metadata.resourceVersion} {end}"
        return sorted(control_plane.kubectl("get", kinds, "-A", "-o", path).stdout.split())

    # The first write after the creation stores the defaulted status, whoever makes it.
    control_plane.kubectl("apply", "--server-side", "-f", str(samples.folder))
    before = versions()
    assert len(before) == len(KINDS)
    control_plane.kubectl("apply", "--server-side", "-f", str(samples.folder))
    assert versions() == before
    difference = control_plane.kubectl(
        "diff", "--server-side", "-f", str(samples.folder), check=False
    )
    assert (difference.returncode, difference.stdout) == (0, "")


def test_an_object_nobody_has_observed_is_not_taken_for_finished(
    control_plane: Any, applied: None
) -> None:
    path = "jsonpath={.items[*].status}"
    for kind in KINDS:
        found = control_plane.kubectl("get", f"{kind.plural}.respawn.dev", "-A", "-o", path)
        assert found.stdout == '{"observedGeneration":-1}'


BAD = [
    ("VirtualServer", "spec.memory.size", "1GB", "must be a size: a number and one of Ki Mi Gi"),
    ("VirtualServer", "spec.disks.0.size", "20 Gi", "must be a size: a number and one of Ki Mi"),
    ("VirtualServer", "spec.disks.0.size", "0", "a disk must be at least 1Mi"),
    ("VirtualServer", "spec.memory.size", "1Mi", "memory must be at least 16Mi"),
    ("VirtualServer", "spec.memory.size", 1024, "must be of type string"),
    ("VirtualServer", "spec.memory", None, "say how much memory: set spec.memory.size"),
    ("VirtualServer", "spec.shutdownGracePeriod", "30", "must be a duration: whole numbers each"),
    ("VirtualServer", "spec.shutdownGracePeriod", "2h", "must be a duration between 0s and 1h"),
    ("VirtualServer", "spec.disks.1.name", "root", "Duplicate value"),
    ("VirtualServer", "spec.disks.1.name", "Data", "must be a disk name of at most 20"),
    ("VirtualServer", "spec.disks.1.name", "d" * 21, "Too long: may not be more than 20"),
    ("VirtualServer", "spec.disks.0.name", "system", "boots from its disk named root"),
    ("VirtualServer", "spec.disks", [], "should have at least 1 items"),
    ("VirtualServer", "spec.disks.0.source", {}, "set image to a ServerImage"),
    ("VirtualServer", "spec.networks.0.network", "vlan-7", "exactly one of bridge and network"),
    ("VirtualServer", "spec.networks.0.bridge", None, "exactly one of bridge and network"),
    ("VirtualServer", "spec.networks.0.macAddress", "01:00:5e:00:00:01", "a unicast MAC address"),
    ("VirtualServer", "spec.networks.0.macAddress", "00:00:00:00:00:00", "a unicast MAC address"),
    ("VirtualServer", "spec.recovery.priority", 1001, "should be less than or equal to 1000"),
    ("VirtualServer", "spec.recovery.priority", -1, "should be greater than or equal to 0"),
    ("VirtualServer", "spec.recovery.mode", "Maybe", 'supported values: "Restart", "None"'),
    ("VirtualServer", "spec.runPolicy", "Sometimes", "Unsupported value"),
    ("VirtualServer", "spec.cpu.cores", 0, "should be greater than or equal to 1"),
    ("VirtualServer", "spec.placement.preferredNodes", ["a", "a"], "Duplicate value"),
    ("VirtualServer", "metadata.name", "web.1", "the name of a VirtualServer must be a DNS label"),
    ("VirtualServer", "spec.sockets", 2, 'unknown field "spec.sockets"'),
    ("Node", "spec.libvirt.uri", "qemu+tcp://192.0.2.11/system", "must be a libvirt URI over TLS"),
    ("Node", "spec.addresses.storage", ["198.51.100.0/24"], "no CIDR"),
    ("Node", "spec.addresses.storage", ["0.0.0.0"], "an address of this host alone"),
    ("Node", "spec.addresses.storage", ["127.0.0.1"], "an address of this host alone"),
    ("Node", "spec.addresses.storage", ["224.0.0.1"], "an address of this host alone"),
    ("Node", "spec.addresses.storage", ["255.255.255.255"], "an address of this host alone"),
    ("Node", "spec.addresses.storage", ["fe80::1"], "an address of this host alone"),
    ("VirtualServer", "spec.placement.nodeSelector", {"bad key!": "a"}, "no host can have such"),
    ("VirtualServer", "spec.placement.nodeSelector", {"rack": "a b"}, "no host can have such"),
    ("Node", "spec.addresses.storage", ["host-1.example.com"], "must be one IP address"),
    ("Node", "spec.addresses.storage", [], "should have at least 1 items"),
    ("Node", "spec.scheduling.mode", "Off", 'supported values: "Enabled", "Cordoned"'),
    ("Node", "spec.fencing", {"endedBoots": ["nonsense"]}, "must be a boot ID as status.fence"),
    ("Node", "metadata.name", "operator-leader", "names that begin with operator- are reserved"),
    ("Node", "metadata.name", "host.1", "the name of a Node must be a DNS label"),
    ("StoragePool", "spec.ceph", None, "say where the disks live: set spec.ceph"),
    ("StoragePool", "spec.ceph.fsid", "x" * 36, "must be a UUID"),
    ("StoragePool", "spec.ceph.monitors", ["198.51.100.1"], "must be address:port"),
    ("StoragePool", "spec.ceph.monitors", ["300.51.100.1:3300"], "must be address:port"),
    ("StoragePool", "spec.ceph.monitors", ["198.51.100:3300"], "must be address:port"),
    ("StoragePool", "spec.ceph.monitors", ["198.51.100.1:99999"], "must be address:port"),
    ("StoragePool", "spec.ceph.monitors", ["198.51.100.1:0"], "must be address:port"),
    ("StoragePool", "spec.ceph.monitors", ["[2001:db8:::1]:3300"], "must be address:port"),
    ("StoragePool", "spec.ceph.clientName", "client respawn", "must be a name in Ceph"),
    ("ServerImage", "spec.source.http", {"url": "http://h/i"}, "exactly one of http, file and rbd"),
    ("ServerImage", "spec.source", {}, "exactly one of http, file and rbd"),
    ("ServerImage", "spec.source", {"http": {"url": "ftp://h/i"}}, "must be a URL such as"),
    (
        "ServerImage",
        "spec.source",
        {"http": {"url": "https://u:p@h/i"}},
        "use a URL that needs none",
    ),
    ("ServerImage", "spec.source.file.path", "images/a.raw", "must be an absolute path"),
    ("ServerImage", "spec.checksum", "sha256:abc", "must be sha256: and the 64 hexadecimal"),
    ("ServerImage", "spec.checksum", None, "needs its checksum: set spec.checksum"),
    ("RespawnPolicy", "metadata.name", "second", "there is one RespawnPolicy"),
    ("RespawnPolicy", "spec.timings.fenceAfter", "8", "must be a duration: whole numbers each"),
    ("RespawnPolicy", "spec.timings.fenceAfter", "9999999h", "must be a duration: whole numbers"),
    ("VirtualServer", "spec.shutdownGracePeriod", "9999999h", "must be a duration: whole numbers"),
    ("RespawnPolicy", "spec.timings.leaseRenew", "400ms", "set it to 500ms or more"),
    ("RespawnPolicy", "spec.timings.heartbeat", "200ms", "set it to 250ms or more"),
    ("RespawnPolicy", "spec.timings.leaseRenew", "3s", "at least 2 x leaseRenew"),
    ("RespawnPolicy", "spec.timings.heartbeat", "1500ms", "at least 4 x heartbeat"),
    ("RespawnPolicy", "spec.timings.pauseAfter", "7500ms", "before their host has paused them"),
    ("RespawnPolicy", "spec.timings.fenceAfter", "5400ms", "before their host has paused them"),
    ("RespawnPolicy", "spec.timings.fenceAfter", "90s", "unresponsiveAfter is too short"),
    ("RespawnPolicy", "spec.timings.fenceAfter", "90s", "storageLostAfter is too short"),
    ("RespawnPolicy", "spec.timings.unresponsiveAfter", "44s", "at least 45s"),
    ("RespawnPolicy", "spec.timings.storageLostAfter", "7s", "at least fenceAfter"),
    ("RespawnPolicy", "spec.brake", {"window": "1s"}, "window is too short"),
    ("RespawnPolicy", "spec.brake", {"releasedUntil": "soon"}, "must be of type date-time"),
]


@pytest.mark.parametrize(("kind", "path", "value", "message"), BAD)
def test_bad_input_is_refused_with_what_to_do(
    control_plane: Any, samples: Any, kind: str, path: str, value: Any, message: str
) -> None:
    manifest = samples.altered(kind, path, value)
    manifest["metadata"].pop("namespace", None)
    result = control_plane.kubectl(
        "create", "--dry-run=server", "-f", "-", manifest=manifest, check=False
    )
    assert result.returncode == 1, result.stdout
    assert message in result.stderr.replace("\\", "")
    assert "rule evaluation error" not in result.stderr
    assert "no such overload" not in result.stderr


GOOD = [
    ("VirtualServer", "spec.cpu", None),
    ("VirtualServer", "spec.networks", None),
    ("VirtualServer", "spec.placement", None),
    ("VirtualServer", "spec.memory.size", "1.5Gi"),
    ("VirtualServer", "spec.shutdownGracePeriod", "1m30s"),
    ("VirtualServer", "spec.placement.antiAffinity", [{"group": "web"}]),
    ("VirtualServer", "spec.networks.0.macAddress", "52:54:00:AB:cd:01"),
    ("Node", "spec.addresses.storage", ["198.51.100.11", "2001:db8::11"]),
    ("Node", "spec.addresses.migration", None),
    ("Node", "spec.scheduling", {"reservedMemory": "4Gi"}),
    ("Node", "spec.fencing", {"endedBoots": ["6e052bc0-4ec9-41cc-9f54-1287d8ac83ad"]}),
    ("StoragePool", "spec.ceph.monitors", ["[2001:db8::1]:3300", "mon-a.example.com:3300"]),
    ("ServerImage", "spec.source", {"rbd": {"image": "debian-12"}}),
    ("RespawnPolicy", "spec", {}),
    ("RespawnPolicy", "spec", None),
    ("RespawnPolicy", "spec.timings", {"storageLostAfter": "2m"}),
    # the fast profile
    (
        "RespawnPolicy",
        "spec.timings",
        {"leaseRenew": "1s", "heartbeat": "500ms", "pauseAfter": "2500ms", "fenceAfter": "3s"},
    ),
    # exactly on the limits
    (
        "RespawnPolicy",
        "spec.timings",
        {
            "leaseRenew": "4500ms",
            "heartbeat": "2250ms",
            "pauseAfter": "9s",
            "fenceAfter": "10s",
            "unresponsiveAfter": "45s",
            "storageLostAfter": "10s",
        },
    ),
    ("RespawnPolicy", "spec.brake", {"releasedUntil": "2030-01-31T08:30:00Z"}),
]


@pytest.mark.parametrize(("kind", "path", "value"), GOOD)
def test_good_input_is_accepted(
    control_plane: Any, samples: Any, kind: str, path: str, value: Any
) -> None:
    manifest = samples.altered(kind, path, value)
    manifest["metadata"].pop("namespace", None)
    control_plane.kubectl("create", "--dry-run=server", "-f", "-", manifest=manifest)


SPEC_CHANGES = [
    ("VirtualServer", "spec.disks.1.size", "128Mi", "disk data cannot shrink from 256Mi to 128Mi"),
    ("VirtualServer", "spec.disks.0.source", {"image": "other"}, "source is immutable"),
    ("VirtualServer", "spec.disks.0.source", None, "source is immutable"),
    ("VirtualServer", "spec.disks.1.source", {"image": "other"}, "source is immutable"),
    ("VirtualServer", "spec.disks.1.pool", "other", "pool is immutable"),
    ("VirtualServer", "spec.disks.0", None, "boots from its disk named root"),
    ("StoragePool", "spec.ceph.pool", "other", "fsid and pool are immutable"),
    ("VirtualServer", "spec.disks.1.size", "0.25Gi", None),
    ("VirtualServer", "spec.disks.1.size", "1Gi", None),
    ("VirtualServer", "spec.disks.1", None, None),
    ("ServerImage", "spec.checksum", "sha256:" + "0" * 64, None),
]


@pytest.mark.parametrize(("kind", "path", "value", "message"), SPEC_CHANGES)
def test_a_change_is_accepted_or_refused_with_what_to_do(
    control_plane: Any,
    samples: Any,
    applied: None,
    kind: str,
    path: str,
    value: Any,
    message: str | None,
) -> None:
    manifest = samples.altered(kind, path, value)
    arguments = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    result = control_plane.kubectl(*arguments, manifest=manifest, check=False)
    if message is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1
        assert message in result.stderr


ADDED_AGAIN = [
    ({"pool": "other"}, "disk data is in StoragePool ceph, where it stays"),
    ({"source": {"image": "other"}}, "was made from ServerImage lab-guest and keeps its content"),
    ({"source": None}, "was made from ServerImage lab-guest and keeps its content"),
    ({"size": "128Mi"}, "disk data has 256Mi and cannot shrink"),
    ({}, None),
    ({"size": "1Gi"}, None),
    ({"name": "other", "source": None, "size": "128Mi"}, None),
]


@pytest.mark.parametrize(("change", "message"), ADDED_AGAIN)
def test_a_disk_that_is_added_again_is_as_it_was_made(
    control_plane: Any, samples: Any, applied: None, change: dict[str, Any], message: str | None
) -> None:
    source = {"image": "lab-guest"}
    made = [
        {"name": "root", "pool": "ceph", "image": "vs-1-root", "size": "128Mi", "source": source},
        {"name": "data", "pool": "ceph", "image": "vs-1-data", "size": "256Mi", "source": source},
    ]

    async def record(client: Client) -> None:
        server = await client.get(VIRTUAL_SERVERS, "web-1", namespace="customer-a")
        version = server["metadata"]["resourceVersion"]
        await client.patch_status(
            VIRTUAL_SERVERS, "web-1", {"disks": made}, resource_version=version,
            namespace="customer-a",
        )  # fmt: skip

    apply = ("apply", "--server-side", "-f", "-")
    control_plane.kubectl(*apply, manifest=samples.altered("VirtualServer", "spec.disks.1", None))
    control_plane.run(record)
    disk = {"name": "data", "pool": "ceph", "size": "256Mi", "source": source}
    again = {key: value for key, value in {**disk, **change}.items() if value is not None}
    manifest = samples.altered("VirtualServer", "spec.disks.1", again)
    result = control_plane.kubectl(*apply, manifest=manifest, check=False)
    if message is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1
        assert message in result.stderr and "respawn-disks-as-made" in result.stderr
    # What is there already is never in the way of another change.
    manifest = samples.altered("VirtualServer", "spec.disks.1", None)
    control_plane.kubectl(*apply, manifest=manifest)


def test_an_imported_image_is_immutable(control_plane: Any, samples: Any, applied: None) -> None:
    async def import_it(client: Client) -> None:
        image = await client.get(SERVER_IMAGES, "lab-guest")
        await client.patch_status(
            SERVER_IMAGES,
            "lab-guest",
            {"importedAt": "2026-01-31T08:30:00Z"},
            resource_version=image["metadata"]["resourceVersion"],
        )

    control_plane.run(import_it)
    manifest = samples.altered("ServerImage", "spec.checksum", "sha256:" + "0" * 64)
    arguments = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    result = control_plane.kubectl(*arguments, manifest=manifest, check=False)
    assert "an image is imported once" in result.stderr


def test_kubectl_lists_what_an_operator_wants_to_see(control_plane: Any, applied: None) -> None:
    def header(*words: str) -> list[str]:
        return list(control_plane.kubectl("get", *words, "-A").stdout.splitlines()[0].split())

    assert header("vs") == ["NAMESPACE", "NAME", "READY", "PHASE", "NODE", "IP", "AGE"]
    used = ["CPU-USED", "CPU-FREE", "MEMORY-USED", "MEMORY-FREE"]
    assert header("vnode") == ["NAME", "READY", "STATE", "SERVERS", *used, "AGE"]
    assert header("vs", "-o", "wide")[-2:] == ["REASON", "MESSAGE"]
    everything = control_plane.kubectl("get", "respawn", "-A", "-o", "name").stdout.split()
    assert len(everything) == len(KINDS)


def test_every_field_explains_itself(control_plane: Any) -> None:
    told = control_plane.kubectl("explain", "vs.spec.disks", "--recursive=false").stdout
    assert "FIELD" in told or "FIELDS" in told
    assert "<no description>" not in told
