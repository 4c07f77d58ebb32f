"""Events for `kubectl describe`, each told once: its name is derived from what it tells.

They are a courtesy: one that cannot be written is logged and forgotten, and nothing waits for it.
"""

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.errors import AlreadyExists, ApiError
from respawn.adapters.kubernetes.resources import EVENTS

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 1024


def event_name(name: str, *, uid: str, reason: str, key: str, order: str = "") -> str:
    """The name of the event that tells `reason` with `key` of that object.

    `order` sorts those of the same second, which kubectl shows in the order of their names.
    """
    digest = hashlib.sha256("\0".join((uid, reason, key)).encode()).hexdigest()[:16]
    return ".".join(part for part in (name[:200], order, digest) if part)


def event_body(
    about: Mapping[str, Any],
    *,
    reason: str,
    message: str,
    warning: bool,
    key: str,
    component: str,
    instance: str,
    now: datetime,
    order: str = "",
) -> dict[str, Any]:
    """The Event about the object `about` (as the API server gave it)."""
    metadata = about["metadata"]
    name, uid = metadata["name"], metadata["uid"]
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": event_name(name, uid=uid, reason=reason, key=key, order=order)},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": name,
            "uid": uid,
            **({"namespace": metadata["namespace"]} if metadata.get("namespace") else {}),
        },
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message[:MESSAGE_LIMIT],
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": instance,
    }


class Teller:
    """Tells events in one component's name; `instance` is the process or host."""

    def __init__(self, client: Client, *, component: str, instance: str) -> None:
        self._client = client
        self._component = component
        self._instance = instance

    async def tell(
        self,
        about: Mapping[str, Any],
        *,
        reason: str,
        message: str,
        warning: bool = False,
        key: str | None = None,
        order: str = "",
        at: datetime | None = None,
    ) -> bool:
        """Tell it, unless it was told before; true if it is told now. Never raises ApiError.

        `key` says what makes it another event of the same reason, such as an epoch or a fence
        generation; the message, if there is none. `at`: when it happened; now, if not given.
        """
        body = event_body(
            about,
            reason=reason,
            message=message,
            warning=warning,
            key=message if key is None else key,
            component=self._component,
            instance=self._instance,
            now=at or datetime.now(UTC),
            order=order,
        )
        namespace = about["metadata"].get("namespace") or "default"
        try:
            await self._client.create(EVENTS, body, namespace=namespace, deadline=3.0)
        except AlreadyExists:
            return False
        except ApiError as error:
            log.warning("event %s about %s not told: %s", reason, body["involvedObject"], error)
            return False
        return True
