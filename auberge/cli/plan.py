"""`auberge plan`: what would be done to make a container of a bundle, step by step."""

import argparse
import json

from auberge.container.carry import shown
from auberge.container.runtime import Start, prepare


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bundle, and how to print."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder with a config.json")
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def run(args: argparse.Namespace) -> int:
    """Print one line for each operation; nothing is done."""
    prepared = prepare(args.bundle, "NAME", Start())
    first = prepared.groups.steps if prepared.groups is not None else ()
    operations = (*first, *prepared.plan.operations)
    if args.json:
        named = [
            {"operation": type(one).__name__, **_fields(one)}
            for one in operations
            if isinstance(one, tuple)
        ]
        print(json.dumps(named, indent=1, default=_plain))
        return 0
    for operation in operations:
        print(shown(operation))
    return 0


def _fields(operation: tuple[object, ...]) -> dict[str, object]:
    names = type(operation).__annotations__
    return dict(zip(names, map(_plain, operation), strict=True))


def _plain(value: object) -> object:
    """What JSON has: bytes in hexadecimal, a structure as an object."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple) and type(value) is not tuple:
        return _fields(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value
