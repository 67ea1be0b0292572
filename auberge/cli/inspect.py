"""`auberge inspect`: look into a guest that runs: harts, memory map, registers, page tables."""

import argparse
import json

from auberge.monitor.control import ask
from auberge.monitor.names import socket_path
from auberge.refusal import Refusal

PATIENCE = 20.0
"""Seconds that a guest may take to answer; it first imports what it needs."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest and what of it is shown."""
    add = parser.add_argument
    add("name", metavar="NAME", help="as given to `auberge boot --name`")
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


def memory_range(text: str) -> list[object]:
    """GPA:LEN, the length in any of Python's notations; raises Refusal."""
    address, _, length = text.partition(":")
    try:
        return [address, int(length, 0)]
    except ValueError:
        raise Refusal(
            f"--memory {text}: not an address and a length; write 0x80000000:64"
        ) from None
