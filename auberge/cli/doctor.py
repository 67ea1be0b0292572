"""`auberge doctor`: what this host offers, what each command will choose, and why."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from auberge.cli.boot import FIRST_START
from auberge.cli.main import one_line
from auberge.cli.patience import patience
from auberge.engine.choose import NAMES, choose
from auberge.image.apt import archives
from auberge.image.oci import mapped
from auberge.image.sources import debian_sources, host_sources, read_os_release
from auberge.image.store import cache_directory, images
from auberge.image.subordinate import user_name
from auberge.machine import offers
from auberge.machine.net.user import find_carrier
from auberge.machine.offers import Fact
from auberge.refusal import Refusal, reason

PROGRAMS = (
    ("apt-get", "--version"),
    ("dpkg-deb", "--version"),
    ("gpgv", "--version"),
    ("passt", "--version"),
    ("slirp4netns", "--version"),
    ("mke2fs", "-V"),
)


class Choice(NamedTuple):
    """What a command does here when it is not told: `chosen` is None if it cannot do it."""

    command: str
    chosen: str | None
    why: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how to say it."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Look, and say; that something is missing is an answer, not a failure."""
    facts = [*system(), *possibilities(), *(offers.program(*words) for words in PROGRAMS), apt()]
    with patience(FIRST_START):
        choices = [chosen() for chosen in CHOICES]
    if args.json:
        print(
            json.dumps(
                {
                    "facts": {name: {"works": works, "what": what} for name, works, what in facts},
                    "choices": {
                        command: {"chosen": chosen, "why": why} for command, chosen, why in choices
                    },
                },
                indent=2,
            )
        )
        return 0
    print("what this host offers")
    for name, works, what in facts:
        print(f"  {'yes' if works else 'no':4}{name:20}{one_line(what)}")
    print("what will be chosen")
    for command, chosen, why in choices:
        print(f"  {command:24}{one_line(chosen or 'nothing')}")
        print(f"  {'':24}{one_line(why)}")
    return 0


# -- what there is ------------------------------------------------------------------------------


def system() -> list[Fact]:
    """What everything else stands on."""
    kernel = os.uname()
    release = read_os_release().get("PRETTY_NAME", "an unknown distribution")
    try:
        llvm = Fact("llvmlite", True, version("llvmlite"))
    except PackageNotFoundError:
        llvm = Fact("llvmlite", False, "not installed; only the engine `reference` works without")
    return [
        Fact("host", True, f"{kernel.machine}, Linux {kernel.release}, {release}"),
        Fact("user", True, f"{user_name(os.getuid())} ({os.getuid()})"),
        Fact("python", True, f"{platform.python_version()}, {sys.executable or 'nowhere'}"),
        llvm,
        offers.cores(),
        offers.memory(),
        offers.cache_folder(cache_directory()),
        offers.runtime_folder(),
    ]


def possibilities() -> list[Fact]:
    """What the kernel allows this user."""
    return [
        offers.generated_code(),
        offers.kvm(),
        offers.user_namespaces(),
        offers.subordinate_ids(),
        offers.cgroups(),
        offers.ping_sockets(),
    ]


def apt() -> Fact:
    """Debian's archive among the sources of the host's apt."""
    try:
        found = debian_sources(host_sources(), read_os_release())
    except OSError as error:
        return Fact("apt sources", False, f"apt-config: {reason(error)}")
    named = ", ".join(f"{source.uri} ({' '.join(source.suites)})" for source in found)
    return Fact("apt sources", bool(found), named or "no Debian archive among them")


# -- what will be chosen ------------------------------------------------------------------------


def engine() -> Choice:
    """As `boot --engine auto`; what it takes is made now, if it never was."""
    command = "boot --engine"
    try:
        kind = choose("auto")
    except Refusal as refusal:
        return Choice(command, None, str(refusal))
    except OSError as error:
        return Choice(command, None, reason(error))
    return Choice(
        command,
        kind.name,
        f"it works, and is what auto means here, of {', '.join(NAMES[1:])}; kvm would run guests"
        f" of {os.uname().machine} only, and these are riscv64",
    )


def network() -> Choice:
    """As `boot --net user`."""
    carrier, why, process = find_carrier("auto")
    if process is not None:
        process.close()
    return Choice("boot --net", f"user,{carrier}", why)


def image() -> Choice:
    """As `image build` without `--mirror`."""
    try:
        named = ", ".join(archive.uri for archive in archives(None, None))
    except Refusal as refusal:
        return Choice("image build", None, str(refusal))
    except OSError as error:
        return Choice("image build", None, reason(error))
    why = "this host's apt names it; whether it has riscv64 is asked when an image is built"
    return Choice("image build", named, why)


def guests() -> Choice:
    """The images that `boot` finds."""
    try:
        names = ", ".join(f"{image.name}:{image.arch}" for image in images())
    except OSError as error:
        return Choice("boot IMAGE", None, reason(error))
    return Choice("boot IMAGE", names or None, "built" if names else "`auberge image build tiny`")


def container_users() -> Choice:
    """The ids that are in containers of `run`."""
    command = "run -u"
    try:
        ids, why = mapped.current(), mapped.alone()
    except OSError as error:
        return Choice(command, None, reason(error))
    if ids is not None:
        users, groups = ids.last
        return Choice(command, f"root and {users} more", f"with {groups} more groups, by newuidmap")
    if why:
        return Choice(command, "one user", why)
    return Choice(command, "everybody", "root has all ids")


CHOICES: tuple[Callable[[], Choice], ...] = (engine, network, guests, image, container_users)
