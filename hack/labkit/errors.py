"""What an order can come to. Each carries the exit code of the command."""


class LabError(Exception):
    """The order was tried and failed."""

    exit_code = 1


class Unknown(LabError):
    """A name that nothing bears, or an order that makes no sense now."""

    exit_code = 2
