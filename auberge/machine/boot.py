"""Where kernel, initrd and device tree go in RAM.

Source: Documentation/arch/riscv/boot.rst of Linux: the kernel at a multiple of 2 MiB, the device
tree on a multiple of 8 bytes, both and the initrd where the kernel's first page tables reach.
"""

from typing import NamedTuple

from auberge.machine.kernel import Kernel, too_little_memory

PAGE = 4096

REACH = 512 << 20
"""How far from the beginning of RAM initrd and device tree go: `mem=` may cut off the rest."""

ROOM = 16 << 10
"""Bytes kept behind the device tree: firmware makes it larger in place, to add nodes to it."""

SLACK = 16 << 10
"""Bytes at its end, its own already: U-Boot takes 12 KiB (CONFIG_SYS_FDT_PAD) of its copy so."""


class Places(NamedTuple):
    """Where the device tree and the initrd begin; the latter's size is 0 if there is none."""

    device_tree: int
    initrd: int
    initrd_size: int


def place(kernel: Kernel, initrd_size: int, tree_size: int, base: int, size: int) -> Places:
    """As high as is in reach, page-aligned, one below the other; raises Refusal if they meet."""
    tree_size += ROOM
    ceiling = base + min(size, REACH)
    tree = _down(ceiling - tree_size)
    initrd = _down(tree - initrd_size)
    if initrd < kernel.end:
        rest = ceiling - initrd
        what = "kernel, initrd" if initrd_size else "kernel"
        if ceiling < base + size:
            # Larger than everything within reach: then beyond it is better than not at all.
            tree = _down(base + size - tree_size)
            initrd = _down(tree - initrd_size)
        if initrd < kernel.end:
            raise too_little_memory(
                f"{kernel.path}: {what} and device tree need", kernel.end - base + rest, size
            )
    return Places(tree, initrd, initrd_size)


def _down(address: int) -> int:
    return address & -PAGE
