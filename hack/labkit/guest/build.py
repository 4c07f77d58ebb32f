"""Builds the golden image of the lab's guest: a raw disk that SeaBIOS boots like a customer's.

Debian's cloud kernel, an initrd of our own init and busybox, syslinux, an MBR. No loop device,
no mount, no root. Run as `python -m labkit.guest.build [--cache DIR]`: the path of the image
alone goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from labkit.evidence import LOG_BYTES, LOG_ROOT_OFFSET

SOURCES = Path(__file__).parent
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "respawn/guest"
IMAGE_NAME = "lab-guest.raw"
IMAGE_BYTES = LOG_ROOT_OFFSET + LOG_BYTES  # the log is the reserved tail of the image
META_PACKAGE = "linux-image-cloud-amd64"
SYSLINUX_MBR = Path("/usr/lib/SYSLINUX/mbr.bin")
BUSYBOX = Path("/bin/busybox")
#: what must be there -> the Debian package that brings it
NEEDED = {
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "strip": "binutils",
    "syslinux": "syslinux",
    str(SYSLINUX_MBR): "syslinux-common",
    "mcopy": "mtools",
    str(BUSYBOX): "busybox-static",
    "apt-get": "apt",
    "dpkg": "dpkg",
}
#: loaded in this order: what the writer needs, then the network, then what can wait
MODULES = {
    "first": ("virtio_pci", "virtio_blk"),
    "then": ("virtio_net",),
    "last": ("pvpanic-mmio", "button", "evdev"),
}
SECTOR = 512
PARTITION_START = 2048  # sectors: 1 MiB
PARTITION_SECTORS = 24 * 2048

Say = Callable[[str], None]


class BuildError(RuntimeError):
    """The image cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Kernel:
    package: str  # linux-image-6.1.0-56-cloud-amd64
    version: str  # 6.1.192-2

    @property
    def key(self) -> str:
        return f"{self.package.removeprefix('linux-image-')}_{self.version.replace(':', '%3a')}"


def ensure(cache: Path = DEFAULT_CACHE, *, say: Say | None = None) -> Path:
    """Path of the golden image, built if CACHE has none for these sources and this kernel.

    Needs the network only to fetch a kernel package that CACHE does not hold. An image that was
    built from the same sources serves when apt's lists are missing or the kernel cannot be
    fetched. Raises BuildError.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    sources = sources_hash()
    kernel = known_kernel()
    if kernel and (image := cache / f"{sources}-{kernel.key}" / IMAGE_NAME).exists():
        return image
    older = newest(cache.glob(f"{sources}-*/{IMAGE_NAME}"))
    if kernel is None:
        if older:
            return older
        raise BuildError(
            f"apt knows no package {META_PACKAGE}: run 'apt-get update' as root, then try again"
        )
    check_tools()
    try:
        package = fetch(kernel, cache / "kernels", say)
    except BuildError as error:
        if not older:
            raise
        say(f"{error}; taking the image made with the kernel before")
        return older
    return build(package, cache / f"{sources}-{kernel.key}", say)


def sources_hash() -> str:
    """Names what the image is made of, the kernel aside."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in {".c", ".h", ".py", ".txt"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def newest(paths: Iterable[Path]) -> Path | None:
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def known_kernel() -> Kernel | None:
    """The kernel that apt would install now; None where apt has no lists."""
    command = ["apt-cache", "show", "--no-all-versions", META_PACKAGE]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return None
    found = re.search(r"^Depends: (linux-image-\S+) \(= ([^)]+)\)", shown, re.M)
    return Kernel(found[1], found[2]) if found else None


def check_tools() -> None:
    """Raise BuildError that names every Debian package that is missing."""
    missing = [
        package
        for name, package in NEEDED.items()
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name))
    ]
    if missing:
        raise BuildError(f"missing on this machine: apt-get install {' '.join(missing)}")
    if not is_static(BUSYBOX.read_bytes()):
        raise BuildError(f"{BUSYBOX} is not static: apt-get install busybox-static")


def is_static(elf: bytes) -> bool:
    """True for a 64-bit ELF that asks for no interpreter, which the initrd would not have."""
    pt_interp = 3
    table, size, count = struct.unpack_from("<32xQ14xHH", elf)
    kinds = (struct.unpack_from("<I", elf, table + size * n)[0] for n in range(count))
    return pt_interp not in kinds


def run(*command: str | Path, cwd: Path | None = None) -> None:
    # without times of its own the same sources give the same bytes, and the image its checksum
    fixed = {
        "MTOOLS_SKIP_CHECK": "1",
        "LC_ALL": "C",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "1767225600",
    }
    env = os.environ | fixed
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")


def fetch(kernel: Kernel, folder: Path, say: Say) -> Path:
    """The kernel's package in FOLDER, downloaded if it is not there yet."""
    kept = folder / f"{kernel.key}.deb"
    if kept.exists():
        return kept
    say(f"downloading {kernel.package} {kernel.version} (27 MB, once)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        wanted = f"{kernel.package}={kernel.version}"
        # apt's own sandbox user cannot write into our folder and would only warn about it
        run("apt-get", "-o", "APT::Sandbox::User=", "download", wanted, cwd=Path(temporary))
        (package,) = Path(temporary).glob("*.deb")
        package.rename(kept)
    return kept


def build(package: Path, target: Path, say: Say) -> Path:
    """Make TARGET/lab-guest.raw from the kernel in PACKAGE, atomically."""
    say("building the guest's image")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as temporary:
        work, result = Path(temporary), Path(temporary) / "result"
        result.mkdir()
        run("dpkg", "-x", package, work / "root")
        compile_init(work / "init")
        (work / "initrd").write_bytes(initrd(work / "init", work / "root"))
        write_image(result / IMAGE_NAME, work)
        try:
            result.rename(target)
        except OSError:
            if not (target / IMAGE_NAME).exists():
                raise
            # somebody else built the same meanwhile: theirs serves as well
    return target / IMAGE_NAME


def compile_init(target: Path) -> None:
    """The guest's PID 1, static. Run on the host as `init append …` it plants records."""
    run("gcc", "-Os", "-static", "-s", "-o", target, *sorted(SOURCES.glob("*.c")))


def initrd(init: Path, root: Path) -> bytes:
    folders = [(name, 0o040755, b"") for name in ("dev", "proc", "sys", "modules")]
    programs = [
        ("init", 0o100755, init.read_bytes()),
        ("busybox", 0o100755, BUSYBOX.read_bytes()),
    ]
    return newc([*folders, *programs, *module_files(root)])


def module_files(root: Path) -> list[tuple[str, int, bytes]]:
    """The modules, and for each stage the list of names that init loads, dependencies first."""
    paths = {path.stem: path for path in root.glob("lib/modules/*/kernel/**/*.ko")}
    loaded: list[str] = []
    files = []
    for stage, wanted in MODULES.items():
        before = len(loaded)
        for name in wanted:
            add_with_dependencies(name, paths, loaded)
        names = loaded[before:]
        files.append((f"modules/{stage}", 0o100644, "\n".join(names).encode()))
        files += [(f"modules/{name}.ko", 0o100644, paths[name].read_bytes()) for name in names]
    return files


def add_with_dependencies(name: str, paths: dict[str, Path], loaded: list[str]) -> None:
    if name not in paths:
        raise BuildError(f"this kernel has no module {name}")
    if name in loaded:
        return
    found = re.search(rb"\0depends=([^\0]*)\0", paths[name].read_bytes())
    for other in found[1].decode().split(",") if found and found[1] else []:
        add_with_dependencies(other, paths, loaded)
    loaded.append(name)


def newc(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive (`newc`) of (name, mode, content), owned by root, without times."""
    archive = bytearray()
    for inode, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def write_image(image: Path, work: Path) -> None:
    """MBR, one active FAT partition with kernel and initrd, then the empty log."""
    config = work / "syslinux.cfg"
    config.write_text(
        "DEFAULT l\nPROMPT 0\nTIMEOUT 0\nNOESCAPE 1\nALLOWOPTIONS 0\n"
        f"LABEL l\n KERNEL /k\n INITRD /i\n APPEND {command_line()}\n"
    )
    with image.open("wb") as file:
        file.write(master_boot_record())
        file.truncate(IMAGE_BYTES)
    (kernel,) = work.glob("root/boot/vmlinuz-*")
    drive = f"{image}@@{PARTITION_START * SECTOR}"
    # 64 KiB clusters (-c 128): syslinux reads fewer, longer runs, which saves a third of the boot.
    # The serial (-N) is random unless given.
    shape = f"-T {PARTITION_SECTORS} -h 255 -s 63 -H {PARTITION_START} -c 128 -N 7253706e"
    run("mformat", "-i", drive, *shape.split(), "::")
    for source, name in ((kernel, "k"), (work / "initrd", "i"), (config, "syslinux.cfg")):
        run("mcopy", "-i", drive, source, f"::{name}")
    run("syslinux", "--install", "--offset", str(PARTITION_START * SECTOR), image)


def command_line() -> str:
    lines = (SOURCES / "cmdline.txt").read_text().splitlines()
    return " ".join(line for line in lines if line and not line.startswith("#"))


def master_boot_record() -> bytes:
    code = SYSLINUX_MBR.read_bytes()[:440].ljust(446, b"\0")
    partition = struct.pack(
        "<B3sB3sII", 0x80, b"\x20\x21\0", 0x0E, b"\xfe\xff\xff", PARTITION_START, PARTITION_SECTORS
    )
    return code + partition + bytes(48) + b"\x55\xaa"


def main() -> int:
    parser = argparse.ArgumentParser(prog="labkit.guest.build", description=__doc__)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    try:
        print(ensure(parser.parse_args().cache))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
