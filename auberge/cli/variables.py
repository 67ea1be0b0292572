"""What `-e` and `--env-file` say of a guest's environment, as docker's users write it."""

import os
from collections.abc import Iterable, Iterator, Sequence

from auberge.refusal import Refusal, reason

LONGEST_FILE = 1 << 20
"""Bytes; the kernel takes some 2 MiB of variables and arguments together (execve(2))."""
BOM = b"\xef\xbb\xbf"


def variables(texts: Sequence[str]) -> tuple[str, ...]:
    """NAME=VALUE as it is; NAME alone has our own value, and is left out if we have none.

    Raises Refusal for what has no name.
    """
    for text in texts:
        if not text.partition("=")[0]:
            raise Refusal(f"-e: {text!r} is not NAME=VALUE; write it so")
    return tuple(_with_ours(texts))


def _with_ours(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if "=" in text:
            yield text
        elif text in os.environ:
            yield f"{text}={os.environ[text]}"


def merged(texts: Sequence[str]) -> tuple[str, ...]:
    """Each variable once, with what was said of it last."""
    return tuple({text.partition("=")[0]: text for text in texts}.values())


def files(paths: Sequence[str]) -> tuple[str, ...]:
    """What files say in docker's format: NAME=VALUE or NAME on each line, as with `-e`, the value
    as it is to the end of the line. Lines that begin with # say nothing, nor do empty ones.

    Raises Refusal, with file and line.
    """
    return tuple(_with_ours(text for path in paths for text in _file(path)))


def _file(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            data = file.read(LONGEST_FILE + 1)
    except OSError as error:
        why = reason(error)
        raise Refusal(f"--env-file: {path}: {why}; name a file of lines NAME=VALUE") from None
    if len(data) > LONGEST_FILE:
        raise Refusal(f"--env-file: {path}: more than {LONGEST_FILE} bytes; name a shorter file")
    found: list[str] = []
    for number, line in enumerate(data.removeprefix(BOM).split(b"\n"), 1):
        where = f"--env-file: {path}: line {number}"
        try:
            text = line.removesuffix(b"\r").decode().lstrip(" \t")
        except UnicodeDecodeError:
            raise Refusal(f"{where}: not UTF-8; write it so") from None
        name = text.partition("=")[0]
        if not text or text.startswith("#"):
            continue
        if not name or "\0" in text:
            raise Refusal(f"{where}: {text[:40]!r}: not NAME=VALUE; write it so")
        if any(letter.isspace() for letter in name):
            raise Refusal(f"{where}: {name[:40]!r}: a space in the name; take it out")
        found.append(text)
    return found
