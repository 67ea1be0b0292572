"""What to wait for in a console's output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import re


class Expected(Protocol):
    """Something that may come to stand in what is printed."""

    def find(self, printed: bytearray, start: int) -> tuple[int, int] | None:
        """Where it stands, from `start` on: begin and end."""

    def again(self, printed: bytearray, start: int) -> int:
        """From where to look once there is more, if it stood nowhere from `start` on."""


class Literal:
    """These bytes."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def find(self, printed: bytearray, start: int) -> tuple[int, int] | None:
        """As `Expected`."""
        at = printed.find(self._text, start)
        return None if at < 0 else (at, at + len(self._text))

    def again(self, printed: bytearray, start: int) -> int:
        """As `Expected`."""
        return max(start, len(printed) - len(self._text) + 1)


class Matching:
    """What matches a regular expression, within one line: the present line is looked at again."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def find(self, printed: bytearray, start: int) -> tuple[int, int] | None:
        """As `Expected`."""
        found = self._pattern.search(printed, start)
        return None if found is None else found.span()

    def again(self, printed: bytearray, start: int) -> int:
        """As `Expected`."""
        return max(start, printed.rfind(b"\n", start) + 1)
