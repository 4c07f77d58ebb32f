"""Images in a real Ceph, as the lab's operator, with other clients where hosts would be."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import rbd
from images_contract import MIB, ImagesContract, Run, blank, make
from labnet import Inside, host_access, host_network, inside, operator_access, pool_of
from labtool import LabTool, eventually

from labkit import names
from labkit.lab import Lab
from respawn.adapters.ceph import disks, marks
from respawn.adapters.ceph.access import fixed
from respawn.adapters.ceph.fence import CephFence
from respawn.adapters.ceph.handle import Handle, connect
from respawn.adapters.ceph.images import CephImages
from respawn.adapters.ceph.sources import FileSource, HTTPSource, RBDSource
from respawn.model.conditions import Reason
from respawn.model.server import Disk, Server, disk_image
from respawn.model.storage import Entry, EpochMark, Image, Kept, Pool
from respawn.ports.errors import Conflict, NotFound, Refused

pytestmark = pytest.mark.lab

GOLDEN_BYTES = os.urandom(MIB) + bytes(6 * MIB) + os.urandom(MIB)
SHA256 = "sha256:" + hashlib.sha256(GOLDEN_BYTES).hexdigest()


@pytest.fixture(scope="module")
def run(operator: Inside) -> Run:
    return operator.run


@pytest.fixture(scope="module")
def pool(ceph_insides: Lab) -> Pool:
    return pool_of(ceph_insides)


@pytest.fixture(scope="module")
def images(ceph_insides: Lab, run: Run) -> Iterator[CephImages]:
    made = CephImages(fixed(operator_access(ceph_insides)))
    yield made
    run(made.close())


@pytest.fixture(scope="module")
def golden_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "golden.raw"
    path.write_bytes(GOLDEN_BYTES)
    return path


def new_image() -> Image:
    return Image(uid=str(uuid.uuid4()), name="debian", pool="ceph", ready=True)


@pytest.fixture(scope="module")
def golden(images: CephImages, pool: Pool, golden_file: Path, run: Run) -> Image:
    image = new_image()
    run(images.import_image(image, pool, FileSource(str(golden_file)), SHA256))
    return image


@pytest.fixture
def server() -> Server:
    return Server(uid=str(uuid.uuid4()), namespace="customer-a", name="web-1")


Hold = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def held(ceph_insides: Lab) -> Hold:
    """A librbd client on host-1, with that host's key, that has written to the image."""

    @contextmanager
    def hold(name: str) -> Iterator[None]:
        with inside(host_network(ceph_insides, "host-1")) as host:
            handle = host.call(lambda: connect(host_access(ceph_insides, "host-1")))
            image = host.call(lambda: _written(handle, name))
            try:
                yield
            finally:
                host.call(image.close)
                handle.retire()

    return hold


def _written(handle: Handle, name: str) -> rbd.Image:
    image = rbd.Image(handle.ioctx(names.POOL), name)
    image.write(b"x" * 4096, 0)
    return image


class TestRealImages(ImagesContract):
    def test_it_does_not_grow_under_a_client(
        self, images: CephImages, pool: Pool, server: Server, run: Run, held: Hold
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        with held(image):
            larger = images.ensure_disk(server, blank(pool, 32 * MIB), pool, None)
            assert self.refused(run, larger) == Reason.FOREIGN_CLIENT
            assert run(images.ensure_disk(server, blank(pool), pool, None)) == 16 * MIB

    def test_what_stands_in_the_way_is_told(
        self, images: CephImages, pool: Pool, server: Server, golden: Image, run: Run
    ) -> None:
        disk = Disk("root", pool.name, 16 * MIB, golden.name)
        small = replace(disk, size=4 * MIB)
        absent = replace(golden, uid=str(uuid.uuid4()))
        waiting = replace(golden, ready=False)
        nowhere = replace(pool, pool="no-such-pool")
        elsewhere = replace(pool, fsid=str(uuid.uuid4()))
        for call, reason in (
            (images.ensure_disk(server, small, pool, golden), Reason.IMAGE_LARGER_THAN_DISK),
            (images.ensure_disk(server, disk, pool, absent), Reason.UNKNOWN_IMAGE),
            (images.ensure_disk(server, disk, pool, None), Reason.UNKNOWN_IMAGE),
            (images.ensure_disk(server, disk, pool, waiting), Reason.IMAGE_NOT_READY),
            (images.ensure_disk(server, blank(pool), nowhere, None), Reason.UNKNOWN_POOL),
            (images.ensure_disk(server, blank(pool), elsewhere, None), Reason.POOL_NOT_READY),
        ):
            assert self.refused(run, call) == reason


@pytest.fixture
def raw(ceph_insides: Lab, operator: Inside) -> Iterator[Handle]:
    """A handle with the operator's key, to see and break things beneath the adapter."""
    handle = operator.call(lambda: connect(operator_access(ceph_insides)))
    yield handle
    handle.retire()


def read_all(operator: Inside, raw: Handle, name: str, snapshot: str | None = None) -> bytes:
    def work() -> bytes:
        with rbd.Image(raw.ioctx(names.POOL), name, snapshot=snapshot, read_only=True) as image:
            return bytes(image.read(0, image.size()))

    return operator.call(work)


# --- disks


def test_a_clone_has_the_golden_content_and_its_owners_mark(
    images: CephImages, pool: Pool, golden: Image, server: Server, run: Run,
    operator: Inside, raw: Handle,
) -> None:  # fmt: skip
    disk = Disk("root", "ceph", 16 * MIB, golden.name)
    name = make(run, images, server, disk, pool, golden)
    assert read_all(operator, raw, name) == GOLDEN_BYTES + bytes(8 * MIB)
    found = operator.call(lambda: marks.read(raw.ioctx(names.POOL), name))
    assert found[marks.OWNER] == server.uid
    assert found[marks.SERVER] == f"{server.namespace}/{server.name}"


def test_disks_whose_server_is_gone_are_found_with_its_name(
    images: CephImages, pool: Pool, server: Server, run: Run
) -> None:
    name = make(run, images, server, blank(pool), pool, None)
    assert name not in {kept.image for kept in run(images.kept(pool, {server.uid}))}
    assert Kept(name, f"{server.namespace}/{server.name}") in run(images.kept(pool, set()))


@pytest.mark.parametrize("source", ["blank", "clone"])
def test_a_creation_that_broke_off_is_made_good(
    images: CephImages, pool: Pool, golden: Image, server: Server, run: Run,
    operator: Inside, raw: Handle, source: str,
) -> None:  # fmt: skip
    """After each step of a creation: the next one ends with the disk that was wanted."""
    disk = blank(pool) if source == "blank" else Disk("root", "ceph", 16 * MIB, golden.name)
    name = disk_image(server.uid, disk.name)
    ioctx = raw.ioctx(names.POOL)

    def nothing_but_a_name() -> None:
        rbd.RBD().create(ioctx, name, MIB)
        ioctx.remove_object(f"rbd_header.{marks.image_id(ioctx, name)}")

    def unmarked() -> None:
        if source == "blank":
            rbd.RBD().create(ioctx, name, disk.size, features=disks.FEATURES)
        else:
            rbd.RBD().clone(ioctx, golden.rbd_name, "golden", ioctx, name)

    def being_resized() -> None:
        unmarked()
        marks.write(ioctx, name, {marks.MAKER: "198.51.100.201:0/77"})

    for broken_off in (nothing_but_a_name, unmarked, being_resized):
        operator.call(broken_off)
        wanted = images.ensure_disk(server, disk, pool, golden if disk.image else None)
        assert run(wanted) == 16 * MIB
        content = read_all(operator, raw, name)
        assert content[:MIB] == (bytes(MIB) if source == "blank" else GOLDEN_BYTES[:MIB])
        assert operator.call(lambda: marks.read(ioctx, name))[marks.OWNER] == server.uid
        run(images.trash(pool, name, server.uid))


@pytest.mark.extended
def test_the_lock_of_an_operator_that_died_while_it_resized_is_no_obstacle(
    images: CephImages, pool: Pool, server: Server, run: Run, raw: Handle, ceph_lab: LabTool,
    ceph_insides: Lab, operator: Inside,
) -> None:  # fmt: skip
    name = make(run, images, server, blank(pool), pool, None)
    with dead_client(ceph_lab, ceph_insides, "host-2", name):
        (locker,) = run(images.clients(pool, name)).lockers
        larger = blank(pool, 32 * MIB)
        with pytest.raises(Refused):
            run(images.ensure_disk(server, larger, pool, None))
        operator.call(
            lambda: marks.write(raw.ioctx(names.POOL), name, {marks.MAKER: locker.address})
        )
        wait_for_the_watch_to_expire(images, pool, name, run)

        def grown() -> bool:
            return bool(run(images.ensure_disk(server, larger, pool, None)) == 32 * MIB)

        assert grown()
        assert not run(images.clients(pool, name)).lockers


def wait_for_the_watch_to_expire(images: CephImages, pool: Pool, name: str, run: Run) -> None:
    eventually(
        "the dead client's watch expires",
        lambda: not run(images.clients(pool, name)).watchers,
        timeout=45,
    )


@pytest.mark.parametrize("mark", [None, "somebody-else"])
def test_an_image_of_our_name_with_data_is_never_touched(
    images: CephImages, pool: Pool, server: Server, run: Run, operator: Inside, raw: Handle,
    mark: str | None,
) -> None:  # fmt: skip
    name, ioctx = disk_image(server.uid, "data"), raw.ioctx(names.POOL)

    def plant() -> None:
        rbd.RBD().create(ioctx, name, 16 * MIB)
        with rbd.Image(ioctx, name) as image:
            image.write(b"precious", 0)
        if mark:
            marks.write(ioctx, name, {marks.OWNER: mark})

    operator.call(plant)
    for call in (
        images.ensure_disk(server, blank(pool), pool, None),
        images.trash(pool, name, server.uid),
    ):
        with pytest.raises(Refused) as refused:
            run(call)
        assert refused.value.reason == Reason.DISK_FAILED
    assert read_all(operator, raw, name).startswith(b"precious")
    operator.call(lambda: rbd.RBD().remove(ioctx, name))


def test_what_is_trashed_is_listed(
    images: CephImages, pool: Pool, server: Server, run: Run
) -> None:
    name = make(run, images, server, blank(pool), pool, None)
    run(images.trash(pool, name, server.uid))
    assert name in {trashed.name for trashed in run(images.trashed(pool))}
    assert name not in {kept.image for kept in run(images.kept(pool, set()))}


def test_the_pools_usage(images: CephImages, pool: Pool, golden: Image, run: Run) -> None:
    usage = run(images.usage(pool))
    assert 0 < usage.used < usage.total


# --- behind a dead locker


@contextmanager
def dead_client(lab: LabTool, insides: Lab, host: str, image: str) -> Iterator[None]:
    """QEMU's block layer on `host` has written to the image; then the host loses its power."""
    command = [
        "qemu-io", "-f", "raw", "-t", "none", "-c", "write 0 4096", "-c", "sleep 3600000",
        f"rbd:{names.POOL}/{image}:id={host}:conf=/etc/ceph/ceph.conf",
    ]  # fmt: skip
    supervisor = insides.host(host).supervisor()
    supervisor.define("holder", command, restart=False)
    supervisor.start("holder")
    path = f"{names.POOL}/{image}"
    eventually(
        f"the client on {host} holds the lock",
        lambda: lab.ceph("rbd", "lock", "ls", path, "--format", "json").strip() not in ("", "[]"),
    )
    lab("host", "power-off", host)
    try:
        yield
    finally:
        lab("host", "power-on", host)


def timed(what: str, call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    spent = time.monotonic() - begun
    print(f"{what}: {spent * 1000:.1f} ms")
    return spent


def test_nothing_waits_behind_a_dead_locker(
    images: CephImages, pool: Pool, server: Server, run: Run, ceph_lab: LabTool, ceph_insides: Lab
) -> None:
    """A host lost its power in the middle of writing: epoch, clients, break_lock, all at once."""
    name = make(run, images, server, blank(pool), pool, None)
    run(images.read_epoch(pool, name))
    fence = CephFence(fixed(operator_access(ceph_insides)))
    address = names.host_address("storage", 1)
    with dead_client(ceph_lab, ceph_insides, "host-1", name):
        found = run(images.clients(pool, name))
        assert [locker.ip for locker in found.lockers] == [address]
        assert {watcher.ip for watcher in found.watchers} == {address}
        spent = [
            timed("clients", lambda: run(images.clients(pool, name))),
            timed("write epoch", lambda: run(images.write_epoch(pool, name, EpochMark(2, 99)))),
            timed("read epoch", lambda: run(images.read_epoch(pool, name))),
        ]
        assert run(images.read_epoch(pool, name)) == EpochMark(2, 99)
        nonces = [Entry(client) for client in found.addresses]
        timed("blocklist its nonce", lambda: run(fence.add(nonces)))
        assert set(nonces) <= run(fence.listing())
        timed(
            "its watch ends",
            lambda: eventually(
                "a fenced client's watch ends with the OSD's map, not 30 s later",
                lambda: not run(images.clients(pool, name)).watchers,
                timeout=5,
                period=0.005,
            ),
        )
        spent += [
            timed("break the lock", lambda: run(images.break_lock(pool, name, found.lockers[0]))),
        ]
        assert run(images.clients(pool, name)).addresses == ()
        assert set(nonces) <= run(fence.listing()), "the nonce stays"
    assert max(spent) < 0.5, "29.6 s when the image's lock is asked for"
    run(fence.close())


# --- golden images


def test_an_import_is_sparse_verified_and_done_once(
    images: CephImages, pool: Pool, golden_file: Path, run: Run, operator: Inside, raw: Handle
) -> None:
    image, told = new_image(), []
    source = FileSource(str(golden_file))

    def progress(done: int, total: int | None) -> None:
        told.append((done, total))

    assert run(images.import_image(image, pool, source, SHA256, progress)) == len(GOLDEN_BYTES)
    assert read_all(operator, raw, image.rbd_name, "golden") == GOLDEN_BYTES
    assert told[-1] == (len(GOLDEN_BYTES), len(GOLDEN_BYTES))
    assert data_objects(operator, raw, image.rbd_name) == {0, 1}
    golden_file_gone = FileSource("/nowhere")
    assert run(images.import_image(image, pool, golden_file_gone, SHA256)) == len(GOLDEN_BYTES)


def data_objects(operator: Inside, raw: Handle, name: str) -> set[int]:
    def work() -> set[int]:
        ioctx = raw.ioctx(names.POOL)
        prefix = f"rbd_data.{marks.image_id(ioctx, name)}."
        keys = (found.key for found in ioctx.list_objects())
        return {int(key.removeprefix(prefix), 16) for key in keys if key.startswith(prefix)}

    return operator.call(work)


def test_a_removed_golden_image_leaves_its_clones_whole(
    images: CephImages, pool: Pool, golden_file: Path, server: Server, run: Run,
    operator: Inside, raw: Handle,
) -> None:  # fmt: skip
    image = new_image()
    run(images.import_image(image, pool, FileSource(str(golden_file)), SHA256))
    disk = Disk("root", pool.name, 16 * MIB, image.name)
    made = make(run, images, server, disk, pool, image)
    run(images.remove_image(image, pool))
    run(images.remove_image(image, pool))  # gone already is done
    assert image.rbd_name in {trashed.name for trashed in run(images.trashed(pool))}
    assert read_all(operator, raw, made).startswith(GOLDEN_BYTES)


def test_a_wrong_checksum_leaves_nothing(
    images: CephImages, pool: Pool, golden_file: Path, run: Run, operator: Inside, raw: Handle
) -> None:
    image = new_image()
    with pytest.raises(Refused) as refused:
        run(images.import_image(image, pool, FileSource(str(golden_file)), "sha256:" + "0" * 64))
    assert refused.value.reason == Reason.CHECKSUM_MISMATCH
    assert SHA256 in str(refused.value)
    left = operator.call(lambda: rbd.RBD().list(raw.ioctx(names.POOL)))
    assert not [name for name in left if image.uid in name]


@pytest.mark.parametrize("broken_at", ["half written", "with a snapshot", "only not renamed"])
def test_an_import_that_broke_off_starts_again(
    images: CephImages, pool: Pool, golden_file: Path, run: Run, operator: Inside, raw: Handle,
    broken_at: str,
) -> None:  # fmt: skip
    image, ioctx = new_image(), raw.ioctx(names.POOL)
    part = f"{image.rbd_name}.part"

    def break_off() -> None:
        rbd.RBD().create(ioctx, part, len(GOLDEN_BYTES), features=disks.FEATURES)
        with rbd.Image(ioctx, part) as opened:
            opened.write(b"rubbish" if broken_at != "only not renamed" else GOLDEN_BYTES, 0)
            if broken_at != "half written":
                opened.create_snap("golden")
        if broken_at == "only not renamed":
            marks.write(ioctx, part, {marks.OWNER: image.uid, marks.CHECKSUM: SHA256})

    operator.call(break_off)
    source = FileSource(str(golden_file) if broken_at != "only not renamed" else "/nowhere")
    assert run(images.import_image(image, pool, source, SHA256)) == len(GOLDEN_BYTES)
    assert read_all(operator, raw, image.rbd_name, "golden") == GOLDEN_BYTES
    with pytest.raises(NotFound):
        run(images.clients(pool, part))


def test_two_operators_do_not_import_the_same_image_at_once(
    images: CephImages, pool: Pool, golden_file: Path, run: Run, operator: Inside, raw: Handle
) -> None:
    image = new_image()
    part = f"{image.rbd_name}.part"

    def other() -> rbd.Image:
        rbd.RBD().create(raw.ioctx(names.POOL), part, MIB, features=disks.FEATURES)
        return rbd.Image(raw.ioctx(names.POOL), part)

    opened = operator.call(other)
    with pytest.raises(Conflict, match="being written by"):
        run(images.import_image(image, pool, FileSource(str(golden_file)), SHA256))
    operator.call(opened.close)
    run(images.import_image(image, pool, FileSource(str(golden_file)), SHA256))


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing.raw":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/golden.raw":
            self.send_header("Content-Length", str(len(GOLDEN_BYTES)))
        self.end_headers()
        if self.path == "/cut.raw":
            self.wfile.write(GOLDEN_BYTES[: 3 * MIB])
        else:
            self.wfile.write(GOLDEN_BYTES)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def web(operator: Inside) -> Iterator[str]:
    """A web server in the operator's network; its URL."""
    address = names.operator_address("storage", 1)
    served = operator.call(lambda: http.server.ThreadingHTTPServer((address, 0), _Handler))
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield f"http://{address}:{served.server_port}"
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize("path", ["/golden.raw", "/unknown-length.raw"])
def test_an_import_from_the_web(
    images: CephImages, pool: Pool, run: Run, operator: Inside, raw: Handle, web: str, path: str
) -> None:
    image = new_image()
    run(images.import_image(image, pool, HTTPSource(web + path), SHA256))
    assert read_all(operator, raw, image.rbd_name, "golden") == GOLDEN_BYTES


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/missing.raw", Reason.SOURCE_UNREADABLE), ("/cut.raw", Reason.CHECKSUM_MISMATCH)],
)
def test_a_bad_download_is_refused(
    images: CephImages, pool: Pool, run: Run, web: str, path: str, reason: Reason
) -> None:
    with pytest.raises(Refused) as refused:
        run(images.import_image(new_image(), pool, HTTPSource(web + path), SHA256))
    assert refused.value.reason == reason


def test_an_import_from_ceph(
    images: CephImages, pool: Pool, golden: Image, run: Run, operator: Inside, raw: Handle
) -> None:
    image = new_image()
    source = RBDSource(golden.rbd_name, snapshot="golden")
    run(images.import_image(image, pool, source, SHA256))
    assert read_all(operator, raw, image.rbd_name, "golden") == GOLDEN_BYTES


def test_a_qcow2_image_is_refused(images: CephImages, pool: Pool, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(1000))
    with pytest.raises(Refused, match="qemu-img convert"):
        run(images.import_image(new_image(), pool, FileSource(str(path)), None))


# --- times


def test_times(images: CephImages, pool: Pool, golden: Image, server: Server, run: Run) -> None:
    """What a start waits for; generous limits, the numbers are for the log."""
    disk_list = [Disk(f"root{i}", "ceph", 16 * MIB, golden.name) for i in range(5)]
    first = make(run, images, server, disk_list[0], pool, golden)
    clones = [
        timed("clone", lambda d=disk: run(images.ensure_disk(server, d, pool, golden)))
        for disk in disk_list[1:]
    ]
    looks = [timed("clients", lambda: run(images.clients(pool, first))) for _ in range(5)]
    epochs = [
        timed("write epoch", lambda n=n: run(images.write_epoch(pool, first, EpochMark(n, n))))
        for n in range(1, 6)
    ]
    assert sorted(clones)[2] < 1
    assert sorted(looks)[2] < 0.25
    assert sorted(epochs)[2] < 0.25
