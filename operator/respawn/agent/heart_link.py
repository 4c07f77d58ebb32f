"""What passes between the agent and the heart of its host."""

from collections.abc import Callable
from typing import Protocol

from respawn.agent.heart_files import Account, HeartFiles
from respawn.model.sight import HeartServer
from respawn.ports.clock import Clock


class Listener(Protocol):
    """The agent, as far as the heart concerns it."""

    def heart_servers(self) -> tuple[HeartServer, ...]:
        """What the heart may say of each server."""
        ...

    def on_beat(self, begun: float) -> None:
        """A beat begun at that moment (monotonic clock) was acknowledged."""
        ...

    def on_beat_lost(self) -> None:
        """A beat was tried and not acknowledged."""
        ...


class HeartLink:
    """Hands over to the heart, and passes on what it told.

    When it tells nothing for two beats, the agent beats by itself: a dead heart neither pauses nor
    condemns its host. `heartbeat` tells the policy's, in seconds.
    """

    def __init__(
        self, agent: Listener, files: HeartFiles, clock: Clock, heartbeat: Callable[[], float]
    ) -> None:
        self._agent, self._files = agent, files
        self._clock, self._heartbeat = clock, heartbeat
        # What was told before this agent began is over.
        self._last: Account | None = files.account()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self.exchange()
            await self._clock.sleep(self._heartbeat() / 2)

    def exchange(self) -> None:
        """Once. Raises OSError when /run cannot be written."""
        now = self._clock.now().mono
        self._files.hand_over(self._agent.heart_servers(), heartbeat=self._heartbeat(), now=now)
        account = self._files.account()
        if account is None or account == self._last:
            return  # a heart that is silent has nothing to tell, good or bad
        self._last = account
        if account.acknowledged == account.begun:
            self._agent.on_beat(account.begun)
        else:
            self._agent.on_beat_lost()
