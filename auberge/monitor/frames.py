"""What goes over the socket of a guest once somebody is attached: frames in both directions.

A frame is one byte that says what it is, four for the length of what follows, the highest first,
and that many bytes, at most 65,536.

    to the guest     i  what was typed
                     r  rows and columns of the terminal, two bytes each, the highest first
    from the guest   1  of its output           2  of its errors
                     x  its exit status, one byte; nothing follows
"""

import struct

from auberge.container.light import Iterator

HEADER = struct.Struct(">cI")
SIZE = struct.Struct(">HH")
LONGEST = 1 << 16
INPUT, RESIZE = b"i", b"r"
OUTPUT, ERRORS, EXIT = b"1", b"2", b"x"
LENGTHS = {INPUT: (1, LONGEST), RESIZE: (4, 4)}
LENGTHS |= {OUTPUT: (1, LONGEST), ERRORS: (1, LONGEST), EXIT: (1, 1)}
TO_GUEST = (INPUT, RESIZE)
FROM_GUEST = (OUTPUT, ERRORS, EXIT)


class BadFrame(Exception):
    """What came is no frame of that direction; nothing after it can be understood."""


def frame(kind: bytes, data: bytes) -> bytes:
    """A frame as it is sent."""
    return HEADER.pack(kind, len(data)) + data


class Frames:
    """Takes what comes in pieces, and gives the frames that are complete."""

    def __init__(self, allowed: tuple[bytes, ...]) -> None:
        self._allowed = allowed
        self._rest = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The kinds and contents of what is complete now; raises BadFrame."""
        self._rest += data
        while len(self._rest) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._rest)
            least, most = LENGTHS.get(kind, (1, 0))
            if kind not in self._allowed or not least <= length <= most:
                raise BadFrame
            end = HEADER.size + length
            if len(self._rest) < end:
                return
            content = bytes(self._rest[HEADER.size : end])
            del self._rest[:end]
            yield kind, content
