"""Where an image comes from: a directory or an archive, whose files are asked for by name."""

import os
import stat
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Protocol

from auberge.image.oci.beneath import open_file
from auberge.image.oci.compression import PIECE, Uncompressed
from auberge.image.oci.digest import Stream
from auberge.image.oci.entry import DIRECTORY, FILE, HARDLINK, SYMLINK
from auberge.image.oci.limits import LARGEST_JSON, LIMITS, OTHER, Limits
from auberge.image.oci.tar_reader import TarReader
from auberge.image.oci.unpack import parts_of
from auberge.refusal import Refusal, reason

LINKS = 8
"""Old archives of docker have links to layers that came before; a chain of them is no use."""


class Source(Protocol):
    """Files by name."""

    name: str
    """What the user calls it."""

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def open(self, path: str) -> AbstractContextManager[Stream]:
        """A file; a refusal if there is none."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def read_document(source: Source, path: str) -> bytes:
    """A document, unless it is too long to be one."""
    with source.open(path) as file:
        data = file.read(LARGEST_JSON + 1)
    if len(data) > LARGEST_JSON:
        raise Refusal(f"{source.name}: {path}: more than {LARGEST_JSON} bytes of JSON; {OTHER}")
    return data


class Folder:
    """A directory of files; symbolic links in it are not followed."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._path = path

    def has(self, path: str) -> bool:
        return os.path.lexists(os.path.join(self._path, *parts_of(path, self.name)))

    def open(self, path: str) -> AbstractContextManager[Stream]:
        try:
            parts = parts_of(path, self.name)
            return open(open_file(self._path, parts, self.name), "rb")
        except OSError as error:
            raise Refusal(f"{self.name}: {path}: {reason(error)}; {OTHER}") from error

    def close(self) -> None:
        pass


class Slice:
    """A part of an open file, from its own start to its own end."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._descriptor = file.fileno()
        self._at = offset
        self._end = offset + size

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        data = os.pread(self._descriptor, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data


class Archive:
    """A tar archive of files; an index of it is made first, as nothing has to be in order."""

    def __init__(self, file: BinaryIO, name: str, limits: Limits = LIMITS) -> None:
        """`file` has a descriptor, and is not compressed."""
        self.name = name
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        file.seek(0)
        entries = min(limits.entries, limits.files)
        reader = TarReader(file, name, limits._replace(entries=entries))
        for entry in reader:
            path = "/".join(parts_of(entry.name, name, limits))
            if path in self._places or path in self._links:
                raise Refusal(f"{name}: {path!r} is in the archive twice; {OTHER}")
            if entry.kind == FILE and entry.extents is None:
                self._places[path] = reader.offset, entry.size
            elif entry.kind == SYMLINK:
                above = path.rpartition("/")[0]
                self._links[path] = os.path.normpath(os.path.join("/", above, entry.link))[1:]
            elif entry.kind == HARDLINK:
                self._links[path] = "/".join(parts_of(entry.link, name, limits))
            elif entry.kind != DIRECTORY:
                raise Refusal(f"{name}: {path!r} is neither file nor link; {OTHER}")

    def has(self, path: str) -> bool:
        return path in self._places or path in self._links

    def open(self, path: str) -> AbstractContextManager[Stream]:
        found = path
        for _ in range(LINKS):
            if found in self._places:
                return nullcontext(Slice(self._file, *self._places[found]))
            if found not in self._links:
                break
            found = self._links[found]
        raise Refusal(f"{self.name}: {path!r} is not in it; {OTHER}")

    def close(self) -> None:
        self._file.close()


def open_source(path: str, temporary: str, limits: Limits = LIMITS) -> Source:
    """What a user names: a directory or an archive, compressed or not; `-` is standard input.

    What cannot be read here and there is copied to a temporary file.
    """
    name = "standard input" if path == "-" else path
    try:
        if os.path.isdir(path):
            return Folder(path)
        file = open(0 if path == "-" else path, "rb", closefd=path != "-")
        try:
            stream = Uncompressed(file, name, limits)
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not stream.is_compressed:
                return Archive(file, name, limits)
            copy = copied(stream, temporary)
        except BaseException:
            file.close()
            raise
        file.close()
        try:
            return Archive(copy, name, limits)
        except BaseException:
            copy.close()
            raise
    except OSError as error:
        raise Refusal(f"{name}: {reason(error)}; name an image's archive or folder") from error


def copied(stream: Stream, temporary: str) -> BinaryIO:
    """What comes out of a stream, in a file that has no name any more."""
    copy = open(temporary, "x+b")
    try:
        os.unlink(temporary)
        while piece := stream.read(PIECE):
            copy.write(piece)
        copy.flush()
    except BaseException:
        copy.close()
        raise
    return copy
