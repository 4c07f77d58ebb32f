"""Prints the ten slowest tests of a run, and one line that counts them all.

`slowest.py FOLDER`, with pytest's JUnit reports in it.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(folder: Path) -> None:
    cases, outcomes = [], {"passed": 0, "failed": 0, "skipped": 0}
    for report in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname', '')}::{case.get('name', '')}"
            cases.append((float(case.get("time", 0)), f"{report.stem}: {name}"))
            tags = {child.tag for child in case}
            bad = "failed" if tags & {"failure", "error"} else None
            outcomes[bad or ("skipped" if "skipped" in tags else "passed")] += 1
    if not cases:
        return
    print("\n== the ten slowest")
    for seconds, name in sorted(cases, reverse=True)[:10]:
        print(f"{seconds:8.1f} s  {name}")
    counts = f"{outcomes['passed']} passed, {outcomes['failed']} failed"
    print(f"\n{counts}, {outcomes['skipped']} skipped")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
