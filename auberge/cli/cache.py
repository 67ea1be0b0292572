"""`auberge cache`: show or clear the code generated for this host."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import suppress

from auberge.engine.cache import folder


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to do with it."""
    parser.add_argument("verb", choices=["ls", "clear"], nargs="?", default="ls")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List or remove the entries; one that is in use by a running guest is safe to remove."""
    where = folder()
    sizes = dict(sorted(entry_sizes(where)))
    if args.verb == "clear":
        for name in sizes:
            with suppress(FileNotFoundError):  # someone else cleared it
                os.unlink(os.path.join(where, name))
    freed = "freed" if args.verb == "clear" else "bytes"
    total = sum(sizes.values())
    if args.json:
        print(json.dumps({"folder": where, "entries": sizes, freed: total}))
        return 0
    if args.verb == "ls":
        for name, size in sizes.items():
            print(f"{size:10} {name}")
    print(f"{total:10} {freed} in {where}")
    return 0


def entry_sizes(where: str) -> Iterator[tuple[str, int]]:
    """Each file of the folder, and its bytes."""
    for entry in os.scandir(where):
        with suppress(FileNotFoundError):
            yield entry.name, entry.stat().st_size
