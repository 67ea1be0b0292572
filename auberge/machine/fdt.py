"""Flattened device trees: the encoder.

Source: Devicetree Specification v0.4, chapter 5 (DTB format, version 17), 2.2.4 (property values).
"""

import struct
from collections.abc import Mapping, Sequence

from auberge.machine.device import Property

MAGIC = 0xD00DFEED
VERSION, LAST_COMPATIBLE_VERSION = 17, 16
HEADER = struct.Struct(">10I")

FDT_BEGIN_NODE, FDT_END_NODE, FDT_PROP, FDT_END = 1, 2, 3, 9

_CELL = struct.Struct(">I")
_PROP = struct.Struct(">III")


class Node:
    """A node: `name` with its unit address, properties in the order given, then children."""

    __slots__ = ("children", "name", "properties")

    def __init__(
        self, name: str, properties: Mapping[str, Property], children: Sequence["Node"] = ()
    ) -> None:
        self.name = name
        self.properties = dict(properties)
        self.children = list(children)


def u64(*values: int) -> tuple[int, ...]:
    """64-bit values as cells, the high one first (2.2.4: <u64>)."""
    return tuple(half for value in values for half in (value >> 32, value & 0xFFFF_FFFF))


def encode(root: Node, boot_cpu: int = 0) -> bytes:
    """The device tree blob of `root`, with an empty memory reservation block."""
    offsets: dict[str, int] = {}
    names = bytearray()
    tree = bytearray()

    def begin(node: Node) -> None:
        tree.extend(_CELL.pack(FDT_BEGIN_NODE) + _padded(node.name.encode() + b"\0"))
        for key, value in node.properties.items():
            if key not in offsets:
                offsets[key] = len(names)
                names.extend(key.encode() + b"\0")
            data = property_value(value)
            tree.extend(_PROP.pack(FDT_PROP, len(data), offsets[key]) + _padded(data))
        for child in node.children:
            begin(child)
        tree.extend(_CELL.pack(FDT_END_NODE))

    begin(root)
    tree.extend(_CELL.pack(FDT_END))
    reservations = bytes(16)
    at_reservations = HEADER.size
    at_tree = at_reservations + len(reservations)
    at_names = at_tree + len(tree)
    header = HEADER.pack(
        MAGIC,
        at_names + len(names),
        at_tree,
        at_names,
        at_reservations,
        VERSION,
        LAST_COMPATIBLE_VERSION,
        boot_cpu,
        len(names),
        len(tree),
    )
    return header + reservations + bytes(tree) + bytes(names)


def with_room(tree: bytes, room: int) -> bytes:
    """The same blob, but `room` bytes longer: space at its end in which libfdt adds to it."""
    return tree[:4] + _CELL.pack(len(tree) + room) + tree[8:] + bytes(room)


def property_value(value: Property) -> bytes:
    """The bytes of a property, by the type of its value (see `Property`)."""
    if value is True:
        return b""
    if isinstance(value, int):
        return _CELL.pack(value)
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode() + b"\0"
    return b"".join(property_value(part) for part in value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
