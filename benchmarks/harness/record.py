"""Runs every benchmark and keeps what it finds: `python benchmarks/harness/record.py [--rounds N]`.

Each run is a file of `benchmarks/results`, one JSON object a line, the first of which says when, on
what and with; `docs/benchmarks.md` is written from the newest file. `--table` only writes that;
`--again` measures the named scripts anew, for the newest file.
"""

import argparse
import datetime
import glob
import json
import os
import platform
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BENCHMARKS = os.path.dirname(HERE)
ROOT = os.path.dirname(BENCHMARKS)
RESULTS = os.path.join(BENCHMARKS, "results")
TABLE = os.path.join(ROOT, "docs", "benchmarks.md")
sys.path.insert(0, BENCHMARKS)

from harness.guests import qemu_version  # noqa: E402
from harness.report import RECORDS, processor  # noqa: E402

Record = dict[str, str | float]

HEAD = """# Benchmarks

Written by `python benchmarks/harness/record.py` from `benchmarks/results/{file}`; `make bench`
measures again. Not edited by hand.

{date}, {cores} x {processor}, {system}, Python {python}, {qemu};
load average before: {load}.

Times of programs are CPU time, user and system together, unless a name says otherwise; where there
is QEMU, runs alternate, figures are medians, and the ratio is the median of the ratios of each
round (ours over QEMU's: below 1 we are faster). Times by the clock suffer from a high load.
Both translate. The CPU time of a guest is without that of the compiler's process, which works
beside it for what is new. A device access, served by Python, is far slower than QEMU's.
"""

ABOUT = {
    "boot": "Boot: `auberge boot tiny`, the same kernel and initramfs in QEMU with its firmware",
    "debian": "`auberge boot debian` to its login, the same disk in QEMU with its firmware",
    "start": "Before the first guest instruction",
    "starts": "The translator: first and second starts, by the clock, to `/init` and to the login",
    "interpreter": "The native interpreter: S-mode, Sv39, timer, interrupts and budget on",
    "reference": "The reference",
    "device": "Device registers that Python serves, less the same loop in RAM",
    "engine": "An engine alone: leaving native code and coming back",
    "harts": "Two harts, each doing what one did alone",
    "kernel": "Computing in machine mode, as whole processes less their start",
    "bare": "The translator: the same programs in machine mode, without paging",
    "userland": "Commands in the booted guest",
    "containers": "A container of `/bin/true`, start through exit, by the clock; crun and others",
    "computing": "The translator: programs in the booted guest, warm; also over this host itself",
    "disk": "A disk read from its beginning to its end by `dd bs=1M`, by the clock",
    "folders": "A folder of the host in a guest, by the clock",
    "network": "TCP between a guest and this host's loopback, by the clock",
}


def record(rounds: int | None) -> str:
    """Run all scripts; the path of the results."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    os.makedirs(RESULTS, exist_ok=True)
    path = os.path.join(RESULTS, f"{now:%Y-%m-%d-%H%M%S}.jsonl")
    about: Record = {
        "date": now.isoformat(),
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "qemu": qemu_version() or "QEMU not installed",
    }
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(json.dumps(about) + "\n")
    arguments = [] if rounds is None else ["--rounds", str(rounds)]
    for script in sorted(glob.glob(os.path.join(BENCHMARKS, "[!_]*.py"))):
        subprocess.run(
            [sys.executable, script, *arguments],
            check=True,
            env={**os.environ, RECORDS: path + ".new"},
        )
    os.rename(path + ".new", path)
    return path


def again(path: str, names: list[str]) -> None:
    """Run some scripts anew, in place of what these results have of them; they say when."""
    with open(path, encoding="utf-8") as file:
        about, *records = [json.loads(line) for line in file]
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    about["again"] = about.get("again", {}) | dict.fromkeys(names, now.isoformat())
    kept = [each for each in records if each["name"].split(".")[0] not in names]
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in (about, *kept))
    for name in names:
        script = os.path.join(BENCHMARKS, name + ".py")
        subprocess.run(
            [sys.executable, script], check=True, env={**os.environ, RECORDS: path + ".new"}
        )
    os.rename(path + ".new", path)


def table(path: str) -> str:
    """The page."""
    with open(path, encoding="utf-8") as file:
        about, *records = [json.loads(line) for line in file]
    text = [HEAD.format(file=os.path.basename(path), **about)]
    text += [
        f"Measured again: {name}, at {date}.\n" for name, date in about.get("again", {}).items()
    ]
    for group, heading in ABOUT.items():
        rows = [row for row in records if row["name"].split(".")[0] == group]
        if not rows:
            continue
        with_qemu = any(row["name"].endswith(".qemu") for row in rows)
        text.append(f"## {heading}\n")
        text += _columns(rows) if with_qemu else _list(rows)
        text.append("")
    return "\n".join(text).rstrip() + "\n"


def _columns(rows: list[Record]) -> list[str]:
    """One line for each thing measured: ours, QEMU's, the ratio."""
    things: dict[str, dict[str, Record]] = {}
    for row in rows:
        name, _, who = str(row["name"]).rpartition(".")
        if who not in ("auberge", "qemu", "ratio"):
            name, who = str(row["name"]), "auberge"
        things.setdefault(name, {})[who] = row
    lines = ["| | unit | Auberge | QEMU | ratio | target |", "|---|---|--:|--:|--:|---|"]
    for name, found in things.items():
        cells = [_number(found[who]) if who in found else "" for who in ("auberge", "qemu")]
        ratio = _number(found["ratio"]) if "ratio" in found else ""
        first = found.get("auberge") or next(iter(found.values()))  # of some, only the ratio
        target = first.get("target", "")
        if "target" in found.get("ratio", {}):
            target = f"ratio {found['ratio']['target']}"
        line = [name, str(first["unit"]), *cells, ratio, str(target)]
        lines.append("| " + " | ".join(line) + " |")
    return lines


def _list(rows: list[Record]) -> list[str]:
    lines = ["| | unit | Auberge | target |", "|---|---|--:|---|"]
    for row in rows:
        cells = [str(row["name"]), str(row["unit"]), _number(row), str(row.get("target", ""))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _number(record: Record) -> str:
    value = float(record["value"])
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Record, unless only the table is wanted; write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, help="how often to measure, in every script")
    parser.add_argument("--table", action="store_true", help="only write docs/benchmarks.md")
    parser.add_argument("--again", nargs="+", metavar="NAME", help="only these, into the newest")
    options = parser.parse_args()
    known = sorted(glob.glob(os.path.join(RESULTS, "*.jsonl")))
    old = known[-1] if known and (options.table or options.again) else ""
    if old and options.again:
        again(old, options.again)
    newest = old or record(options.rounds)
    text = table(newest)
    with open(TABLE, "w", encoding="utf-8") as page:
        page.write(text)


if __name__ == "__main__":
    main()
