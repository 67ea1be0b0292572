"""Programs in cgroups of this host, and what they saw there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import Layout, read_layout

ENTER = """
import os, sys
for path in sys.argv[1].split(","):
    with open(path, "w") as file:
        file.write("0")
"""


def fresh_cgroup(name: str) -> tuple[Layout, Cgroup]:
    """A cgroup for a test, made; skips the test where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("cgroups are root's here; run the tests as root")
    layout = read_layout()
    if layout.kind == "none":
        pytest.skip("no cgroups are mounted here")
    return layout, Cgroup(layout.place(None, f"auberge-test-{name}-{os.getpid()}")).create()


def at_the_end(cgroup: Cgroup) -> Iterator[Cgroup]:
    """For fixtures: give the cgroup, and remove it whatever happens."""
    try:
        yield cgroup
    finally:
        cgroup.delete()


def need(cgroup: Cgroup, controller: str, version: int) -> None:
    """Skip what this host has in the other version, or not at all."""
    node = cgroup.node(controller)
    if node is None or node.version != version:
        pytest.skip(f"this host has no {controller} in cgroup v{version}")


def start(cgroup: Cgroup, code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A Python in the cgroup: it has moved there itself, as a container's first process does."""
    files = cgroup.tasks + [n.file("cgroup.procs") for n in cgroup.nodes if n.version == 2]
    command = [sys.executable, "-c", ENTER + code, ",".join(files), *arguments]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(cgroup: Cgroup, code: str) -> tuple[int, str]:
    """Its exit status and what it printed."""
    process = start(cgroup, code)
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err
