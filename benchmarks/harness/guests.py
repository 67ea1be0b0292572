"""The same guests under Auberge and under QEMU: command lines."""

import os
import shutil
import sys

from auberge.image.store import boot_options, find
from auberge.refusal import Refusal

MEMORY = 512 << 20
QEMU = "qemu-system-riscv64"
QEMU_PACKAGE = "qemu-system-misc"
AUBERGE = [sys.executable, "-m", "auberge.cli.main"]


def qemu_is_here() -> bool:
    """Whether Debian's emulator is installed."""
    return shutil.which(QEMU) is not None


def boot_tiny(append: str = "") -> list[str]:
    """Auberge, booting the image `tiny`."""
    return [*AUBERGE, "boot", "tiny", "--append", append]


def qemu_boot_tiny(append: str = "") -> list[str]:
    """QEMU with its own firmware, booting the same files on its board of the same name."""
    image = find("tiny", "riscv64")
    if image is None:
        raise Refusal("tiny: no such image; make it with `auberge image build tiny`")
    files = ["-kernel", image.kernel, "-initrd", image.initrd, "-append", append]
    return [QEMU, *_BOARD, "-m", "512M", *files]


def tiny_initrd() -> bytes:
    """The initramfs of `tiny`, so long that another may follow it."""
    image = find("tiny", "riscv64")
    if image is None:
        raise Refusal("tiny: no such image; make it with `auberge image build tiny`")
    with open(image.initrd, "rb") as file:
        data = file.read()
    return data + bytes(-len(data) % 4)


def boot_tiny_from(initrd: str, *options: str) -> list[str]:
    """Auberge, booting the kernel of `tiny` with another initramfs."""
    return [*AUBERGE, "boot", "tiny", "--initrd", initrd, *options]


def qemu_boot_tiny_from(initrd: str) -> list[str]:
    """QEMU, doing the same."""
    command = qemu_boot_tiny()
    command[command.index("-initrd") + 1] = initrd
    return command


def boot_debian(append: str = "") -> list[str]:
    """Auberge, booting the image `debian`."""
    return [*AUBERGE, "boot", "debian", "--append", append]


def qemu_boot_debian(append: str = "") -> list[str]:
    """QEMU, booting the same files with the same devices; what the guest writes is forgotten."""
    image = find("debian", "riscv64")
    if image is None:
        raise Refusal("debian: no such image; make it with `auberge image build debian`")
    wish = boot_options(image)
    files = ["-kernel", image.kernel, "-initrd", image.initrd]
    files += ["-append", f"{wish.append} {append}", "-m", wish.memory or "512M", "-snapshot"]
    files += ["-drive", f"file={image.disk},format=raw,if=none,id=disk"]
    devices = ["virtio-blk-device,drive=disk", "virtio-net-device,netdev=net", "virtio-rng-device"]
    words = [word for device in devices for word in ("-device", device)]
    return [QEMU, *_BOARD, *files, "-netdev", "user,id=net", *words]


def run_program(path: str, cpus: int = 1) -> list[str]:
    """Auberge, running a program in machine mode."""
    return [*AUBERGE, "boot", "--kernel", path, "--cpus", str(cpus)]


def qemu_run_program(path: str, cpus: int = 1) -> list[str]:
    """QEMU without firmware, running it."""
    return [QEMU, *_BOARD, "-m", "512M", "-smp", str(cpus), "-bios", "none", "-kernel", path]


def qemu_version() -> str:
    """As it says; empty if it is not installed."""
    if not qemu_is_here():
        return ""
    with os.popen(f"{QEMU} --version") as pipe:
        return pipe.readline().strip()


_BOARD = ["-accel", "tcg", "-machine", "virt", "-nographic", "-no-reboot"]
