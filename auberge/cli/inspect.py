"""`auberge inspect`: look into a guest: its record; of a machine, harts, registers, page tables."""

import argparse
import json

from auberge.monitor import guests, roster
from auberge.monitor.control import ask
from auberge.monitor.names import socket_path
from auberge.monitor.roster import Seen
from auberge.refusal import Refusal

PATIENCE = 20.0
"""Seconds that a guest may take to answer; it first imports what it needs."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest and what of it is shown."""
    add = parser.add_argument
    add("name", metavar="NAME", help="a guest, by name or the beginning of its id")
    add(
        "--page-table", metavar="GVA",
        help="where a virtual address or symbol leads: each entry, permissions, the TLB",
    )  # fmt: skip
    add("--registers", action="store_true", help="all registers of a hart")
    add("--memory", metavar="GPA:LEN", help="bytes of RAM by physical address")
    add("--hart", metavar="N", type=int, default=0, help="whose page table or registers (0)")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Ask the guest, which stands still for a moment, and print what it says."""
    seen = known(args.name)
    if seen is not None and not (args.page_table or args.registers or args.memory):
        print(json.dumps(described(seen), indent=None if args.json else 1))
        return 0
    if seen is not None and seen.name == args.name:
        raise Refusal(
            f"{args.name}: only machines that `auberge boot` runs show pages, registers and "
            "memory; leave the option out"
        )
    question: dict[str, object] = {"verb": "inspect", "hart": args.hart}
    if (args.page_table is not None) + args.registers + (args.memory is not None) > 1:
        raise Refusal("inspect: --page-table, --registers and --memory: ask for one at a time")
    if args.page_table is not None:
        question["page_table"] = args.page_table
    if args.registers:
        question["registers"] = True
    if args.memory is not None:
        question["memory"] = memory_range(args.memory)
    match ask(args.name, socket_path(args.name), question, PATIENCE):
        case [dict(data), list(lines)]:
            print(json.dumps(data) if args.json else "\n".join(map(str, lines)))
        case _:
            raise Refusal(f"{args.name}: not a guest of this version; start it again")
    return 0


def known(name: str) -> Seen | None:
    """The guest of that name that has a record; None if there is none, or it is a machine that
    `auberge boot` runs."""
    try:
        seen = roster.look(guests.find(name))
    except Refusal:
        return None
    if seen.record is None:
        raise Refusal(seen.note)
    return seen


def described(seen: Seen) -> dict[str, object]:
    """A guest's record, and how it fares now."""
    assert seen.record is not None and seen.folder is not None
    record = seen.record._asdict()
    for field in ("process", "supervisor"):
        record[field] = record[field]._asdict()
    return record | {
        "status": seen.status,
        "note": seen.note,
        "supervised": seen.record.supervised,
        "folder": seen.folder.path,
    }


def memory_range(text: str) -> list[object]:
    """GPA:LEN, the length in any of Python's notations; raises Refusal."""
    address, _, length = text.partition(":")
    try:
        return [address, int(length, 0)]
    except ValueError:
        raise Refusal(
            f"--memory {text}: not an address and a length; write 0x80000000:64"
        ) from None
