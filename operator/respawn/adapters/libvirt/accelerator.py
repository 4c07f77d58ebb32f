"""Does KVM work here? Only running something in it tells: /dev/kvm can open and then hang."""

import asyncio
import logging
import os
import tempfile
from contextlib import suppress

log = logging.getLogger(__name__)
KVM, EMULATED = "kvm", "qemu"
DEADLINE = 5.0
EXIT_PORT = 0xF4
WORD = 0x21
EXIT_CODE = WORD << 1 | 1
"""What QEMU exits with when the guest writes WORD to its debug exit port."""

# Entered by the BIOS at 0000:7c00, in real mode. It waits for three ticks of the timer, asleep
# between them, which proves interrupts and waking up; then it counts to 2^24, which takes 10 ms
# on a processor and half a minute where KVM interprets each instruction; then it says WORD.
BOOT_CODE = bytes.fromhex(
    "fb"  # sti
    "31c0 8ed8"  # xor ax,ax; mov ds,ax
    "8b1e 6c04"  # mov bx,[046c]: the BIOS's tick counter
    "83c3 03"  # add bx,3
    "f4"  # wait: hlt
    "391e 6c04"  # cmp [046c],bx
    "78f9"  # js wait
    "66b9 00000001"  # mov ecx,1000000h
    "6649 75fc"  # count: dec ecx; jnz count
) + bytes([0xB0, WORD, 0xE6, EXIT_PORT, 0xF4, 0xEB, 0xFD])  # mov al,WORD; out; hlt for ever


def boot_sector() -> bytes:
    """A disk of one sector that a BIOS boots."""
    return BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"


async def works(accelerator: str, emulator: str, deadline: float = DEADLINE) -> bool:
    """Whether a tiny guest boots from disk, takes interrupts and ends, within `deadline` s."""
    with tempfile.NamedTemporaryFile(prefix="respawn-probe-") as disk:
        disk.write(boot_sector())
        disk.flush()
        command = (
            f"-accel {accelerator} -machine pc -m 16 -smp 1 -display none -nodefaults"
            " -no-user-config -no-reboot -boot c"
            f" -drive file={disk.name},format=raw,if=ide,snapshot=on"
            f" -device isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"
        )
        null = asyncio.subprocess.DEVNULL
        guest = await asyncio.create_subprocess_exec(
            emulator, *command.split(), stdin=null, stdout=null, stderr=null
        )
        try:
            async with asyncio.timeout(deadline):
                return await guest.wait() == EXIT_CODE
        except TimeoutError:
            return False
        finally:
            await _reap(guest)


async def _reap(guest: asyncio.subprocess.Process) -> None:
    if guest.returncode is None:
        # safety: a child of ours that holds nothing but its own probe disk.
        with suppress(ProcessLookupError):
            guest.kill()
        await guest.wait()


async def choose(emulator: str, configured: str | None = None, device: str = "/dev/kvm") -> str:
    """libvirt's domain type for this host: what is configured, else what a guest proves."""
    if configured is not None:
        return configured
    if not os.access(device, os.R_OK | os.W_OK):
        return EMULATED
    if await works(KVM, emulator):
        return KVM
    log.warning("%s is there, but no guest runs in it: software emulation is used", device)
    return EMULATED
