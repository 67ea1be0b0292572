"""Binary packages (deb(5)), read without root and without unpacking anything to disk."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from functools import partial
from typing import BinaryIO

from auberge.refusal import Refusal

LARGEST_MEMBER = 512 << 20
"""No file we want is near this; a package that claims more would only fill the memory."""


def field(package: str, name: str) -> str:
    """The value of one field of the package's control file; empty when it has none."""
    done = subprocess.run(
        ["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Refusal(f"{package}: {_last_line(done.stderr)}; remove it and build again")
    return done.stdout.strip()


def read_members(
    package: str, wanted: Callable[[str], bool], moved: Callable[[int], None]
) -> dict[str, bytes]:
    """The regular files of a package whose path (without a leading `./`) is wanted.

    `moved` hears how many bytes of the unpacked archive have gone by. The whole archive is looked
    at, and refused if any of its members could harm somebody who unpacked it.
    """
    found: dict[str, bytes] = {}
    symlinks: set[str] = set()
    argv = ["dpkg-deb", "--fsys-tarfile", package]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as unpacker:
        assert unpacker.stdout is not None and unpacker.stderr is not None
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                for member in archive:
                    path = _checked(package, member, symlinks)
                    moved(member.offset)
                    if not wanted(path) or member.isdir():
                        continue
                    data = archive.extractfile(member) if member.isreg() else None
                    if data is None:
                        raise Refusal(
                            f"{package}: {path} is not a regular file; use another archive"
                        )
                    found[path] = data.read()
        except (tarfile.TarError, ValueError) as broken:
            unpacker.kill()
            said = _last_line(unpacker.stderr.read().decode(errors="replace"))
            raise Refusal(f"{package}: {said or broken}; remove it and build again") from broken
        except BaseException:
            unpacker.kill()
            raise
    return found


def _checked(package: str, member: tarfile.TarInfo, symlinks: set[str]) -> str:
    """The member's path, normalised; hostile members are refused, symbolic links remembered."""
    parts = member.name.removeprefix("./").rstrip("/").split("/")
    path = "/".join(parts)
    above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if path != "." and (member.name.startswith("/") or _unsafe(parts)):
        raise Refusal(f"{package}: {member.name!r} leaves the package; use another archive")
    if any(parent in symlinks for parent in above):
        raise Refusal(f"{package}: {path!r} is behind a symbolic link; use another archive")
    if member.isdev():
        raise Refusal(f"{package}: {path!r} is a device or FIFO; use another archive")
    if member.size > LARGEST_MEMBER:
        raise Refusal(f"{package}: {path!r} claims {member.size} bytes; use another archive")
    if member.islnk() and _unsafe(member.linkname.removeprefix("./").split("/")):
        raise Refusal(f"{package}: {path!r} links out of the package; use another archive")
    if member.issym():
        symlinks.add(path)
    return path


def _unsafe(parts: Iterable[str]) -> bool:
    return any(part in ("", ".", "..") for part in parts)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def write_uncompressed(package: str, out: BinaryIO) -> None:
    """Write the package again, the same in all but that nothing in it is compressed.

    Whoever unpacks it next may be a hundred times slower at that than the host.
    """
    out.write(b"!<arch>\n")
    _write_member(out, "debian-binary", lambda: out.write(b"2.0\n"))
    for name, option in (("control.tar", "--ctrl-tarfile"), ("data.tar", "--fsys-tarfile")):
        _write_member(out, name, partial(_stream, package, option, out))


def _write_member(out: BinaryIO, name: str, write: Callable[[], object]) -> None:
    """Write a member of an archive in the format of ar(5), whose size is known afterwards."""
    start = out.tell()
    out.write(bytes(60))
    write()
    end = out.tell()
    out.seek(start)
    out.write(f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{end - start - 60:<10}`\n".encode())
    out.seek(end)
    out.write(b"\n" * (end % 2))


def _stream(package: str, option: str, out: BinaryIO) -> None:
    argv = ["dpkg-deb", option, package]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as unpacker:
        assert unpacker.stdout is not None and unpacker.stderr is not None
        try:
            shutil.copyfileobj(unpacker.stdout, out, 1 << 20)
            said = _last_line(unpacker.stderr.read().decode(errors="replace"))
        except BaseException:
            unpacker.kill()
            raise
    if unpacker.returncode:
        raise Refusal(f"{package}: {said}; remove it and build again")
