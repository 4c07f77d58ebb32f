"""Deliberate bugs: each takes one rule out of a copy of the product, and a story must notice.

    python -m tests.simulation.mutants              all of them
    python -m tests.simulation.mutants 06           those whose file begins so

A mutation is a file in `mutations/`: exact texts of the product and what replaces them. If one no
longer applies, the code it speaks of has changed: look at the rule again, then at the mutation.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SURVIVED = "the invariants held"


@dataclass(frozen=True)
class Mutation:
    """One dropped rule, and the story that catches it."""

    name: str
    rule: str
    story: str
    breaks: tuple[str, ...]
    """Invariants of which one must break (`truth`)."""
    replace: tuple[tuple[str, str, str], ...]
    """(file under operator/, old text, new text)."""
    seed: int = 0
    """The seed whose small delays lead the story through the interleaving in question."""


def load() -> tuple[Mutation, ...]:
    """All mutations, by number."""
    return tuple(_read(path) for path in sorted((HERE / "mutations").glob("*.toml")))


def _read(path: Path) -> Mutation:
    raw = tomllib.loads(path.read_text())
    hunks = tuple((r["file"], r["old"], r["new"]) for r in raw["replace"])
    return Mutation(
        path.stem, raw["rule"], raw["story"], tuple(raw["breaks"]), hunks, raw.get("seed", 0)
    )


def mutate(mutation: Mutation, source: Path) -> None:
    """Apply it to the copy in `source`. Raises AssertionError when a text is not there once."""
    for file, old, new in mutation.replace:
        path = source / file
        text = path.read_text()
        assert text.count(old) == 1, (
            f"{mutation.name} no longer applies to {file}: found {text.count(old)} times:\n{old}"
        )
        path.write_text(text.replace(old, new))


def verdict(mutation: Mutation) -> str:
    """Play its story against the mutated copy: the broken invariant, or what else happened."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place)
        shutil.copytree(
            ROOT / "operator" / "respawn", source / "respawn",
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
        mutate(mutation, source)
        played = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--scenario", mutation.story,
             "--seed", str(mutation.seed)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    if played.returncode == 0:
        return SURVIVED
    said = f"{played.stdout}\n{played.stderr}".strip().splitlines() or ["no word"]
    return next((line for line in said if line.startswith(f"{mutation.story}: ")), said[-1])


def caught(mutation: Mutation, said: str) -> bool:
    """Whether the story noticed by the invariant that the rule is there for."""
    return any(f"Violation: {rule} at " in said for rule in mutation.breaks)


def main(wanted: list[str]) -> int:
    """0: every mutation was caught."""
    survivors = 0
    for mutation in load():
        if wanted and not any(mutation.name.startswith(w) for w in wanted):
            continue
        said = verdict(mutation)
        ok = caught(mutation, said)
        survivors += not ok
        print(f"{'caught  ' if ok else 'SURVIVED'} {mutation.name}: {said[:160]}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
