"""The client's errors as those of the ports."""

from collections.abc import Iterator
from contextlib import contextmanager

from respawn.adapters.kubernetes import errors as api
from respawn.model.conditions import Reason
from respawn.ports import errors


@contextmanager
def translated() -> Iterator[None]:
    """Around requests: what they raise becomes a PortError."""
    try:
        yield
    except api.NotFound as error:
        raise errors.NotFound(str(error)) from error
    except api.Conflict as error:
        raise errors.Conflict(str(error)) from error
    except api.Refused as error:
        raise errors.Refused(Reason.API_REFUSED, str(error)) from error
    except api.ApiError as error:
        raise errors.Unavailable(str(error)) from error
