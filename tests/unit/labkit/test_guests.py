"""One server as the lab knows it: which it is, and where it answers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rbd", reason="Debian's python3-rbd")
pytest.importorskip("libvirt", reason="Debian's python3-libvirt")

from labkit import cephview, controlplane, guests, memory, truth
from labkit.errors import LabError, Unknown
from labkit.names import ServerName
from labkit.state import Folder, LabState

NAME = ServerName("customer-a", "web-1")
MAC = "52:54:00:aa:00:01"
OBJECT = {
    "metadata": {"uid": "u-1"},
    "status": {"hardware": {"networks": [{"name": "public", "macAddress": MAC.upper()}]}},
}
LEASE = f"0 {MAC} 10.40.1.7 web-1 *\n"


class World:
    """What the API server, the hosts and Ceph tell. `api`: an object, None, or silence."""

    api: dict | LabError | None = None
    qemus: tuple[Any, ...] = ()
    images: list[str] | LabError = LabError("Ceph does not answer")

    def __init__(self, folder: Path) -> None:
        self.folder = Folder("x")
        self.folder.path = folder
        self.state = LabState("x")

    def get(self, *_: object) -> dict | None:
        if isinstance(self.api, LabError):
            raise self.api
        return self.api

    def question(self, *_: object) -> list[str]:
        if isinstance(self.images, LabError):
            raise self.images
        return self.images

    def guest(self) -> guests.Guest:
        return guests.Guest(self, NAME)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(controlplane, "get", made.get)
    monkeypatch.setattr(truth, "qemus", lambda _: list(made.qemus))
    monkeypatch.setattr(cephview, "question", made.question)
    return made


SILENCE = controlplane.Silent("the API server does not answer")


def test_a_server_seen_before_is_known_when_nobody_answers_and_found_by_its_cards(
    world: World,
) -> None:
    with pytest.raises(Unknown):
        world.guest()
    world.api = SILENCE
    with pytest.raises(LabError, match="not known") as refused:
        world.guest()
    assert refused.value.exit_code == 1
    world.api = OBJECT
    assert world.guest().uid == "u-1"
    world.api = SILENCE
    (world.folder / "dhcp.leases").write_text(LEASE)
    guest = world.guest()
    assert guest.uid == "u-1" and guest.address() == "10.40.1.7"  # at once: it has no QEMU


def test_a_deleted_server_is_forgotten_and_one_made_by_hand_is_known_by_its_images(
    world: World,
) -> None:
    memory.remember(world.folder, NAME, "u-1", [])
    assert world.guest().uid == "u-1"  # Ceph is silent: it may have images
    world.images = ["vs-u-1-root"]
    assert world.guest().uid == "u-1"
    world.images = []
    with pytest.raises(Unknown):
        world.guest()
    assert memory.recall(world.folder, NAME) is None


def test_a_guest_that_runs_is_given_time_to_take_an_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.api = OBJECT
    guest = world.guest()
    with pytest.raises(LabError, match="no address"):
        guest.address()
    leases = world.folder / "dhcp.leases"
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now > 5:
            leases.write_text(LEASE)

    monkeypatch.setattr(guests.time, "sleep", sleep)
    monkeypatch.setattr(guests.time, "monotonic", lambda: clock.now)
    world.qemus = (SimpleNamespace(uid="u-1", macs=[MAC], namespace=None, name=None),)
    assert world.guest().address() == "10.40.1.7"
    leases.unlink()
    clock.now = -100.0
    with pytest.raises(LabError, match="no address"):
        world.guest().address()
    assert clock.now == pytest.approx(-100 + guests.LEASE_PATIENCE_S, abs=0.3)
