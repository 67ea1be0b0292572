"""`auberge top`: the processes of a guest."""

import argparse
import json

from auberge.cli.table import print_table
from auberge.monitor import roster

TITLES = ("PID", "PPID", "USER", "TIME", "COMMAND")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest."""
    parser.add_argument("name", metavar="NAME", help="by name or beginning of the id")
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def run(args: argparse.Namespace) -> int:
    """Print them: a container's with the host's numbers, a machine's with its own."""
    _, record, folder = roster.running(args.name)
    tasks = roster.guest(record, folder).processes()
    if args.json:
        print(json.dumps([task._asdict() for task in tasks], indent=1))
        return 0
    rows = [
        [str(task.pid), str(task.parent), task.user, clock(task.seconds), task.command]
        for task in tasks
    ]
    print_table(TITLES, rows)
    return 0


def clock(seconds: float) -> str:
    """Processor time as ps(1) has it."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"
