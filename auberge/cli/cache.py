"""`auberge cache`: show or clear the code generated for this host."""

import argparse
import json
import os
import time
from contextlib import suppress

from auberge.engine.cache import folder, key
from auberge.engine.code_folder import INTERPRETER, PLACES, REGIONS, File, files
from auberge.engine.region_file import count_regions

KINDS = {REGIONS: "translations", PLACES: "index"}  # if not as names begin


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to do with it."""
    parser.add_argument(
        "verb", choices=["ls", "clear"], nargs="?", default="ls",
        help="show all files (ls), or remove them; guests that run go on (clear)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List or remove the entries; one that is in use by a running guest is safe to remove."""
    where, ours = folder(), key()
    found = files(where)
    rows = {file.name: about(where, file, ours) for file in found}
    if args.verb == "clear":
        for file in found:
            with suppress(FileNotFoundError):  # someone else cleared it
                os.unlink(os.path.join(where, file.name))
    freed = "freed" if args.verb == "clear" else "bytes"
    total = sum(file.size for file in found)
    if args.json:
        print(json.dumps({"folder": where, "entries": rows, freed: total}))
        return 0
    if args.verb == "ls":
        for file in found:
            print(line(file, rows[file.name]))
    print(f"{total:10} {freed} in {where}")
    return 0


def about(where: str, file: File, ours: str) -> dict[str, object]:
    """What is said of a file: which version of Auberge it is for, and how many regions it has."""
    shown: dict[str, object] = {
        "kind": KINDS.get(file.kind, file.kind) or "unfinished",
        "bytes": file.size,
        "used": int(file.used),
        "version": version(file, ours),
    }
    if file.kind == REGIONS:
        shown["regions"] = count_regions(os.path.join(where, file.name))
    return shown


def version(file: File, ours: str) -> str:
    """Of the source it was made from: that of this command, or another, if the name says it."""
    if file.kind not in (INTERPRETER, REGIONS, PLACES):
        return "-"
    return "this" if file.key == ours else "other"


def line(file: File, row: dict[str, object]) -> str:
    """A file for people."""
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.used))
    regions = f"{row['regions']} regions" if "regions" in row else ""
    text = f"{file.size:10} {row['kind']:12} {row['version']:6} {used} {regions:>16}"
    return f"{text}  {file.name}"
