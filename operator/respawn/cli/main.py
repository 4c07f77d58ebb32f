"""`respawn`: one program, a word for each of its processes."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence

Command = Callable[[Sequence[str]], int]


def _operator(arguments: Sequence[str]) -> int:
    from respawn.adapters.libvirt.witness import HostWitness
    from respawn.runtime import options, process
    from respawn.runtime.ceph_side import CephSide
    from respawn.runtime.outside import Outside

    given = options.parse(arguments, os.environ)
    outside = Outside(
        storage=lambda: CephSide(given.name),
        witness=lambda: HostWitness(given.libvirt_pki),
    )
    return process.main(given, outside)


def _elsewhere(module: str) -> Command:
    """The `main` of a module that is loaded only when it is asked for: it needs its libraries."""

    def run(arguments: Sequence[str]) -> int:
        result: int = importlib.import_module(module).main(arguments)
        return result

    return run


COMMANDS: dict[str, tuple[Command, str]] = {
    "operator": (_operator, "decide where servers run; two or more, one leads"),
    "agent": (_elsewhere("respawn.agent.main"), "carry it out on this host; one per host"),
    "heart": (_elsewhere("respawn.agent.heart"), "beat in Ceph for this host; one per host"),
    "install-hook": (_elsewhere("respawn.cli.install_hook"), "install libvirt's hook here"),
}


def usage() -> str:
    """What there is to say."""
    width = max(map(len, COMMANDS))
    lines = (f"  {word:{width}}  {what}" for word, (_, what) in COMMANDS.items())
    return "usage: respawn WORD …   (respawn WORD --help tells more)\n\n" + "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of them; 2 for a word that is none."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if not words or words[0] not in COMMANDS:
        wrong = f"respawn: unknown word {words[0]!r}\n" if words else ""
        print(wrong + usage(), file=sys.stderr)
        return 2
    command, _ = COMMANDS[words[0]]
    try:
        return command(words[1:])
    except ModuleNotFoundError as missing:
        print(f"respawn {words[0]}: {missing}; see the installation guide", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
