"""The agent: the first process of a machine that runs a container's image, and what it is told.

It starts programs that the host asks for, tells how they end, and passes their streams on. A
request is a header (its whole length, kind, job, argument) and, for `RUN`, what `Program` lays
out; a report is four words (kind, job, value, 0). Both go by port 0 of a console device with
several ports (virtio 1.2, 5.3); a job's streams are ports of their own. The agent trusts the host;
the host believes nothing of what comes back. Its text is in cell_agent_text.py.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

HEADER = Struct("<IIII")
REPORT = Struct("<IIiI")

RUN, SIGNAL, RESIZE, HANG_UP = 1, 2, 3, 4
"""Requests. The argument is a signal's number; rows, and columns times 65,536; a stream, whose
reader or writer is to find that nobody is at its other end."""

READY, STARTED, FAILED, EXITED = 1, 2, 3, 4
"""Reports. Their value is the agent's version; a process's number; an errno, and 65,536 times what
failed; a status as wait(2) has it."""

VERSION = 1

PORTS, DIRECTORY, IDENTITY, EXECUTION, WALLS = 1, 2, 3, 4, 5
"""What failed: the streams or the process itself, its working directory, its ids, its exec, or
what holds it: its cgroup, its root file system."""

TERMINAL, INSIDE, FIRST, JOIN = 1, 2, 4, 8
"""How a program is run: on a terminal whose one port is the first; in the root file system and
cgroup of the guest; as the first process of a new pid namespace; in that namespace."""

MOST_JOBS = 32
LARGEST_REQUEST = 1 << 20
ROOT = "/newroot"
CGROUP = "/sys/fs/cgroup/guest"

_FIXED = Struct("<6IQ6I")


class Program(NamedTuple):
    """A program for the agent to run. `paths` are tried in turn, as execvp(3) does."""

    paths: Sequence[bytes]
    args: Sequence[bytes]
    env: Sequence[bytes]
    cwd: bytes = b"/"
    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()
    capabilities: int = (1 << 64) - 1
    """A bit for each one that it may have at all."""
    flags: int = 0
    port: int = 1
    """Of its standard input; the other two follow."""
    window: int = 0
    """As with `RESIZE`."""

    def body(self) -> bytes:
        """All that follows the header: offsets are from its beginning."""
        texts = bytearray()
        numbers: list[int] = []
        lists = (self.paths, self.args, self.env)
        begin = HEADER.size + _FIXED.size
        table = sum(len(each) + 1 for each in lists) * 8
        strings = begin + table + 4 * len(self.groups)
        where = []
        for each in lists:
            where.append(begin + 8 * len(numbers))
            for text in each:
                numbers.append(strings + len(texts))
                texts += text + b"\0"
            numbers.append(0)
        cwd = strings + len(texts)
        texts += self.cwd + b"\0"
        fixed = _FIXED.pack(
            self.flags,
            self.port,
            self.uid,
            self.gid,
            len(self.groups),
            self.window,
            self.capabilities,
            begin + table,
            cwd,
            *where,
            0,
        )
        lists_as_bytes = b"".join(number.to_bytes(8, "little") for number in numbers)
        groups = b"".join(group.to_bytes(4, "little") for group in self.groups)
        return fixed + lists_as_bytes + groups + bytes(texts)


def request(kind: int, job: int, argument: int = 0, body: bytes = b"") -> bytes:
    """A request as it goes to the agent."""
    return HEADER.pack(HEADER.size + len(body), kind, job, argument) + body
