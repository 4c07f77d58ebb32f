"""Deciding needs nothing but Python: its tests pass where no I/O library can be imported."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BLOCKED = ("aiohttp", "kopf", "kubernetes", "libvirt", "pydantic", "rados", "rbd", "yaml")
PLUGIN = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"deciding may not import {{name}}")

for name in list(sys.modules):
    if name.partition(".")[0] in {BLOCKED!r}:
        del sys.modules[name]
sys.meta_path.insert(0, Blocked())
"""


def pytest_of(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A pytest of its own, with the libraries blocked by the plugin in `folder`."""
    (folder / "blocked.py").write_text(PLUGIN)
    paths = f"pythonpath={folder} {HERE.parents[2] / 'operator'} {HERE}"
    options = ("-p", "blocked", "-p", "no:cacheprovider", "-q", "--import-mode=importlib")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "--rootdir",
        str(HERE),
        "-o",
        paths,
    ]
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [*command, *options, *words], capture_output=True, text=True, timeout=120, env=environment
    )


def test_decide_is_tested_without_any_io_library(tmp_path: Path) -> None:
    done = pytest_of(tmp_path, str(HERE), f"--ignore={Path(__file__)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "failed" not in done.stdout


def test_the_block_would_be_noticed(tmp_path: Path) -> None:
    for library in ("kopf", "pydantic"):
        probe = tmp_path / f"test_{library}.py"
        probe.write_text(f"def test_import():\n    import {library}\n")
        done = pytest_of(tmp_path, str(probe))
        assert done.returncode == 1 and "deciding may not import" in done.stdout
