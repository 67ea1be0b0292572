"""Bundles that tests make, and the runtimes that run them: ours, and runc as the reference."""

import copy
import itertools
import json
import os
import shutil
import subprocess
import sys

import pytest

from auberge.cli.oci_about import template
from tests.busybox import make_root
from tests.house.source import ROOT as SOURCE

OURS = (sys.executable, "-m", "auberge.cli.oci")
# crun 1.8 refuses a host that has controllers in cgroups of both versions: it sees one of them
WITHOUT_BOTH = (
    "unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh",
)  # fmt: skip
LEAK = 'for n in $(seq 5 70); do eval "exec $n</"; done; exec "$@"'
NUMBERS = itertools.count()
ROOT = os.geteuid() == 0
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT"]


def command_of(runtime):
    """The words that a runtime's command line begins with; the test is skipped without it."""
    if runtime == "ours":
        return OURS
    found = shutil.which(runtime, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip(f"no {runtime} here; apt install {runtime}")
    return (*WITHOUT_BOTH, found) if runtime == "crun" else (found,)


def make_launcher(folder):
    """An executable that is our runtime, for engines that take a path and no words."""
    path = folder / "auberge-oci"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(SOURCE)!r})\n"
        "from auberge.cli.oci import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    return path


class Bundle:
    """A bundle with busybox, that may be changed and run."""

    def __init__(self, path):
        self.path = path
        self.state = path / "state"
        self.root = make_root(path / "rootfs")
        self.config = copy.deepcopy(template(rootless=False))
        self.config["ociVersion"] = "1.0.2"
        self.process = self.config["process"]
        self.linux = self.config["linux"]
        self.process["terminal"] = False
        self.name = f"auberge-test-{os.getpid()}-{next(NUMBERS)}"

    def namespace(self, kind):
        """The entry of a namespace."""
        return next(space for space in self.linux["namespaces"] if space["type"] == kind)

    def write(self):
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config))

    def command(self, runtime, *words):
        """A command line of a runtime."""
        return [*command_of(runtime), "--root", str(self.state), *words]

    def call(self, runtime, *words, **more):
        """Run a command of a runtime, to its end."""
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.command(runtime, *words), capture_output=True, text=True, timeout=60, **more
        )

    def call_leaking(self, *words):
        """Run a command of ours from a program that has left the host's root open, for all to
        inherit; its status and what it wrote."""
        self.write()
        done = subprocess.run(
            ["/bin/bash", "-c", LEAK, "-", *self.command("ours", *words)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def run(self, runtime, script=None, *options, **more):
        """Run the container to its end: a script of the shell's, or what the config says."""
        if script is not None:
            self.process["args"] = ["/bin/sh", "-c", script]
        self.write()
        words = ("run", "--bundle", str(self.path), *options, self.name)
        return self.call(runtime, *words, **more)

    def said(self, runtime, script, *options):
        """What the script has written, whose status must be 0."""
        done = self.run(runtime, script, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self, runtime, script, **more):
        """Create it; its output is a file."""
        self.process["args"] = ["/bin/sh", "-c", script]
        self.write()
        with open(self.path / "output", "wb") as output:
            return subprocess.run(
                self.command(runtime, "create", "--bundle", str(self.path), self.name),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=60,
                **more,
            )  # fmt: skip

    def status(self, runtime):
        """What `state` says."""
        done = self.call(runtime, "state", self.name)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["status"]

    def remove(self, runtime):
        """Delete it, whatever it does."""
        self.call(runtime, "delete", "--force", self.name)
