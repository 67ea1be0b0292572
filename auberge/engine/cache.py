"""Generated code kept on disk: built once, loaded in milliseconds, never trusted unread.

An entry is a header of fixed size, a description as `marshal` cannot harm us (plain lines), and the
code. A checksum over all of it, the key it was built for, and the ownership of file and folder are
verified at each load; anything wrong means that there is no entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

from auberge.engine.host import Host
from auberge.refusal import Refusal

MAGIC = b"auberge\n"
ROOMS = ("bits", "isa", "isa/riscv", "engine")  # what generated code is made from


class Entry(NamedTuple):
    """Machine code, where its functions begin, and what an engine must know of the ISA to use it."""

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
            f"{path}: {(error.strerror or 'unusable').lower()}; "
            "set AUBERGE_CACHE_DIR to a folder of yours"
        ) from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise Refusal(
            f"{path}: others may write there; generated code is executed, so it must be a "
            "folder of yours alone (chmod 700)"
        )
    return path


def key() -> str:
    """What an entry must be built for: this host, this LLVM, this very source."""
    digest = hashlib.blake2b(digest_size=20)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for room in ROOMS:
        here = os.path.join(root, *room.split("/"))
        for name in sorted(os.listdir(here)):
            if name.endswith(".py"):
                with open(os.path.join(here, name), "rb") as source:
                    digest.update(name.encode() + source.read())
    digest.update(repr((Host.ours(), sys.version_info[:2])).encode())
    return digest.hexdigest()


def pack(entry: Entry, key: str) -> bytes:
    """An entry as bytes, with its checksum in front."""
    about = json.dumps([key, entry.symbols, entry.cells, entry.reset, entry.isa_string]).encode()
    body = len(about).to_bytes(8, "little") + about + entry.code
    return MAGIC + hashlib.blake2b(body, digest_size=32).digest() + body


def unpack(data: bytes, key: str) -> Entry | None:
    """The entry, if these bytes are one, whole, and for `key`."""
    checksum, body = data[8:40], data[40:]
    if data[:8] != MAGIC or hashlib.blake2b(body, digest_size=32).digest() != checksum:
        return None
    size = int.from_bytes(body[:8], "little")
    found, symbols, cells, reset, isa_string = json.loads(body[8 : 8 + size])
    if found != key:
        return None
    return Entry(body[8 + size :], symbols, tuple(cells), reset, isa_string)


def _read(path: str, key: str) -> Entry | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        return unpack(file.read(), key)


def load() -> Entry:
    """The native interpreter for this host: from the cache, or built now by a compiler process."""
    ours = key()
    path = os.path.join(folder(), f"interpreter-{ours}")
    entry = _read(path, ours)
    return entry if entry is not None else _build(path, ours)


def _build(path: str, key: str) -> Entry:
    """Have it compiled; written beside and renamed, so that nobody ever sees half of it."""
    done = subprocess.run(
        [sys.executable, "-m", "auberge.engine.compiler"],
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
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as new:
        new.write(done.stdout)
    os.rename(new.name, path)
    return entry
