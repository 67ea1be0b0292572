"""What a container's child and the runtime agree on: where a table lies, and what is told.

Two pipes are between them. The child tells 16 bytes: what, and a number; the runtime answers when
it is time to go on, with the state that hooks are to read (OCI runtime specification, runtime.md,
"State"), which fits a pipe. That the runtime is gone ends the child.
"""

from auberge.container.light import NamedTuple

ROWS, DATA = 0x60_0000, 0x80_0000
ROW = 12 * 8
MESSAGE = 16  # bytes of what is told to the runtime: a kind or a row, and a number or an errno
FAILED = DATA  # where the stub writes which row failed, and the errno
PAGE = 4096

CLONED, READY, CREATED, LISTENS = 1, 2, 3, 4
"""What a child tells: its process id is, it waits for go, it waits for start, and with a
descriptor, that its filter asks there."""
LONGEST_STATE = 60_000  # bytes of what a hook reads: they fit a pipe


def session_keyring(container: str) -> str:
    """What a container's session keyring is called, as runc has it."""
    return f"_ses.{container}"


class Descriptors(NamedTuple):
    """Which descriptors a child is born with, beside standard streams and preserved ones."""

    kept: int = 0  # how many preserved ones, from 3 on
    start: bool = False  # a FIFO that `start` writes to
    console: bool = False  # a socket that takes the terminal
    users: int = 0  # how many user namespaces that map mounts

    @property
    def tell_at(self) -> int:
        """The pipe to the runtime."""
        return 3 + self.kept

    @property
    def go_at(self) -> int:
        """The pipe from the runtime."""
        return self.tell_at + 1

    @property
    def start_at(self) -> int:
        """The FIFO."""
        return self.go_at + 1

    @property
    def console_at(self) -> int:
        """The socket for the terminal."""
        return self.go_at + 1 + self.start

    @property
    def users_at(self) -> int:
        """The first of the user namespaces."""
        return self.console_at + self.console


class Late(NamedTuple):
    """Where a personal string is in the data: its length, and room for so many bytes."""

    offset: int
    room: int

    def filled(self, raw: bytes) -> bytes:
        """What is there for this string."""
        return len(raw).to_bytes(8, "little") + raw.ljust(self.room, b"\0")


def capacity(length: int) -> int:
    """Room for a personal string of so many bytes, and its end."""
    return max(64, 1 << length.bit_length())


class Mold(NamedTuple):
    """The executable of one plan of its form, and where its personal strings are (mold.py)."""

    image: bytes
    late: tuple[Late, ...]
    data: int  # where its data are
    numbers: tuple[int, ...]  # of which operation each row is: -1 for none

    def filled(self, texts: list[bytes]) -> bytes:
        """The executable for these strings."""
        image = bytearray(self.image)
        for late, text in zip(self.late, texts, strict=True):
            at = self.data + late.offset
            image[at : at + 8 + late.room] = late.filled(text)
        return bytes(image)

    def fits(self, texts: list[bytes]) -> bool:
        """Whether these strings are of its form."""
        return [late.room for late in self.late] == [capacity(len(text)) for text in texts]
