from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from labkit.evidence import LOG_ROOT_OFFSET
from labkit.guest import build
from labkit.guest.build import BuildError, Kernel

KERNEL = Kernel("linux-image-6.1.0-1-cloud-amd64", "6.1.1-1")


def quiet(text: str) -> None:
    del text


def keep_image(cache: Path, kernel: Kernel) -> Path:
    image = cache / f"{build.sources_hash()}-{kernel.key}" / build.IMAGE_NAME
    image.parent.mkdir(parents=True)
    image.write_bytes(b"image")
    return image


def test_a_warm_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "known_kernel", lambda: KERNEL)
    monkeypatch.setattr(build, "run", lambda *command, cwd=None: pytest.fail(str(command)))
    image = keep_image(tmp_path, KERNEL)
    assert build.ensure(tmp_path, say=quiet) == image


def test_without_lists_the_cached_image_serves_or_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "known_kernel", lambda: None)
    with pytest.raises(BuildError, match="apt-get update"):
        build.ensure(tmp_path, say=quiet)
    image = keep_image(tmp_path, KERNEL)
    assert build.ensure(tmp_path, say=quiet) == image


def test_a_kernel_that_cannot_be_fetched_leaves_the_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*command: str | Path, cwd: Path | None = None) -> None:
        raise BuildError(f"{command[0]} failed")

    monkeypatch.setattr(build, "check_tools", lambda: None)
    monkeypatch.setattr(build, "run", refuse)
    monkeypatch.setattr(build, "known_kernel", lambda: Kernel(KERNEL.package, "6.1.2-1"))
    with pytest.raises(BuildError, match="apt-get failed"):
        build.ensure(tmp_path, say=quiet)
    image = keep_image(tmp_path, KERNEL)
    said: list[str] = []
    assert build.ensure(tmp_path, say=said.append) == image
    assert "apt-get failed" in said[-1]


def test_missing_tools_are_named_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "NEEDED", {"no-such-tool": "toolbox", "/no/such/file": "files"})
    with pytest.raises(BuildError, match="apt-get install toolbox files"):
        build.check_tools()


def test_modules_come_after_what_they_depend_on() -> None:
    root = Path(__file__).parent
    with pytest.raises(BuildError, match="no module virtio_pci"):
        build.module_files(root)


def test_dependencies_are_read_from_the_module(tmp_path: Path) -> None:
    paths = {}
    for name, depends in {"net": "core,failover", "core": "", "failover": "core"}.items():
        paths[name] = tmp_path / f"{name}.ko"
        paths[name].write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0x=y\0")
    loaded: list[str] = []
    build.add_with_dependencies("net", paths, loaded)
    assert loaded == ["core", "failover", "net"]


@pytest.mark.skipif(not shutil.which("cpio"), reason="needs cpio to read the archive")
def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    archive = build.newc([("dev", 0o040755, b""), ("init", 0o100755, b"#!"), ("a", 0o100644, b"")])
    listing = subprocess.run(
        ["cpio", "-itv", "--quiet"], input=archive, capture_output=True, check=True
    ).stdout.decode()
    assert [line.split()[0] for line in listing.splitlines()] == [
        "drwxr-xr-x",
        "-rwxr-xr-x",
        "-rw-r--r--",
    ]
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"#!"


def test_the_partition_table_names_one_active_partition_below_the_log() -> None:
    if not build.SYSLINUX_MBR.exists():
        pytest.skip("needs syslinux-common")
    record = build.master_boot_record()
    assert (len(record), record[510:], record[446]) == (512, b"\x55\xaa", 0x80)
    start = int.from_bytes(record[454:458], "little")
    size = int.from_bytes(record[458:462], "little")
    assert (start + size) * build.SECTOR <= LOG_ROOT_OFFSET
