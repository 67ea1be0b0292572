"""What a guest wrote: `log.json`, each line a JSON object, as docker's json-file has it.

    {"log": "hello\\n", "stream": "stdout", "time": "2026-11-23T11:20:00.123456789Z"}

An entry is at most a line. What was written without a newline is an entry without one, and the next
of that stream goes on with it: nothing waits in memory to be lost. Bytes that are not UTF-8 are
lone surrogates from \\udc80 to \\udcff, so that none is changed. A file of 8 MiB becomes
`log.json.1`, in the place of the one before; so a guest has 16 MiB and a little of its last words.
A line that a kill has cut off is none.
"""

import os
from io import BufferedReader

from auberge.container.light import Callable, Iterator, NamedTuple
from auberge.monitor.guests import now

NAME, OLDER = "log.json", "log.json.1"
ROOM = 8 << 20
"""Bytes after which a file is put aside."""
STREAMS = {1: "stdout", 2: "stderr"}
LONGEST_LINE = 1 << 20
PATIENCE = 0.1
"""Seconds after which a reader who follows looks again."""


class Entry(NamedTuple):
    """What a guest wrote to a stream at a time."""

    time: str
    stream: str
    data: bytes


class Log:
    """The log of a folder, to be added to by one process at a time.

    What the disk has no room for is lost, and counted in `lost`, in bytes: no guest waits for it.
    """

    def __init__(self, folder: str, room: int = ROOM) -> None:
        from _json import encode_basestring_ascii

        self._quoted = encode_basestring_ascii
        self._path, self._older = os.path.join(folder, NAME), os.path.join(folder, OLDER)
        self._room = room
        self._size = 0
        self._fd = -1
        self.lost = 0

    def add(self, stream: int, data: bytes) -> None:
        """Add what came from a stream, which is 1 or 2."""
        ending = f', "stream": "{STREAMS[stream]}", "time": "{now()}"}}\n'
        lines = data.split(b"\n")
        pieces = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        quoted = self._quoted
        texts = [quoted(piece.decode("utf-8", "surrogateescape")) for piece in pieces]
        try:
            self._write("".join([f'{{"log": {text}{ending}' for text in texts]).encode("ascii"))
        except OSError:
            self.lost += len(data)
            self.close()  # who opens it again ends the line that was cut off

    def _write(self, data: bytes) -> None:
        if self._fd >= 0 and self._size >= self._room:
            self.close()
            os.rename(self._path, self._older)
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._fd).st_size
            if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
                data = b"\n" + data  # the last line was cut off
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def close(self) -> None:
        """Write no more, for now."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def entries(folder: str) -> Iterator[Entry]:
    """All that is in the log now, the oldest first."""
    for name in (OLDER, NAME):
        try:
            file = open(os.path.join(folder, name), "rb")
        except FileNotFoundError:
            continue
        with file:
            while line := file.readline(LONGEST_LINE):
                entry = parse(line)
                if entry is not None:
                    yield entry


def follow(folder: str, goes_on: Callable[[], bool]) -> Iterator[Entry | None]:
    """What is in the log, and what comes to it as long as `goes_on` says so; None says that there
    is no more now."""
    from time import sleep

    file = _opened(folder, OLDER) or _opened(folder, NAME)
    rest = b""
    try:
        while True:
            last = not goes_on()  # asked first: what comes before the end is seen then
            file = file or _opened(folder, NAME)
            moved = file is not None and not _is(folder, NAME, file)  # first, too
            while file is not None and (line := file.readline(LONGEST_LINE)):
                rest += line
                if rest.endswith(b"\n") or len(rest) >= LONGEST_LINE:
                    entry, rest = parse(rest), b""
                    if entry is not None:
                        yield entry
            if moved and file is not None:
                # all of it is read; who is slow may find that there is one between
                newer = _opened(folder, NAME if _is(folder, OLDER, file) else OLDER)
                file.close()
                file, rest = newer, b""
            elif last:
                return
            else:
                yield None
                sleep(PATIENCE)
    finally:
        if file is not None:
            file.close()


def _opened(folder: str, name: str) -> BufferedReader | None:
    try:
        return open(os.path.join(folder, name), "rb")
    except FileNotFoundError:
        return None


def _is(folder: str, name: str, file: BufferedReader) -> bool:
    """Whether a file has that name now."""
    try:
        return os.path.samestat(os.stat(os.path.join(folder, name)), os.fstat(file.fileno()))
    except FileNotFoundError:
        return True  # being replaced, or removed with its guest: nothing follows yet


def parse(line: bytes) -> Entry | None:
    """The entry that a line is, if it is one."""
    from auberge.container.light import read_json

    try:
        values = read_json(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    text, stream, time = (values.get(field) for field in ("log", "stream", "time"))
    if not (isinstance(text, str) and isinstance(stream, str) and isinstance(time, str)):
        return None
    if stream not in STREAMS.values():
        return None
    try:
        return Entry(time, stream, text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return None
