"""The heart process, with a writer that answers as told and a clock that is set."""

from pathlib import Path

import pytest

pytest.importorskip("rados", reason="Debian's python3-rados")

from respawn.agent.heart import HEARTBEAT, Heart
from respawn.agent.heart_files import STALE_AFTER, Account, HeartFiles, Orders
from respawn.model.conditions import Reason
from respawn.model.sight import Beat, HeartServer
from respawn.ports.errors import PortError, Refused, Unavailable

RUNNING = HeartServer("uid-1", 3, "running")


class Writer:
    def __init__(self) -> None:
        self.beats: list[tuple[Beat, float]] = []
        self.failure: PortError | None = None

    def beat(self, beat: Beat, *, patience: float) -> None:
        self.beats.append((beat, patience))
        if self.failure:
            raise self.failure


class Bench:
    """A heart, its files, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.now, self.writer, self.said = 100.0, Writer(), list[str]()
        self.files = HeartFiles(folder)
        self.heart = Heart(
            self.writer,
            self.files,
            machine_id="machine-1",
            boot_id="boot-1",
            clock=lambda: self.now,
            say=self.said.append,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_beats_before_any_agent_has_spoken(bench: Bench) -> None:
    assert bench.heart.tick() == 100 + HEARTBEAT
    assert bench.writer.beats == [(Beat("machine-1", "boot-1", 0), HEARTBEAT)]
    assert bench.files.account() == Account(begun=100, acknowledged=100)


def test_it_tells_what_the_agent_handed_over_while_that_lives(bench: Bench) -> None:
    bench.files.hand_over([RUNNING], heartbeat=0.5, now=100)
    assert bench.heart.tick() == 100.5
    bench.now += STALE_AFTER
    bench.heart.tick()
    assert [beat.servers for beat, _ in bench.writer.beats] == [(RUNNING,), ()]
    assert bench.writer.beats[-1][1] == 0.5, "the pace stays"


def test_whatever_ceph_does_it_goes_on(bench: Bench) -> None:
    bench.heart.tick()
    for failure, refused in (
        (Unavailable("no answer"), False),
        (Refused(Reason.BLOCKLISTED, "this host is blocklisted"), True),
        (Unavailable("no answer"), False),
    ):
        bench.writer.failure = failure
        bench.now += 1
        bench.heart.tick()
        account = bench.files.account()
        assert account == Account(bench.now, 100, refused, str(failure))
    bench.writer.failure = None
    bench.now += 1
    bench.heart.tick()
    assert bench.files.account() == Account(bench.now, bench.now)
    assert bench.said == [
        "beating", "no answer", "this host is blocklisted", "no answer", "beating",
    ]  # fmt: skip


def test_it_says_what_changed_and_nothing_twice(bench: Bench) -> None:
    bench.writer.failure = Unavailable("no answer")
    for _ in range(5):
        bench.heart.tick()
    assert bench.said == ["no answer"]


def test_a_folder_that_is_gone_stops_no_beat(bench: Bench, tmp_path: Path) -> None:
    bench.files = HeartFiles(tmp_path / "nowhere")
    heart = Heart(
        bench.writer, bench.files, machine_id="m", boot_id="b", clock=lambda: 1.0,
        say=bench.said.append,
    )  # fmt: skip
    heart.tick()
    assert len(bench.writer.beats) == 1
    assert any("cannot tell the agent" in text for text in bench.said)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"at": 1}', '{"at": "x", "heartbeat": 1, "servers": []}',
     '{"at": 1, "heartbeat": 1, "servers": [{}]}'],
)  # fmt: skip
def test_nonsense_from_the_agent_is_no_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "heart.in").write_text(text)
    (tmp_path / "heart.out").write_text(text)
    files = HeartFiles(tmp_path)
    assert files.orders(now=1.0) == Orders()
    assert files.account() is None


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    files = HeartFiles(tmp_path)
    for count in range(3):
        files.hand_over([RUNNING] * count, heartbeat=1, now=0)
    files.tell(Account(1.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heart.in", "heart.out"]
    assert files.orders(now=1).servers == (RUNNING, RUNNING)
