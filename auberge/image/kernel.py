"""Debian's kernel package, and what a raw RISC-V kernel image is."""

import re
import struct
from collections.abc import Callable, Sequence

from auberge.image import deb
from auberge.image.cpio import Cpio
from auberge.image.modules import closure, load_modules, module_name, modules_alias, modules_dep
from auberge.refusal import Refusal

HEADER = struct.Struct("<IIQQQIIQ8s4sI")
MAGIC2 = b"RSC\x05"

METAPACKAGE = "linux-image-riscv64"
"""Depends on the package that holds the kernel of the day."""


def check_image(where: str, data: bytes) -> None:
    """Refuse all but a whole little-endian raw `Image` (boot-image-header.rst of Linux)."""
    if len(data) < HEADER.size:
        raise Refusal(f"{where}: too short for a kernel; use another archive")
    _, _, _, image_size, flags, _, _, _, _, magic2, _ = HEADER.unpack_from(data)
    if magic2 != MAGIC2:
        raise Refusal(f"{where}: not a raw RISC-V kernel image; use another archive")
    if flags & 1:
        raise Refusal(f"{where}: a big-endian kernel; use another archive")
    # image_size counts .bss too, so the file may be shorter, never longer
    if not 0 < len(data) <= image_size:
        raise Refusal(
            f"{where}: {len(data)} bytes do not fit the {image_size} of its header;"
            " use another archive"
        )


class Kernel:
    """Debian's kernel package: the image, its release, and the modules we take."""

    def __init__(
        self, package: str, modules: Sequence[str], moved: Callable[[int, int], None]
    ) -> None:
        kibibytes = deb.field(package, "Installed-Size")
        total = int(kibibytes) << 10 if kibibytes.isdecimal() else 0
        wanted = set(modules)

        def is_wanted(path: str) -> bool:
            if path.endswith((".ko", ".ko.xz")):
                return module_name(path) in wanted
            return path.startswith("boot/vmlinu")

        files: dict[str, bytes] = {}

        def report(done: int) -> None:
            if not files:
                moved(min(done, total), total + 1)

        loaded = -1
        # a second pass only if a module we want needs one that we did not know of
        while loaded < len(wanted):
            loaded = len(wanted)
            files = deb.read_members(package, is_wanted, report)
            objects = {path: data for path, data in files.items() if ".ko" in path}
            self.modules = load_modules(objects)
            for module in self.modules.values():
                wanted.update(module.depends)
        images = [path for path in files if path.startswith("boot/")]
        missing = sorted(wanted - self.modules.keys())
        if missing:
            raise Refusal(f"{package}: no module {missing[0]}; use another archive")
        if len(images) != 1:
            raise Refusal(f"{package}: {len(images)} kernels in /boot; use another archive")
        self.image = files[images[0]]
        self.release = images[0].partition("-")[2]
        if not re.fullmatch(r"[\w.+~-]+", self.release, re.ASCII):
            raise Refusal(f"{package}: {self.release!r} is no kernel release; use another archive")
        check_image(f"{package}: {images[0]}", self.image)

    def write_modules(self, cpio: Cpio, modules: Sequence[str]) -> None:
        """Add these modules, and what they need before them, to an initramfs that has /lib/modules.

        They are laid out for modprobe(8).
        """
        order = closure(modules, self.modules)
        directory = f"lib/modules/{self.release}"
        cpio.directory(directory)
        cpio.file(f"{directory}/modules.dep", modules_dep(order, self.modules).encode())
        cpio.file(f"{directory}/modules.alias", modules_alias(order, self.modules).encode())
        for name in order:
            cpio.file(f"{directory}/{name}.ko", self.modules[name].object)
