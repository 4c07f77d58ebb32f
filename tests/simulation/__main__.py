"""Replay a run: see the package's docstring."""

import argparse
import sys
import traceback

from tests.simulation import chaos
from tests.simulation.lab import play
from tests.simulation.stories import STORIES


def main() -> int:
    """0: all invariants held; 1: one was broken, or a story went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--list", action="store_true", help="names of the scripted runs")
    parser.add_argument("--scenario", help="play a scripted run")
    parser.add_argument("--seed", type=int, default=None, help="play a random run")
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="play seeds 0 ... N-1")
    parser.add_argument("--trace", action="store_true", help="print what was done")
    args = parser.parse_args()
    if args.list:
        print("\n".join(STORIES))
        return 0
    if args.scenario:
        function, lab = STORIES[args.scenario]
        return run(args.scenario, lambda: play(function, **{"seed": args.seed or 0, **lab}), args)
    seeds = range(args.seeds) if args.seeds else [args.seed or 0]
    return max(run(f"seed {seed}", lambda s=seed: chaos.play(s), args) for seed in seeds)


def run(name: str, go, args) -> int:
    try:
        lab = go()
    except Exception as broken:  # noqa: BLE001 whatever it was, it is what was looked for
        print("\n".join(getattr(play, "last_trace", [])[-200 if args.trace else -40 :]))
        if args.trace:
            traceback.print_exc()
        said = str(broken).splitlines() or traceback.format_tb(broken.__traceback__)[-1:]
        print(f"{name}: {type(broken).__name__}: {said[0]}", file=sys.stderr)
        return 1
    if args.trace:
        print("\n".join(lab.trace))
    print(f"{name}: ok, {len(lab.truth.starts)} starts, {lab.end:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
