"""Which format a disk image has: its name says it, or its user; never what a guest could write.

Probing by content is a known hole: a guest that may write to a raw disk writes another format's
header to it, and from the next start on that is what the disk is taken for. So content is only
looked at to refuse what contradicts the name.
"""

from auberge.refusal import Refusal

RAW = "raw"
FORMATS = (RAW, "qcow2", "vmdk", "vdi", "vhdx")

HEAD_SIZE = 512
"""Bytes at the beginning of a file that tell a format from the others."""

_MAGIC = (
    ("qcow2", 0, b"QFI\xfb"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("vhdx", 0, b"vhdxfile"),
)


def image_format(path: str, head: bytes, wish: str | None = None) -> str:
    """The format of the file at `path`, which begins with `head`: `wish`, or as its suffix says.

    Raises Refusal if that is not a format, or if the content looks like another one's and there is
    no wish.
    """
    if wish is not None and wish not in FORMATS:
        raise Refusal(f"{path}: no such format, {wish!r}; choose one of {', '.join(FORMATS)}")
    suffix = path.rpartition(".")[2].lower()
    named = wish or (suffix if suffix in FORMATS else RAW)
    seen = _seen(head)
    if seen == named or named == RAW == wish:
        return named
    if named == RAW:
        raise Refusal(
            f"{path}: looks like {seen} inside, which its name does not say;"
            f" add ',format={seen}', or ',format=raw' if these are a guest's bytes"
        )
    if seen != RAW:
        raise Refusal(f"{path}: is {seen} inside, not {named}; add ',format={seen}' if you agree")
    raise Refusal(f"{path}: is not {named} inside; add ',format=raw' if it is a raw disk")


def _seen(head: bytes) -> str:
    for name, at, magic in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return name
    return RAW
