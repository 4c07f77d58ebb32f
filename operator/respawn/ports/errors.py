"""The typed errors of every port."""


class PortError(Exception):
    """The base of all of them; its text is fit for a condition's message."""


class Unavailable(PortError):
    """No answer, or not in time: whether it was done is *unknown*."""


class NotFound(PortError):
    """The object, image or domain does not exist."""


class Conflict(PortError):
    """The object has changed since it was read (409), or exists already."""


class Refused(PortError):
    """The other side understood and said no; repeating the same changes nothing.

    `reason` is one of `model.conditions.Reason`.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class Forbidden(Refused):
    """We may not do that; or not yet, for the other side does not know us yet."""
