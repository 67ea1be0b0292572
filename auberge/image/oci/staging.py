"""The process that installs packages into a directory and writes the directory as a layer.

`python -m auberge.image.oci.staging` in the directory, which has packages already; see Order. It
runs in namespaces of its own, and is root in them whoever runs it. What it prints is dpkg's
`status:` lines (dpkg(1), --status-fd), and at the end `done DIFF_ID` or `failed WHY`.
"""

import json
import os
import subprocess
import sys
from base64 import b64decode
from typing import NamedTuple

from auberge.image.oci import namespace
from auberge.image.oci.beneath import opened, remove_tree
from auberge.image.oci.changes import Walk, as_inside
from auberge.image.oci.layer import Owner
from auberge.image.oci.layer_writer import write_changes
from auberge.image.oci.limits import LIMITS
from auberge.image.oci.tar_reader import TarReader
from auberge.image.oci.unpack import Unpacker, parts_of
from auberge.refusal import Refusal

PACKAGES = ".packages"
"""Where the packages are, in what is to be the root; no package has something there."""

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
}

LEFT_OVER = (
    "usr/sbin/policy-rc.d",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
)
"""What installing leaves, and nobody wants."""


class Order(NamedTuple):
    """What to do, as JSON on standard input."""

    steps: list[list[str]]
    """Packages by the names of their files, in apt's order; the first step's are unpacked first."""
    files: dict[str, str]
    """What is to be there besides packages, in base64."""
    layer: int
    """A descriptor to write the layer to."""


def main() -> None:
    """Enter the namespaces, and do it in a child: it is the first of its pid namespace."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        namespace.enter()
        if uid:
            namespace.map_self(uid, gid)
        namespace.die_with_parent()
        print("entered", flush=True)
        # root's maps are written from outside; then there is an order
        order = Order(**json.loads(sys.stdin.readline()))
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))
        namespace.become_root(groups=not uid)
        print(f"done {stage(order, bool(uid))}", flush=True)
    except (Refusal, OSError) as error:
        print(f"failed {error}", flush=True)


def stage(order: Order, is_alone: bool) -> str:
    """Install, and write the layer; its diff_id. `is_alone` says that there is but one id."""
    first = order.steps[0]
    unpack_packages(first)
    everything = [name for step in order.steps for name in step]
    owners = owners_in(everything) if is_alone else {}
    for path in ("var/lib/dpkg/status", "var/lib/dpkg/available"):
        write(path, b"")
    write("usr/sbin/policy-rc.d", b"#!/bin/sh\nexit 101\n", 0o755)
    namespace.move_in()
    if is_alone:
        namespace.pretend_owners()
    for step in order.steps:
        install([f"/{PACKAGES}/{name}" for name in step])
    namespace.move_out()
    for path in (PACKAGES, *LEFT_OVER):
        remove_tree(f"/{path}")
    for path, text in order.files.items():
        write(f"/{path}", b64decode(text))
    # a computer of its own each time
    write("/etc/machine-id", b"")
    with open(order.layer, "wb") as file:
        return write_changes(file, as_inside(Walk("/", True), (), (), owners))


def unpack_packages(names: list[str]) -> None:
    """Unpack packages over one another into the working directory."""
    with opened(".", "packages") as tree:
        unpacker = Unpacker(tree, "packages", (), LIMITS)
        for name in names:
            with unpacked(name) as process:
                assert process.stdout is not None
                reader = TarReader(process.stdout, name)
                for entry in reader:
                    unpacker.add(entry, reader)
        unpacker.finish()


def owners_in(names: list[str]) -> dict[str, Owner]:
    """What in packages is not root's, by path."""
    found: dict[str, Owner] = {}
    for name in names:
        with unpacked(name) as process:
            assert process.stdout is not None
            for entry in TarReader(process.stdout, name):
                if (entry.uid, entry.gid) != (0, 0):
                    found["/".join(parts_of(entry.name, name))] = entry.uid, entry.gid
    return found


def unpacked(name: str) -> "subprocess.Popen[bytes]":
    """What is in a package, as an archive."""
    path = f"{PACKAGES}/{name}"
    return subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE)


def install(packages: list[str]) -> None:
    """Have the system's own dpkg install packages."""
    # a package may need another's scripts before it is unpacked, but nothing here was ever in use
    command = ["/usr/bin/dpkg", "--force-depends", "--force-unsafe-io", "--install", *packages]
    hears, tells = os.pipe()
    with (
        open(hears, "rb") as lines,
        # a descriptor of its own: dpkg closes it for the scripts that it runs
        subprocess.Popen(
            [command[0], "--status-fd", str(tells), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=tells,
            stderr=tells,
            pass_fds=(tells,),
            env=ENVIRONMENT,
        ) as process,
    ):
        os.close(tells)
        said = ""
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text.startswith("status:"):
                print(text, flush=True)
            elif text.startswith("dpkg: error"):
                said = said or text.removeprefix("dpkg: ").rstrip(":")
    if process.returncode:
        raise Refusal(f"dpkg: {said or 'failed without a word'}; try another mirror")


def write(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file, in directories that are made if need be."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


if __name__ == "__main__":
    main()
