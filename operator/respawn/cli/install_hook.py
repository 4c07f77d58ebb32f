"""`respawn install-hook`: puts libvirt's hook in place, for libvirtd to find when it starts."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from respawn.agent import hook

HOOKS = Path("/etc/libvirt/hooks")
MAIN = "qemu"
BESIDE = Path("qemu.d/respawn")
"""Where libvirt looks besides, for when somebody else's hook is `qemu` (S9)."""
SIGN = b"`respawn install-hook`"


def install(hooks: Path = HOOKS) -> tuple[Path, bool]:
    """Install or update the hook; its path, and whether anything was written."""
    main = hooks / MAIN
    target = main if not main.exists() or SIGN in main.read_bytes() else hooks / BESIDE
    program = Path(hook.__file__).read_bytes()
    if target.exists() and target.read_bytes() == program and os.access(target, os.X_OK):
        return target, False
    target.parent.mkdir(parents=True, exist_ok=True)
    # in one step: libvirt may call it at any moment
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_bytes(program)
    fresh.chmod(0o755)
    os.replace(fresh, target)
    return target, True


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when the hook is in place, 1 when it cannot be."""
    parser = argparse.ArgumentParser(prog="respawn install-hook", description=__doc__)
    parser.add_argument("--hooks", type=Path, default=HOOKS, help=f"folder, default {HOOKS}")
    options = parser.parse_args(arguments)
    try:
        target, new = install(options.hooks)
    except OSError as error:
        print(f"respawn install-hook: {error}", file=sys.stderr)
        return 1
    print(f"{target}: {'written; libvirtd uses it from its next start on' if new else 'in place'}")
    return 0
