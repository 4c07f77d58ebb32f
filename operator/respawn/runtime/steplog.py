"""The log: one line per step, with what it is about, the step and why."""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from respawn.model.base import Key, Kind
from respawn.runtime.store import Store

log = logging.getLogger("respawn.step")


class Lines(logging.Formatter):
    """`2026-01-31T08:30:00.250Z INFO step: …`: UTC, milliseconds, one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback follows on lines of its own."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        name = record.name.removeprefix("respawn.").rpartition(".")[2]
        head = f"{moment.replace('+00:00', 'Z')} {record.levelname} {name}: {record.getMessage()}"
        return f"{head}\n{self.formatException(record.exc_info)}" if record.exc_info else head


def set_up(level: int = logging.INFO) -> None:
    """Log to standard error, where a supervisor takes it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def of(store: Callable[[], Store]) -> Callable[[Key, str, str], None]:
    """What the controller tells of its steps."""

    def tell(key: Key, step: str, reason: str) -> None:
        log.info("%s %s: %s", _name(key, store()), step, reason)

    return tell


def _name(key: Key, store: Store) -> str:
    server = store.servers.get(key.id) if key.kind is Kind.SERVER else None
    if server is None:
        return str(key)
    epoch = server.placement.epoch
    return f"server/{server.namespace}/{server.name} (uid {server.uid}, epoch {epoch})"
