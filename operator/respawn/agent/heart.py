"""The heart: beats in Ceph for ever, by librados alone. No API, no libvirt, no event loop.

It is a process apart, so that a dead agent does not look like a dead host. It ends only by a
signal; whatever Ceph does, it tries again at the next beat.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from respawn.adapters.ceph.access import Access, fixed
from respawn.adapters.ceph.beater import Beater, heart_of
from respawn.agent import config as configs
from respawn.agent import machine
from respawn.agent.heart_files import FOLDER, Account, HeartFiles
from respawn.model.sight import Beat
from respawn.ports.errors import PortError, Refused

HEARTBEAT = 1.0
"""Seconds, until the agent has handed over what the policy says."""


class Writer(Protocol):
    """Where beats go: a Beater."""

    def beat(self, beat: Beat, *, patience: float) -> None:
        """Write it. Raises Refused (blocklisted), Unavailable."""
        ...


class Heart:
    """One heart. `clock` is CLOCK_MONOTONIC; `say` tells people what has changed."""

    def __init__(
        self,
        writer: Writer,
        files: HeartFiles,
        *,
        machine_id: str,
        boot_id: str,
        clock: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._writer, self._files = writer, files
        self._machine_id, self._boot_id = machine_id, boot_id
        self._clock, self._say = clock, say
        self._acknowledged: float | None = None
        self._error: str | None = None

    def tick(self) -> float:
        """Beat once; returns when (by the clock) the next beat is due."""
        begun = self._clock()
        orders = self._files.orders(begun)
        heartbeat = orders.heartbeat or HEARTBEAT
        # the writer raises the counter above all that came before
        beat = Beat(self._machine_id, self._boot_id, 0, orders.servers)
        refused, error = False, ""
        try:
            self._writer.beat(beat, patience=heartbeat)
            self._acknowledged = begun
        except PortError as lost:
            refused, error = isinstance(lost, Refused), str(lost)
        self._tell(Account(begun, self._acknowledged, refused, error))
        return begun + heartbeat

    def _tell(self, account: Account) -> None:
        if account.error != self._error:
            self._error = account.error
            self._say(account.error or "beating")
        try:
            self._files.tell(account)
        except OSError as error:
            # the agent will think this heart silent, and beat too: no harm
            self._say(f"cannot tell the agent: {error}")


def run(heart: Heart) -> NoReturn:
    """Beat until killed."""
    while True:
        due = heart.tick()
        time.sleep(max(0.05, due - time.monotonic()))


def main(arguments: Sequence[str] | None = None) -> int:
    """`respawn heart`. Exit code 2: its configuration cannot be used."""
    given = _parser().parse_args(arguments)
    try:
        config = configs.load(given.config)
        machine_id = machine.machine_id(config.machineID)
        given.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, configs.ConfigError, machine.NoMachineId) as error:
        _say(str(error))
        return 2
    access = Access(config.ceph_client, conffile=str(config.ceph.conf))
    run(
        Heart(
            Beater(fixed(access), pool=config.ceph.pool, prefix=heart_of(config.node)),
            HeartFiles(given.run),
            machine_id=machine_id,
            boot_id=machine.boot_id(),
            clock=time.monotonic,
            say=_say,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="respawn heart", description=__doc__)
    parser.add_argument("--config", type=Path, default=configs.DEFAULT_PATH)
    parser.add_argument("--run", type=Path, default=FOLDER, help="folder shared with the agent")
    return parser


def _say(text: str) -> None:
    print(f"respawn heart: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
