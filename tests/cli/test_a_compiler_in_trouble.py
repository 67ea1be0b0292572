"""The compiler's process dies, hangs or talks nonsense while a guest runs: the guest goes on."""

import marshal
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.cli.homes import ROUNDS, Home, ended, hot, need_tiny, reported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
LINUX = ("tiny", "--append", "auberge.report", "--engine", "translator")


def compilers(process: "subprocess.Popen[str]") -> list[int]:
    """The processes that it started, of those that compile."""
    found = []
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        try:
            found += [int(pid) for pid in children.read_text().split()]
        except OSError:  # the thread has ended
            continue
    return [pid for pid in found if b"auberge.engine.compiler" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Trouble:
    """Sends a signal to each compiler of a guest, at random moments, until the guest has ended."""

    def __init__(self, process: "subprocess.Popen[str]", number: int, seed: int) -> None:
        self.process, self.number, self.r = process, number, random.Random(seed)
        self.sent: set[int] = set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        while not self.over.wait(0.02):
            for pid in compilers(self.process):
                if pid not in self.sent and not self.over.wait(self.r.random()):
                    os.kill(pid, self.number)
                    self.sent.add(pid)

    def __enter__(self) -> "Trouble":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_while_a_kernel_boots(tmp_path: Path, seed: int) -> None:
    need_tiny()
    home = Home(tmp_path / "home")
    process = home.start(*LINUX)
    with Trouble(process, signal.SIGKILL, seed) as trouble:
        reported(ended(process))
    assert trouble.sent
    reported(home.linux())  # what was written until then is good


def test_stopped_while_a_kernel_boots(tmp_path: Path) -> None:
    """It answers no more, and nobody waits for it; once it is continued, it ends."""
    need_tiny()
    process = Home(tmp_path / "home").start(*LINUX)
    with Trouble(process, signal.SIGSTOP, 1) as trouble:
        reported(ended(process))
    assert trouble.sent
    deadline = time.monotonic() + 100
    for pid in trouble.sent:
        if b"auberge.engine.compiler" in command(pid):
            os.kill(pid, signal.SIGCONT)
        while b"auberge.engine.compiler" in command(pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)


HANGS = """
from auberge.engine import compiler
compiler.TOO_LONG = 1
class Hangs:
    def compile(self, *order):
        while True:
            pass
compiler.serve(Hangs(), compiler.Deadline())
"""


def test_one_that_hangs_ends_by_itself() -> None:
    """Where the guest has ended, nobody is there to end it."""
    order = marshal.dumps((0, [], bytes(4096), 1))
    asked = len(order).to_bytes(4, "little") + order
    command = [sys.executable, "-c", HANGS]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


NONSENSE = {
    "nothing": "",
    "ends at once": "raise SystemExit(0)",
    "dies of a signal": "os.kill(os.getpid(), 11)",
    "text": "out.write(b'hello, world, this is not a message')",
    "too short": "out.write(b'\\4\\0\\0\\0hi')",
    "too long": "out.write(b'\\xff\\xff\\xff\\xff' + bytes(100))",
    "no pair": "out.write(len(m := marshal.dumps(7)).to_bytes(4, 'little') + m)",
    "no code": "out.write(len(m := marshal.dumps(('code', 'many'))).to_bytes(4, 'little') + m)",
    "twice": "m = marshal.dumps((b'', 0)); out.write(2 * (len(m).to_bytes(4, 'little') + m))",
    "no end": "[out.write(os.urandom(1 << 16)) for _ in iter(int, 1)]",
}
COMPILER = """
import marshal, os, sys
out = sys.stdout.buffer
while sys.stdin.buffer.read1():
    {}
    out.flush()
"""


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense(tmp_path: Path, what: str) -> None:
    """Another module of that name stands in its place."""
    home = Home(tmp_path / "home")
    instead = tmp_path / "instead.py"
    instead.write_text(COMPILER.format(NONSENSE[what] or "pass"))
    start = (
        "import sys; from auberge.engine import workshop; from auberge.cli.main import main\n"
        f"workshop.Workshop.__init__.__defaults__ = (({str(instead)!r},), 0.5)\n"
        "sys.exit(main())"
    )
    process = subprocess.run(
        [sys.executable, "-c", start, "boot", "--kernel", hot(tmp_path), "--engine", "translator"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"AUBERGE_CACHE_DIR": str(home.path)},
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "." * ROUNDS, "")
