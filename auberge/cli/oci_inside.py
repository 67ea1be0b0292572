"""The commands of `auberge-oci` about processes in a container: exec and ps."""

import os
import subprocess

from auberge.cli.oci import Words
from auberge.cli.oci_life import Console, listening, write_pid
from auberge.container.clauses import LARGEST_ID, capability
from auberge.container.config import Capabilities, Config, Process, User
from auberge.container.config_file import parse
from auberge.container.inside import Entry, enter
from auberge.container.runtime import Container
from auberge.refusal import Refusal, reason


def run(name: str, words: Words, root: str) -> int:
    """Carry out one of them."""
    container = Container(root, words.rest[0])
    return _ps(container, words) if name == "ps" else _exec(container, words)


def _exec(container: Container, words: Words) -> int:
    container.record()  # that it exists is the first thing to say
    process = process_of(container.config(), words)
    detach = words.flag("detach")
    with Console(process.terminal, words.value("console-socket"), detach) as console:
        how = Entry(
            kept=words.number("preserve-fds") + listening(),
            console=console.socket,
            ignore_paused=words.flag("ignore-paused"),
            cgroups=words.all("cgroup"),
        )
        child = enter(container, process, how)
        try:
            write_pid(words.value("pid-file"), child.pid)
        except OSError:
            child.kill()
            raise
        child.close()
        return 0 if detach else console.follow(child.pid)


def process_of(config: Config, words: Words) -> Process:
    """The process that the options ask for: a process.json, or the container's own, changed."""
    path = words.value("process")
    if path:
        try:
            with open(path, "rb") as file:
                return parse(file.read(), Process, os.path.basename(path))
        except OSError as error:
            raise Refusal(f"{path}: {reason(error)}; give a process.json") from None
    base = config.process or Process("/", ("/bin/sh",))
    process = base._replace(
        args=tuple(words.rest[1:]),
        terminal=words.flag("tty"),
        env=(*base.env, *words.all("env")),
        cwd=words.value("cwd") or base.cwd,
        apparmor_profile=words.value("apparmor") or base.apparmor_profile,
        selinux_label=words.value("process-label") or base.selinux_label,
        no_new_privileges=words.flag("no-new-privs") or base.no_new_privileges,
        oom_score_adj=base.oom_score_adj,
    )
    if words.value("user"):
        process = process._replace(user=_user(words.value("user"), base.user))
    groups = tuple([_id("additional-gids", text) for text in words.all("additional-gids")])
    if groups:
        process = process._replace(user=process.user._replace(additional_gids=groups))
    if words.all("cap"):
        process = process._replace(
            capabilities=_with(process.capabilities or Capabilities(), words.all("cap"))
        )
    return process


def _user(text: str, base: User) -> User:
    uid, _, gid = text.partition(":")
    return base._replace(uid=_id("user", uid), gid=_id("user", gid) if gid else base.gid)


def _id(option: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= LARGEST_ID:
        return int(text)
    raise Refusal(f"--{option}: {text!r} is no id; write a number up to {LARGEST_ID}")


def _with(c: Capabilities, names: list[str]) -> Capabilities:
    for name in names:
        if complaint := capability(name):
            raise Refusal(f"--cap: {complaint}")
    more = tuple(names)
    return c._replace(
        bounding=c.bounding + more, effective=c.effective + more, permitted=c.permitted + more
    )


def _ps(container: Container, words: Words) -> int:
    pids = container.cgroup(container.record()).processes()
    if words.value("format", "table") == "json":
        print("[" + ",".join(map(str, pids)) + "]")
        return 0
    done = subprocess.run(
        ["ps", *(words.rest[1:] or ["-ef"])], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise Refusal(f"ps: {done.stderr.strip() or 'it said nothing'}; see ps(1)")
    titles = lines[0].split()
    if "PID" not in titles:
        raise Refusal("ps: its output has no column PID; ask for one")
    column, wanted = titles.index("PID"), {str(pid) for pid in pids}
    print(lines[0])
    for line in lines[1:]:
        fields = line.split()
        if len(fields) > column and fields[column] in wanted:
            print(line)
    return 0
