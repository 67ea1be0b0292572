"""A decoder of device tree blobs, for tests: the other way round, from the same chapter 5."""

import struct


def decode(blob):
    """{path: {property: bytes}}; raises AssertionError where the blob breaks a rule."""
    magic, total, at_tree, at_names, at_reserved, version, compatible, _, names, size = (
        struct.unpack_from(">10I", blob)
    )
    assert (magic, version, compatible) == (0xD00DFEED, 17, 16)
    assert total == len(blob)
    assert at_reserved % 8 == 0 and at_tree % 4 == 0
    assert blob[at_reserved : at_reserved + 16] == bytes(16)
    assert at_tree + size <= at_names and at_names + names <= total
    nodes, path, at = {}, [], at_tree
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        at += 4
        if token == 1:
            end = blob.index(b"\0", at)
            path.append(blob[at:end].decode())
            at = end + 4 & ~3
            nodes["/".join(path) or "/"] = {}
        elif token == 2:
            path.pop()
        elif token == 3:
            length, name = struct.unpack_from(">II", blob, at)
            end = blob.index(b"\0", at_names + name)
            value = blob[at + 8 : at + 8 + length]
            nodes["/".join(path) or "/"][blob[at_names + name : end].decode()] = value
            at = at + 8 + length + 3 & ~3
        else:
            assert token == 9 and not path and at == at_tree + size
            return nodes


def cells(value):
    """A property as 32-bit cells."""
    return struct.unpack(f">{len(value) // 4}I", value)
