"""A home for guests of tests: a cache with the image `box`, and a runtime folder of its own."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from auberge.monitor import guests
from tests.box import fill
from tests.cgroup_folders import cgroup_folders
from tests.command import AUBERGE
from tests.until import until

PATIENCE = 60


class Inn:
    """Runs `auberge`; what is left of guests is removed in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.guests = path / "cache/guests"
        self.environment = os.environ | {
            "AUBERGE_CACHE_DIR": str(path / "cache"),
            "XDG_RUNTIME_DIR": str(path / "run"),
        }
        (path / "run").mkdir(mode=0o700)
        fill(path / "cache", StopSignal="SIGTERM")

    def start(self, *words: object, **options: object) -> "subprocess.Popen[bytes]":
        """Begin a command."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*AUBERGE, *map(str, words)], env=self.environment, **{**pipes, **options}
        )

    def __call__(self, *words: object, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [*AUBERGE, *map(str, words)], env=self.environment, text=True, check=False,
            capture_output=True, timeout=PATIENCE, **{"stdin": subprocess.DEVNULL, **options},
        )  # fmt: skip

    def does(self, *words: object, **options: object) -> str:
        """Run a command that goes well; what it prints."""
        done = self(*words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refuses(self, *words: object) -> str:
        """Run a command that refuses; why."""
        done = self(*words)
        assert done.returncode == 125 and done.stderr.startswith("auberge: "), done
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("auberge: ").rstrip("\n")

    def runs(self, name: str, script: str, *words: object) -> str:
        """Start a guest that nobody waits for; its name."""
        return self.does(
            "run", "-d", "--net", "none", "--name", name, *words, "box", "sh", "-c", script
        ).strip()

    def seen(self, name: str) -> dict[str, object]:
        """What `ps` says of a guest."""
        (found,) = json.loads(self.does("ps", "--all", "--json", "--filter", f"name={name}"))
        return found

    def names(self) -> list[str]:
        return [each["name"] for each in json.loads(self.does("ps", "--all", "--json"))]

    def until(self, name: str, text: str) -> None:
        """Wait until a guest has written that."""
        until(lambda: text in self.does("logs", name), PATIENCE)

    def record(self, name: str) -> guests.Record:
        """A guest's record, as it is in its file."""
        return guests.Folder(str(self.guests / name)).load()

    def close(self) -> None:
        """Remove all guests, whatever became of them."""
        for name in self.names():
            self("rm", "-f", name)

    def left(self, guest: str) -> list[str]:
        """What there is on the host of the guest of that id."""
        found = [str(path) for path in self.guests.glob("*")] if self.guests.is_dir() else []
        found += [str(path) for path in (self.path / "cache/oci/users").glob("*")]
        found += [str(path) for path in (self.path / "run/auberge").glob("*.keeper")]
        found += [folder for folder in cgroup_folders() if guest in os.path.basename(folder)]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [line for line in mounts if guest in line]
        return found


def kill(pid: int) -> None:
    """As the host does when it is out of memory."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def gone(process: guests.Process) -> None:
    """Wait until a process has ended."""
    until(lambda: not process.lives, PATIENCE)


@pytest.fixture(scope="module")
def inn(tmp_path_factory):
    """For the tests of a file; each uses names of its own, and leaves none of them."""
    if os.geteuid() != 0:
        pytest.skip("only root can have all of a container")
    made = Inn(tmp_path_factory.mktemp("inn"))
    yield made
    left = made.names()
    made.close()
    assert not left, f"guests that a test has left: {left}"
