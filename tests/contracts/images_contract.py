"""What every Images must do, real or simulated.

Fixtures wanted: `run`; `images`; `pool`, where they may be made; `golden`, a ServerImage of 8 MiB
that was imported into it; `held(image)`, a context in which a client that is not ours holds that
image's lock and watches it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from respawn.model.placement import Locker
from respawn.model.server import Disk, Server, disk_image
from respawn.model.storage import EpochMark, Image, Pool
from respawn.ports.errors import NotFound, Refused
from respawn.ports.images import Images

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Held = Callable[[str], AbstractContextManager[None]]

MIB = 1 << 20


def blank(pool: Pool, size: int = 16 * MIB) -> Disk:
    return Disk("data", pool.name, size)


def make(
    run: Run, images: Images, server: Server, disk: Disk, pool: Pool, source: Image | None
) -> str:
    """Makes the disk's image; its name."""
    run(images.ensure_disk(server, disk, pool, source))
    return disk_image(server.uid, disk.name)


class ImagesContract:
    @pytest.fixture
    def server(self) -> Server:
        return Server(uid=str(uuid.uuid4()), namespace="customer-a", name="web-1")

    def refused(self, run: Run, call: Coroutine[Any, Any, Any]) -> str:
        with pytest.raises(Refused) as refused:
            run(call)
        return refused.value.reason

    # disks

    def test_a_blank_disk_is_made_once(
        self, images: Images, pool: Pool, server: Server, run: Run
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        run(images.write_epoch(pool, image, EpochMark(7, 1)))
        assert run(images.ensure_disk(server, blank(pool), pool, None)) == 16 * MIB
        assert run(images.read_epoch(pool, image)) == EpochMark(7, 1), "it was made anew"

    def test_a_clone_is_as_large_as_wanted(
        self, images: Images, pool: Pool, server: Server, golden: Image, run: Run
    ) -> None:
        disk = Disk("root", pool.name, 16 * MIB, golden.name)
        assert run(images.ensure_disk(server, disk, pool, golden)) == 16 * MIB

    def test_it_grows_and_never_shrinks(
        self, images: Images, pool: Pool, server: Server, run: Run
    ) -> None:
        for wanted, had in ((16, 16), (32, 32), (16, 32)):
            disk = blank(pool, wanted * MIB)
            assert run(images.ensure_disk(server, disk, pool, None)) == had * MIB

    # epochs

    def test_the_epoch_is_what_was_written_last(
        self, images: Images, pool: Pool, server: Server, run: Run
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        assert run(images.read_epoch(pool, image)) is None
        for mark in (EpochMark(1, 4711), EpochMark(2, 10**12)):
            run(images.write_epoch(pool, image, mark))
            assert run(images.read_epoch(pool, image)) == mark

    def test_the_epoch_is_written_behind_somebody_elses_lock(
        self, images: Images, pool: Pool, server: Server, run: Run, held: Held
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        with held(image):
            run(images.write_epoch(pool, image, EpochMark(9, 9)))
            assert run(images.read_epoch(pool, image)) == EpochMark(9, 9)

    def test_no_image_is_not_found(self, images: Images, pool: Pool, run: Run) -> None:
        for call in (
            images.read_epoch(pool, "vs-none-root"),
            images.write_epoch(pool, "vs-none-root", EpochMark(1, 1)),
            images.clients(pool, "vs-none-root"),
            images.lockers(pool, "vs-none-root"),
        ):
            with pytest.raises(NotFound):
                run(call)
        # gone already is done
        run(
            images.break_lock(pool, "vs-none-root", Locker("client.1", "auto 1", "203.0.113.1:0/1"))
        )
        run(images.trash(pool, "vs-none-root", "uid-none"))

    # clients

    def test_looking_leaves_no_trace(
        self, images: Images, pool: Pool, server: Server, run: Run
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        for _ in range(2):
            assert not run(images.clients(pool, image)).addresses
            assert run(images.lockers(pool, image)) == ()

    def test_exactly_one_lock_is_broken(
        self, images: Images, pool: Pool, server: Server, run: Run, held: Held
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        with held(image):
            found = run(images.clients(pool, image))
            assert len(found.lockers) == 1
            (locker,) = found.lockers
            assert [w.address for w in found.watchers] == [locker.address]
            assert found.addresses == (locker.address,)
            assert run(images.lockers(pool, image)) == found.lockers
            for other in (
                replace(locker, cookie=locker.cookie + "1"),
                replace(locker, client="client.1"),
            ):
                run(images.break_lock(pool, image, other))
                assert run(images.clients(pool, image)).lockers == (locker,)
            for _ in range(2):
                run(images.break_lock(pool, image, locker))
                assert run(images.clients(pool, image)).lockers == ()
                assert run(images.lockers(pool, image)) == ()

    # trash

    def test_it_goes_to_the_trash_once(
        self, images: Images, pool: Pool, server: Server, run: Run
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        for _ in range(2):
            run(images.trash(pool, image, server.uid))
        with pytest.raises(NotFound):
            run(images.clients(pool, image))

    def test_nothing_of_others_and_nothing_in_use_goes(
        self, images: Images, pool: Pool, server: Server, run: Run, held: Held
    ) -> None:
        image = make(run, images, server, blank(pool), pool, None)
        stranger = images.trash(pool, image, str(uuid.uuid4()))
        self.refused(run, stranger)
        with held(image):
            used = images.trash(pool, image, server.uid)
            self.refused(run, used)
            assert run(images.clients(pool, image)).lockers
