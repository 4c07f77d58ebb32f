"""What a request to the API server can come back with besides an answer.

Each is an error of the ports, so that nothing above the adapters needs to know this file.
"""

from collections.abc import Mapping
from typing import Any

from respawn.model.conditions import Reason
from respawn.ports import errors as ports


class ApiError(ports.PortError):
    """Base of them all. `status` is the HTTP status, 0 if there was none; `reason` Kubernetes'."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Unavailable(ApiError, ports.Unavailable):
    """No answer in time, or one that says: later.

    A request that timed out is not a request undone: unless `undone` is true it may still have
    taken, or take, effect. Read before repeating.
    """

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", undone: bool = False
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.undone = undone


class NotFound(ApiError, ports.NotFound):
    """There is no such object, or no such kind."""


class Conflict(ApiError, ports.Conflict):
    """The object is no longer as it was read: nothing was written."""


class AlreadyExists(Conflict):
    """An object of that name was there before: nothing was created."""


class Expired(ApiError):
    """The API server no longer remembers that resourceVersion (410): list again."""


class Refused(ApiError, ports.Refused):
    """Understood and refused (validation, admission, RBAC); the same again is refused again."""


class Forbidden(Refused, ports.Forbidden):
    """401, 403: RBAC, an admission policy; or an API server that has just come up."""


def of_status(status: int, body: Mapping[str, Any]) -> ApiError:
    """The error that a Status object, or the HTTP status alone, stands for."""
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or f"HTTP {status}")
    if status == 404:
        return NotFound(message, status=status, reason=reason)
    if status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
        return kind(message, status=status, reason=reason)
    if status == 410:
        return Expired(message, status=status, reason=reason)
    if status == 429:
        return Unavailable(message, status=status, reason=reason, undone=True)
    if status >= 500:
        return Unavailable(message, status=status, reason=reason)
    refused = Forbidden if status in (401, 403) else Refused
    return refused(message, status=status, reason=reason or Reason.API_REFUSED)
