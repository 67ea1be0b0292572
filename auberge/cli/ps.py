"""`auberge ps`: list guests that run; with --all also those that have ended."""

import argparse
import json

from auberge.cli.table import age, print_table
from auberge.monitor import roster
from auberge.monitor.guests import EXITED, SHORT
from auberge.monitor.roster import Seen
from auberge.refusal import Refusal

TITLES = ("ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS")
LONGEST_COMMAND = 30
FILTERS = ("label", "name", "status", "isolation", "id")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which guests, and how they are shown."""
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="also those that have ended")
    add("-q", "--quiet", action="store_true", help="ids alone")
    add("--no-trunc", action="store_true", help="whole ids and commands")
    add("--json", action="store_true", help="a list of objects, for programs")
    add(
        "-f", "--filter", metavar="KEY=VALUE", dest="filters", action="append", default=[],
        help="only those with label=KEY, label=KEY=VALUE, name=PART, id=BEGINNING, status=STATUS or"
        " isolation=container|machine; several of one kind: any of them",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print them, those first that were made last."""
    filters = [parsed(text) for text in args.filters]
    by_status = any(key == "status" for key, _ in filters)
    found = [
        seen
        for seen in roster.all_guests()
        if (args.all or by_status or seen.status != EXITED) and matches(seen, filters)
    ]
    if args.json:
        print(json.dumps([described(seen) for seen in found], indent=1))
    elif args.quiet:
        for seen in found:
            whole = seen.record.id if seen.record else seen.name
            print(whole if args.no_trunc or not seen.record else whole[:SHORT])
    else:
        print_table(TITLES, [row(seen, args.no_trunc) for seen in found])
    return 0


def parsed(text: str) -> tuple[str, str]:
    """A filter; raises Refusal."""
    key, equals, value = text.partition("=")
    if key not in FILTERS or not equals or not value:
        raise Refusal(
            f"--filter {text}: not a filter; write one of {'=, '.join(FILTERS)}= and what"
        )
    return key, value


def matches(seen: Seen, filters: list[tuple[str, str]]) -> bool:
    """Whether all labels and, of each other kind, one of the filters are met."""
    record = seen.record
    for kind in {key for key, _ in filters}:
        values = [value for key, value in filters if key == kind]
        if kind == "label":
            labels = record.labels if record else {}
            for name, equals, value in (text.partition("=") for text in values):
                if name not in labels or (equals and labels[name] != value):
                    return False
        elif kind == "name":
            if not any(value in seen.name for value in values):
                return False
        elif kind == "id":
            if not any(record and record.id.startswith(value) for value in values):
                return False
        elif kind == "status":
            if seen.status not in values:
                return False
        elif (record.isolation if record else "machine") not in values:
            return False
    return True


def row(seen: Seen, whole: bool) -> list[str]:
    """A guest as a line of the table."""
    record = seen.record
    if record is None:
        return ["-", seen.name, "-", "-", "-", status(seen), ""]
    command = " ".join(record.command)
    if len(command) > LONGEST_COMMAND and not whole:
        command = command[: LONGEST_COMMAND - 3] + "..."
    return [
        record.id if whole else record.id[:SHORT],
        seen.name,
        record.image,
        command,
        f"{_age(record.created)} ago",
        status(seen),
        ", ".join(record.ports) if seen.status != EXITED else "",
    ]


def status(seen: Seen) -> str:
    """How it fares, in words."""
    record = seen.record
    note = f" ({seen.note})" if seen.note and record else ""
    if record is None or not record.started:
        return seen.status + note
    if seen.status == EXITED:
        code = "?" if record.exit_code is None else record.exit_code
        when = f" {_age(record.finished)} ago" if record.finished else ""
        return f"exited ({code}){when}{', out of memory' if record.oom_killed else ''}{note}"
    return f"{seen.status} {_age(record.started)}{note}"


def _age(time: str) -> str:
    try:
        return age(time)
    except ValueError:
        return "?"


def described(seen: Seen) -> dict[str, object]:
    """A guest for programs: its record's fields, and how it fares now."""
    record = seen.record
    if record is None:
        kind = "machine" if seen.is_machine else "unknown"
        return {"name": seen.name, "isolation": kind, "status": seen.status, "note": seen.note}
    alive = seen.status in (roster.RUNNING, roster.PAUSED)
    return {
        "id": record.id,
        "name": record.name,
        "isolation": record.isolation,
        "image": record.image,
        "command": record.command,
        "labels": record.labels,
        "ports": record.ports,
        "created": record.created,
        "started": record.started,
        "finished": record.finished,
        "status": seen.status,
        "note": seen.note,
        "exit_code": record.exit_code,
        "oom_killed": record.oom_killed,
        "pid": record.process.pid if alive else 0,
        "supervisor": record.supervisor.pid if record.supervised else 0,
    }
