"""What a run of the tests came to, from pytest's JUnit reports.

`summary.py FOLDER`              the ten slowest tests and files, counts, and the names that failed
`summary.py --failures FOLDER`   each failure's own words: assertion, traceback, captured output
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

MOST = 10
LINES = 60
"""Of one failure; its end says most."""


def main(arguments: list[str]) -> None:
    folder = Path(arguments[-1])
    if "--failures" in arguments:
        show_failures(folder)
    else:
        show_run(folder)


def cases(folder: Path) -> Iterator[tuple[str, str, ElementTree.Element]]:
    """(stage: file, stage: file::test, its element) of each test."""
    for report in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):
            file = f"{report.stem}: {case.get('classname', '')}"
            yield file, f"{file}::{case.get('name', '')}", case


def faults(case: ElementTree.Element) -> list[ElementTree.Element]:
    return [child for child in case if child.tag in ("failure", "error")]


def show_run(folder: Path) -> None:
    tests, files = Counter[str](), Counter[str]()
    failed, skipped, passed = [], 0, 0
    for file, name, case in cases(folder):
        seconds = float(case.get("time", 0))
        tests[name] += seconds
        files[file] += seconds
        if faults(case):
            failed.append(name)
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    if not tests:
        return
    show_slowest("the ten slowest", tests)
    show_slowest("the ten slowest files", files)
    print(f"\n{passed} passed, {len(failed)} failed, {skipped} skipped")
    for name in failed:
        print(f"  failed: {name}")


def show_slowest(title: str, took: Counter[str]) -> None:
    print(f"\n== {title}")
    for name, seconds in took.most_common(MOST):
        print(f"{seconds:8.1f} s  {name}")


def show_failures(folder: Path) -> None:
    for _, name, case in cases(folder):
        for fault in faults(case):
            print(f"\n===== failed: {name}\n{fault.get('message', '')}")
            print("\n".join((fault.text or "").splitlines()[-LINES:]))


if __name__ == "__main__":
    main(sys.argv[1:])
