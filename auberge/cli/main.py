"""The front door: finds the subcommand, runs it, and turns what went wrong into one line.

A subcommand is a file of this room whose documentation begins "`auberge NAME`: what it does.",
with two functions: `arguments(parser)` declares what it takes, `run(args)` does it and returns the
exit status. Nothing else is told of it. Only the chosen one is imported.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NoReturn

from auberge.refusal import Refusal, reason

FAILED = 125  # as docker: Auberge itself failed, not the guest
INTERRUPTED = 130  # 128 + SIGINT
NOBODY_READS = 141  # 128 + SIGPIPE


def plain_help(prog: str) -> argparse.HelpFormatter:
    """As wide as everywhere: to ask the terminal, argparse imports milliseconds of modules."""
    return argparse.HelpFormatter(prog, width=80)


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse in one line, instead of a page of usage."""
        command = self.prog.removeprefix("auberge ")
        raise Refusal(f"{command}: {message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; what a guest, a file or the host does wrong becomes one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    open_standard_streams()
    try:
        status = dispatch(words)
        sys.stdout.flush()
        return status
    except Refusal as refusal:
        complaint = str(refusal)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return NOBODY_READS
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complaint = where + reason(error)
    except MemoryError:
        complaint = "host: out of memory; give the guest less with --memory"
    print(f"auberge: {one_line(complaint)}", file=sys.stderr)
    return FAILED


def one_line(text: str) -> str:
    """The text with what would break the line, or steer a terminal, escaped: names may hold it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def dispatch(words: list[str]) -> int:
    """Import the subcommand that `words` begin with, and run it."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name = words[0]
    if name == "--version":
        from auberge import __version__

        print("auberge", __version__)
        return 0
    if name.startswith("-") or summary(name) is None:
        raise Refusal(f"{name}: no such command; see `auberge --help`")
    command = import_module(f"auberge.cli.{name}")
    parser = Parser(
        prog=f"auberge {name}",
        description=summary(name),
        formatter_class=plain_help,
        allow_abbrev=False,
    )
    command.arguments(parser)
    try:
        args = parser.parse_args(words[1:])
    except SystemExit as end:  # --help
        return int(end.code or 0)
    return int(command.run(args))


def subcommands() -> Iterator[str]:
    """The names of all subcommands, as the files say."""
    for file in sorted(os.listdir(os.path.dirname(__file__))):
        name = file.removesuffix(".py")
        if name != file and summary(name) is not None:
            yield name


def summary(name: str) -> str | None:
    """What the subcommand's first line says it does; None if there is no such subcommand."""
    prefix = f'"""`auberge {name}`: '
    try:
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), encoding="utf-8") as file:
            line = file.readline().strip()
    except OSError:
        return None
    return line.removeprefix(prefix).rstrip('."') if line.startswith(prefix) else None


def overview() -> str:
    """The help of `auberge` alone."""
    lines = ["usage: auberge COMMAND [ARGUMENT]...", ""]
    lines += [f"  {name:10} {summary(name)}" for name in subcommands()]
    return "\n".join([*lines, "", "`auberge COMMAND --help` says more; `auberge --version`."])


def open_standard_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr an empty one.

    Otherwise the next file that it opens would be taken for the stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # the lowest free descriptor is what open gives
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)


def discard_output() -> None:
    """Point stdout at nothing, so that Python does not complain at exit that nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
