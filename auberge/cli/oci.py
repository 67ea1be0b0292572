"""`auberge-oci`: an OCI runtime with the command line of runc(8).

Its own front door, for it must start in milliseconds: nothing is imported but what the command
needs. runc's conventions hold, not ours, where they differ: a failure is status 1.
"""

from __future__ import annotations

import gc
import os
import sys

from auberge.container.light import TYPE_CHECKING, Callable, NamedTuple, Sequence
from auberge.container.stopwatch import lines, mark
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from typing import NoReturn

FAILED = 1  # as runc
ROOT = "/run/auberge-oci"


class Words(NamedTuple):
    """A command line, taken apart: options by their long names, and the rest."""

    options: dict[str, list[str]]
    rest: list[str]

    def flag(self, name: str) -> bool:
        """Whether the option was given, and not as `--name=false`."""
        return self.options.get(name, ["false"])[-1] != "false"

    def value(self, name: str, otherwise: str = "") -> str:
        """The value that was given last."""
        return self.options.get(name, [otherwise])[-1]

    def number(self, name: str) -> int:
        """The value as a whole number; raises Refusal."""
        text = self.value(name, "0")
        try:
            return int(text)
        except ValueError:
            raise Refusal(f"--{name}: {text!r} is no number; write digits") from None

    def all(self, name: str) -> list[str]:
        """All values, in order."""
        return self.options.get(name, [])


class Command(NamedTuple):
    """One command: which options are flags, which take a value, and where its code is."""

    about: str
    module: str
    flags: str = ""
    values: str = ""
    rest: str = "CONTAINER"
    stops: bool = False  # whether what follows the container is another's command line


START = "no-pivot no-new-keyring"
FROM = "bundle,b console-socket pid-file preserve-fds"
COMMANDS = {
    "create": Command("create a container", "oci_life", START, FROM),
    "run": Command("create and start a container", "oci_life", f"{START} detach,d keep", FROM),
    "start": Command("run the program of a created container", "oci_life"),
    "state": Command("print the state of a container", "oci_life"),
    "kill": Command("send a signal (SIGTERM)", "oci_life", "all,a", "", "CONTAINER [SIGNAL]"),
    "delete": Command("remove what a container has left", "oci_life", "force,f"),
    "list": Command("list containers", "oci_life", "quiet,q", "format,f", ""),
    "pause": Command("suspend all processes", "oci_life"),
    "resume": Command("resume all processes", "oci_life"),
    "exec": Command(
        "run one more process in a container", "oci_inside",
        "tty,t detach,d no-new-privs ignore-paused",
        "console-socket cwd env,e user,u additional-gids,g process,p pid-file process-label "
        "apparmor cap,c preserve-fds cgroup",
        "CONTAINER COMMAND [ARGUMENT]...", True,
    ),
    "ps": Command(
        "list the processes of a container", "oci_inside", "", "format,f",
        "CONTAINER [PS-OPTION]...", True,
    ),
    "update": Command(
        "change the limits of a container", "oci_limits", "",
        "resources,r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period "
        "cpu-rt-runtime cpuset-cpus cpuset-mems cpu-idle memory memory-reservation memory-swap "
        "kernel-memory kernel-memory-tcp pids-limit l3-cache-schema mem-bw-schema",
    ),
    "events": Command("print statistics, and lack of memory", "oci_limits", "stats", "interval"),
    "spec": Command("write a config.json to begin with", "oci_about", "rootless", "bundle,b", ""),
    "features": Command("print what this runtime can do", "oci_about", "", "", ""),
}  # fmt: skip
GLOBAL_FLAGS = "debug systemd-cgroup version,v help,h stats"
GLOBAL_VALUES = "root log log-format rootless criu"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line of runc's; without `argv` our process's own, which ends with it."""
    if argv is None:
        _leave(_main(sys.argv[1:], alone=True))
    return _main(argv)


def _leave(status: int) -> NoReturn:
    """End this process at once: tidying an interpreter up takes more than a millisecond."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # whoever should read it has gone
            status = status or FAILED
    os._exit(status)


def _main(argv: Sequence[str], alone: bool = False) -> int:
    words = list(argv)
    log = Log("", "text")
    mark("start")
    if alone:  # a process of our own: no garbage in some milliseconds, but a lot to look at
        gc.disable()
    try:
        common, words = parse(words, GLOBAL_FLAGS, GLOBAL_VALUES, stops=True)
        log = Log(common.value("log"), common.value("log-format", "text"))
        return _dispatch(common, words)
    except Refusal as refusal:
        complaint = str(refusal)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complaint = where + reason(error)
    log.error(complaint)
    return FAILED


def _dispatch(common: Words, words: list[str]) -> int:
    if common.flag("version"):
        from auberge import __version__

        print(f"auberge-oci version {__version__}\nspec: 1.1.0")
        return 0
    if not words or common.flag("help") or words[0] in ("help", "h"):
        print(overview())
        return 0
    name = words[0]
    command = COMMANDS.get(name)
    if command is None:
        raise Refusal(f"{name}: no such command; see `auberge-oci --help`")
    given, rest = parse(words[1:], command.flags + " help,h", command.values, command.stops)
    if given.flag("help"):
        print(usage(name, command))
        return 0
    given = Words(given.options, rest)
    if common.flag("systemd-cgroup"):  # what others than create and run need of it is recorded
        given.options["systemd-cgroup"] = ["true"]
    wanted = [w for w in command.rest.split() if not w.startswith("[")]
    if len(rest) < len(wanted) and not (name == "exec" and given.value("process") and rest):
        raise Refusal(f"{name}: no {wanted[len(rest)]}; see `auberge-oci {name} --help`")
    mark("command line")
    run = _run_of(command.module)
    mark("imports")
    status = run(name, given, root_of(common))
    mark("the rest")
    if common.flag("stats"):
        print("\n".join(lines()), file=sys.stderr)
    return status


def _run_of(module: str) -> Callable[[str, Words, str], int]:
    """The rooms of commands, each imported only for its own."""
    if module == "oci_life":
        from auberge.cli.oci_life import run
    elif module == "oci_inside":
        from auberge.cli.oci_inside import run
    elif module == "oci_limits":
        from auberge.cli.oci_limits import run
    else:
        from auberge.cli.oci_about import run
    return run


def root_of(common: Words) -> str:
    """Where the folders of containers are."""
    if common.value("root"):
        return os.path.abspath(common.value("root"))
    if os.geteuid() == 0:
        return ROOT
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:  # a name in /tmp could be another user's
        raise Refusal("XDG_RUNTIME_DIR: not set; set it, or name a folder of yours with --root")
    return os.path.join(runtime, "auberge-oci")


def parse(words: list[str], flags: str, values: str, stops: bool) -> tuple[Words, list[str]]:
    """Options and the rest; as runc's, options may follow what is no option unless it `stops`."""
    long_names, takes = _names(flags, values)
    options: dict[str, list[str]] = {}
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return Words(options, rest), rest + words[at:]
        if not word.startswith("-") or word == "-":
            if stops:
                return Words(options, rest), words[at - 1 :]
            rest.append(word)
            continue
        key, equals, value = word.lstrip("-").partition("=")
        name = long_names.get(key)
        if name is None:
            raise Refusal(f"{word}: no such option; see `auberge-oci --help`")
        if name in takes and not equals:
            if at == len(words):
                raise Refusal(f"{word}: no value; give one")
            value = words[at]
            at += 1
        options.setdefault(name, []).append(value if name in takes or equals else "true")
    return Words(options, rest), rest


def _names(flags: str, values: str) -> tuple[dict[str, str], set[str]]:
    found: dict[str, str] = {}
    takes = set()
    for words, has_value in ((flags, False), (values, True)):
        for word in words.split():
            name, _, short = word.partition(",")
            found[name] = name
            if short:
                found[short] = name
            if has_value:
                takes.add(name)
    return found, takes


def overview() -> str:
    """The help of `auberge-oci` alone."""
    text = ["usage: auberge-oci [OPTION]... COMMAND [ARGUMENT]...", ""]
    text += [f"  {name:10} {command.about}" for name, command in COMMANDS.items()]
    text += ["", "  --root FOLDER      where containers are recorded"]
    text += ["  --log FILE         where errors go, too", "  --log-format text|json"]
    text += ["  --systemd-cgroup   have systemd make the cgroup (create, run)"]
    text += ["  --stats            print where the time goes, to standard error"]
    return "\n".join([*text, "", "`auberge-oci COMMAND --help` says more."])


def usage(name: str, command: Command) -> str:
    """The help of one command."""
    text = [f"usage: auberge-oci {name} [OPTION]... {command.rest}".rstrip(), ""]
    text += [command.about, ""]
    for words, has_value in ((command.flags, False), (command.values, True)):
        for word in words.split():
            long, _, short = word.partition(",")
            text.append(
                f"  --{long}" + (f", -{short}" if short else "") + (" VALUE" if has_value else "")
            )
    return "\n".join(text).rstrip()


class Log(NamedTuple):
    """Where errors go beside standard error: what calls a runtime reads them there."""

    path: str
    format: str

    def error(self, text: str) -> None:
        """One line, on standard error and in the log."""
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        print(f"auberge-oci: {line}", file=sys.stderr)
        if not self.path:
            return
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.format == "json":
            import json

            entry = json.dumps({"level": "error", "msg": line, "time": now})
        else:
            entry = f'time="{now}" level=error msg="{line}"'
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(entry + "\n")
        except OSError as error:
            print(f"auberge-oci: {self.path}: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
