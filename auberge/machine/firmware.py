"""Firmware: what runs first, in machine mode, and how it hears of the program that comes next.

Sources: hw/riscv/boot.c of QEMU 7.2 (riscv_load_firmware, riscv_rom_copy_firmware_info) and
hw/riscv/virt.c (virt_memmap); docs/firmware/fw_dynamic.md and include/sbi/fw_dynamic.h of OpenSBI.
"""

import struct
from collections.abc import Sequence

from auberge.machine.bus import Region
from auberge.machine.kernel import (
    ELF_MAGIC,
    GZIP_MAGIC,
    Kernel,
    mistake,
    open_binary,
    open_kernel,
    read_head,
    round_up,
)
from auberge.refusal import Refusal

# struct fw_dynamic_info: magic, version, next_addr, next_mode, options, boot_hart
DYNAMIC_INFO = struct.Struct("<QQQQQQ")
DYNAMIC_INFO_MAGIC = 0x4942534F  # "OSBI"
DYNAMIC_INFO_VERSION = 2
S_MODE = 1

ROM_SIZE = 4096
ROM_WIDTHS = frozenset({1, 2, 4, 8})


def open_firmware(firmware: str, kernel: str | None, base: int, size: int) -> list[Kernel]:
    """A firmware that begins in machine mode, and the program it is to start, if there is one.

    The firmware goes to `base`, where RAM begins, unless it is an ELF file that says otherwise. A
    kernel that can be moved goes to the first multiple of 2 MiB behind it, where fw_jump expects
    it. Both fit and do not meet; raises Refusal.
    """
    first = _open_first(firmware, base, size)
    if kernel is None:
        return [first]
    after = open_kernel(kernel, base, size, first.end)
    if after.start < first.end:
        raise Refusal(
            f"{kernel}: begins at {after.start:#x}, where the firmware is;"
            f" link it for {round_up(first.end):#x} or above"
        )
    return [first, after]


def _open_first(path: str, base: int, size: int) -> Kernel:
    length, head = read_head(path)
    if not head:
        raise Refusal(f"{path}: empty; give a firmware")
    if head.startswith(ELF_MAGIC):
        from auberge.machine.elf import open_elf  # pyelftools is slow to import

        # By the symbol `tohost` OpenSBI means a device that is not on this board.
        return open_elf(path, base, size, base)._replace(machine_mode=True, tohost=None)
    what = "compressed with gzip" if head.startswith(GZIP_MAGIC) else mistake(head)
    if what is not None:
        raise Refusal(f"{path}: {what}; give a firmware as a raw binary or an ELF file")
    return open_binary(path, length, base, base, size)._replace(machine_mode=True)


def boot_rom(base: int, programs: Sequence[Kernel]) -> Region:
    """A ROM with what fw_dynamic finds by the address in a2: where the second program begins.

    Not in RAM: a hart may look only when the others have long begun to use all of it.
    """
    entry = programs[1].entry if programs[1:] else 0
    # boot_hart 0, as on QEMU: with several harts, which one boots is not a matter of luck
    info = DYNAMIC_INFO.pack(DYNAMIC_INFO_MAGIC, DYNAMIC_INFO_VERSION, entry, S_MODE, 0, 0)
    contents = info.ljust(ROM_SIZE, b"\0")

    def read(offset: int, width: int) -> int:
        return int.from_bytes(contents[offset : offset + width], "little")

    def write(offset: int, width: int, value: int) -> None:
        pass

    return Region(f"rom@{base:x}", base, ROM_SIZE, ROM_WIDTHS, read, write)
