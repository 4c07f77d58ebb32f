"""The adapters' tests need Debian's libvirt and Ceph bindings; without them the rest is tested."""

from importlib.util import find_spec

import pytest

NEEDS = {"ceph": "rados", "libvirt": "libvirt"}
collect_ignore = [folder for folder, library in NEEDS.items() if find_spec(library) is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out is said at the end, not found out later."""
    for folder in collect_ignore:
        package = f"python3-{NEEDS[folder]}"
        terminalreporter.write_line(f"left out: tests/unit/adapters/{folder} (no {package} here)")
