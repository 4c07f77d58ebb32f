"""Agent and heart, by way of their two files."""

from datetime import UTC, datetime
from pathlib import Path

from respawn.agent.heart_files import Account, HeartFiles
from respawn.agent.heart_link import HeartLink
from respawn.model.base import Now
from respawn.model.sight import HeartServer

RUNNING = HeartServer("uid-1", 3, "running")


class Clock:
    mono = 50.0

    def now(self) -> Now:
        return Now(self.mono, datetime.now(UTC))

    async def sleep(self, seconds: float) -> None:
        self.mono += seconds


class Agent:
    def __init__(self) -> None:
        self.heard: list[float | None] = []

    def heart_servers(self) -> tuple[HeartServer, ...]:
        return (RUNNING,)

    def on_beat(self, begun: float) -> None:
        self.heard.append(begun)

    def on_beat_lost(self) -> None:
        self.heard.append(None)


def test_each_beat_is_told_once_and_silence_is_not_told(tmp_path: Path) -> None:
    agent, files = Agent(), HeartFiles(tmp_path)
    link = HeartLink(agent, files, Clock(), lambda: 0.5)
    link.exchange()
    assert agent.heard == []
    for account in (
        Account(begun=51, acknowledged=51),
        Account(begun=52, acknowledged=51, error="no answer"),
        Account(begun=53, acknowledged=51, refused=True, error="blocklisted"),
        Account(begun=54, acknowledged=54),
    ):
        files.tell(account)
        link.exchange()
        link.exchange()
    assert agent.heard == [51, None, None, 54]


def test_the_heart_gets_servers_and_pace(tmp_path: Path) -> None:
    files = HeartFiles(tmp_path)
    HeartLink(Agent(), files, Clock(), lambda: 0.5).exchange()
    orders = files.orders(now=50.1)
    assert (orders.heartbeat, orders.servers) == (0.5, (RUNNING,))
