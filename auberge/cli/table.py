"""How listings of guests are printed: columns, ages and sizes."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need; what a guest has named itself cannot steer a terminal."""
    shown = [titles, *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in shown) for at in range(len(titles))]
    for row in shown:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _plain(text: str) -> str:
    from auberge.cli.main import one_line

    return one_line(text)


def age(time: str) -> str:
    """How long ago a time of RFC 3339 was, in its largest unit: `3 minutes`; raises ValueError."""
    seconds = max(0, int((datetime.now(UTC) - moment(time)).total_seconds()))
    for size, unit in UNITS:
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def moment(time: str) -> datetime:
    """A time of RFC 3339; without an offset it is UTC. Raises ValueError."""
    head, dot, fraction = time.partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    found = datetime.fromisoformat(head + dot + fraction[: min(digits, 6)] + fraction[digits:])
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def size(count: int | None) -> str:
    """Bytes in units of 1024; `-` is what nobody counts."""
    if count is None:
        return "-"
    if count < 1024:
        return f"{count} B"
    power = 1 if count < 1000 << 10 else 2 if count < 1000 << 20 else 3
    return f"{count / 1024**power:.1f} {' KMG'[power]}iB"
