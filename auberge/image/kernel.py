"""A raw RISC-V kernel image, recognised by its header (boot-image-header.rst of Linux)."""

import struct

from auberge.refusal import Refusal

HEADER = struct.Struct("<IIQQQIIQ8s4sI")
MAGIC2 = b"RSC\x05"


def check_image(where: str, data: bytes) -> None:
    """Refuse anything but a little-endian raw `Image` that is all there."""
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
