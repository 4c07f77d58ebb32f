"""Prints a run's ten slowest tests and files of tests, and one line that counts them all.

`slowest.py FOLDER`, with pytest's JUnit reports in it.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

MOST = 10


def main(folder: Path) -> None:
    cases, files = Counter[str](), Counter[str]()
    outcomes = {"passed": 0, "failed": 0, "skipped": 0}
    for report in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):
            file = f"{report.stem}: {case.get('classname', '')}"
            seconds = float(case.get("time", 0))
            cases[f"{file}::{case.get('name', '')}"] += seconds
            files[file] += seconds
            tags = {child.tag for child in case}
            bad = "failed" if tags & {"failure", "error"} else None
            outcomes[bad or ("skipped" if "skipped" in tags else "passed")] += 1
    if not cases:
        return
    show("the ten slowest", cases)
    show("the ten slowest files", files)
    counts = f"{outcomes['passed']} passed, {outcomes['failed']} failed"
    print(f"\n{counts}, {outcomes['skipped']} skipped")


def show(title: str, took: Counter[str]) -> None:
    print(f"\n== {title}")
    for name, seconds in took.most_common(MOST):
        print(f"{seconds:8.1f} s  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
