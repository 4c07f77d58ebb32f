"""docs/benchmarks.md and its plots, from the raw samples."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PHASES = ("detect", "fence", "place", "create", "boot")
COLOURS = ("#6b7280", "#dc2626", "#2563eb", "#7c3aed", "#16a34a")


def write_report(folder: Path, page: Path) -> None:
    """Write PAGE and one plot per profile from FOLDER/recovery-*.json."""
    results = [json.loads(p.read_text()) for p in sorted(folder.glob("recovery-*.json"))]
    for result in (r for r in results if "lost" in r):
        plot(result, folder / f"recovery-{result['profile']}.png")
    parts = [_HEAD, *(section(result, folder.name) for result in results)]
    page.write_text("\n".join(parts))


def plot(result: dict[str, Any], path: Path) -> None:
    """Stacked bars: one per round, split into its phases."""
    size = (8, 0.4 * len(result["lost"]) + 1.8)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    for row, sample in enumerate(result["lost"]):
        left = 0.0
        for phase, colour in zip(PHASES, COLOURS, strict=True):
            label = phase if row == 0 else None
            axis.barh(row, sample[phase], left=left, color=colour, label=label, height=0.7)
            left += sample[phase]
    limit = result["fenceAfter"] + statistics.median(result["cold"])
    name = "fenceAfter + cold start"
    axis.axvline(limit, color="black", linestyle="--", linewidth=1, label=name)
    axis.set_yticks(range(len(result["lost"])), [str(n + 1) for n in range(len(result["lost"]))])
    axis.invert_yaxis()
    axis.set_xlabel("seconds from the host's power-off to the first fsynced record elsewhere")
    axis.set_ylabel("round")
    axis.set_title(f"profile {result['profile']}: one server loses its host")
    figure.legend(loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def section(result: dict[str, Any], folder: str) -> str:
    """One profile in words and tables, as far as it was measured."""
    profile, at = result["profile"], result["measuredAt"]
    parts = [f"## Profile {profile} (fenceAfter {result['fenceAfter']:g} s)"]
    if "lost" in result:
        parts += [_one(result, at["one"]), f"![]({folder}/recovery-{profile}.png)"]
    if "crowd" in result:
        parts.append(_crowd(result["crowd"], at["crowd"]))
    return "\n" + "\n\n".join(parts) + "\n"


def _one(result: dict[str, Any], at: str) -> str:
    lost = result["lost"]
    limit = result["fenceAfter"] + statistics.median(result["cold"])
    totals = [s["total"] for s in lost]
    rows = [
        _row("power-off to the first record elsewhere", totals),
        *(_row(f"of it *{phase}*", [s[phase] for s in lost]) for phase in PHASES),
        _row("last sign of life to `decided`", [s["last sign to decided"] for s in lost]),
        _row("`decided` to QEMU's start", [s["decided to QEMU"] for s in lost]),
    ]
    return f"""{len(lost)} rounds ({at}). Cold start of the same server in the same run: median
{statistics.median(result["cold"]):.2f} s. Ratio of the median recovery to fenceAfter + cold start
({limit:.2f} s): **{result["ratio"]:.3f}** (worst round {max(totals) / limit:.3f}; target at most 1.25).
Targets besides: last sign of life to `decided` at most {result["fenceAfter"] + 0.5:g} s, `decided` to QEMU's
start at most 0.5 s.

| seconds | median | maximum |
|---|---|---|
{chr(10).join(rows)}"""


def _row(name: str, values: list[float]) -> str:
    return f"| {name} | {statistics.median(values):.2f} | {max(values):.2f} |"


def _crowd(crowd: dict[str, Any], at: str) -> str:
    placed, started, default = crowd["placed"], crowd["started"], crowd["defaultPaxos"]
    loop, side = (crowd["byHand"][way][-1] for way in ("oneByOne", "sideBySide"))
    return f"""Twenty servers on one dead host ({at}), seconds after the decision: first placed {placed[0]:.2f}, all placed
{placed[-1]:.2f} (target 1.5); first QEMU started {started[0]:.2f} (target 0.5), all {started[-1]:.2f}. Creating the same
twenty by hand took, in the same run, {loop:.2f} s by a loop of `virsh create` on each of the three hosts that remain:
ratio **{started[-1] / loop:.2f}** (target at most 1.3); and {side:.2f} s with as many side by side on each host as the agent
creates, nothing being decided, read or proven before: ratio {started[-1] / side:.2f}. The same loss with Ceph's default paxos
timings (the lab's are shorter): all placed {default["placed"][-1]:.2f}, first QEMU {default["started"][0]:.2f}, all {default["started"][-1]:.2f}."""


_HEAD = """# Benchmarks

Made by `.venv/bin/python tests/bench/recovery.py` (needs root, `pip install -e '.[bench]'` and a quiet machine);
raw samples are in [bench/](bench). The lab runs everything on one machine with two cores and software
emulation, so look at the ratios: each is to a limit measured in the same run.

Phases: *detect* from the power-off to `decided` (its revocation, decided as soon as the intent to fence its host is
written); *fence* until the blocklist was read back; *place* until
the new placement was written; *create* until QEMU's start by the process table; *boot* until the guest's
first record was fsynced.
"""
