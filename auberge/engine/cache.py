"""Generated code kept on disk: built once, loaded in milliseconds, never trusted unread.

An entry is a header of fixed size, a description, and the code. The ownership of file and folder, a
checksum over all of it, and the key it was built for are verified at each load, before anything in
it is looked at; whatever is wrong means that there is no entry. The checksum finds damage, not
malice: who can write to a private folder of ours can do as he likes already.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from contextlib import suppress
from typing import NamedTuple

from auberge.engine.code_folder import INTERPRETER, put, read_ours, tidy
from auberge.engine.host import Host
from auberge.refusal import Refusal, reason

MAGIC = b"auberge\n"
LARGEST = 16 << 20  # bytes of an entry, which has some hundred thousand
ROOMS = ("bits", "isa", "isa/riscv", "engine")  # what generated code is made from


class Entry(NamedTuple):
    """Machine code, where its functions begin, and what must be known of the ISA to use it."""

    code: bytes
    symbols: dict[str, int]
    cells: tuple[str, ...]
    reset: dict[str, int]
    isa_string: str


def folder() -> str:
    """The folder of generated code: private, ours. Raises Refusal if it cannot be either."""
    root = os.environ.get("AUBERGE_CACHE_DIR")
    if not root:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        root = os.path.join(base, "auberge")
    path = os.path.join(root, "code")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
    except OSError as error:
        raise Refusal(
            f"{path}: {reason(error)}; set AUBERGE_CACHE_DIR to a folder of yours"
        ) from None
    if status.st_uid != os.geteuid():
        raise Refusal(
            f"{path}: it belongs to another user; generated code is executed, so set "
            "AUBERGE_CACHE_DIR to a folder of yours"
        )
    if status.st_mode & 0o022:
        raise Refusal(
            f"{path}: others may write there; generated code is executed, so it must be a "
            "folder of yours alone (chmod 700)"
        )
    if status.st_mode & 0o055:  # others may only look: nothing was lost
        with suppress(OSError):
            os.chmod(path, 0o700)
    return path


def key() -> str:
    """What an entry must be built for: this host, this Python, this very source."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    one, two, size = 0, 1, 0
    for room in ROOMS:
        here = os.path.join(root, *room.split("/"))
        for name in sorted(os.listdir(here)):
            if name.endswith(".py"):
                with open(os.path.join(here, name), "rb") as source:
                    text = source.read()
                one, two, size = zlib.crc32(text, one), zlib.adler32(text, two), size + len(text)
    host = repr((Host.ours(), sys.version_info[:2])).encode()
    return f"{zlib.crc32(host, one):08x}{zlib.adler32(host, two):08x}{size:06x}"


def pack(entry: Entry, key: str) -> bytes:
    """An entry as bytes, with its checksum in front."""
    about = marshal.dumps((key, entry.symbols, entry.cells, entry.reset, entry.isa_string))
    body = len(about).to_bytes(8, "little") + about + entry.code
    return MAGIC + _checksum(body) + body


def unpack(data: bytes, key: str) -> Entry | None:
    """The entry, if these bytes are one, whole, and for `key`."""
    body = data[16:]
    if data[:8] != MAGIC or _checksum(body) != data[8:16]:
        return None
    size = int.from_bytes(body[:8], "little")
    found, symbols, cells, reset, isa_string = marshal.loads(body[8 : 8 + size])
    if found != key:
        return None
    return Entry(body[8 + size :], symbols, cells, reset, isa_string)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "little") + zlib.adler32(body).to_bytes(4, "little")


def load() -> Entry:
    """The native interpreter for this host: from the cache, or built now by a compiler process."""
    ours = key()
    path = os.path.join(folder(), f"{INTERPRETER}-{ours}")
    data = read_ours(path, LARGEST)
    entry = unpack(data, ours) if data is not None else None
    return entry if entry is not None else _build(path, ours)


def _build(path: str, key: str) -> Entry:
    """Have it compiled, and keep it for the next time."""
    import subprocess  # not on the way of those who find an entry

    done = subprocess.run(
        [sys.executable, "-P", "-m", "auberge.engine.compiler"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    entry = unpack(done.stdout, key) if done.returncode == 0 else None
    if entry is None:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[
            -1
        ]
        raise Refusal(
            f"compiler: it ended with status {done.returncode} ({last}); "
            "use --engine reference, or report this"
        )
    keep(path, done.stdout)
    tidy(os.path.dirname(path), key)
    return entry


def keep(path: str, data: bytes) -> None:
    """Put it there whole; on a disk that cannot be written, not at all."""
    with suppress(OSError):
        put(path, data)
