"""The process that compiles regions, as its customer sees it: requests in, code out, no waiting.

It may fail, crash or hang on any request: that loses the region, never the guest.
"""

from __future__ import annotations

import atexit
import marshal
import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from auberge.engine.region_record import PAGE, Region

if TYPE_CHECKING:
    import subprocess

SIZE = 4  # bytes of a message's length
LARGEST = 1 << 20  # bytes of a message
AT_ONCE = 2  # requests that it has at a time: more would not be done sooner
# For Python; nothing is imported from the folder that the user stands in.
COMMAND = ("-P", "-m", "auberge.engine.compiler", "regions")
PATIENCE = 30.0  # seconds for one region, before the process is given up
STARTS = 5  # how often it is begun anew, before nobody asks any more
QUICK, WELL = 1, 2  # levels: compiled soon, or into better code


class Order(NamedTuple):
    """A region to be compiled: from `entry` in a page of code, which its digest stands for."""

    digest: bytes
    entry: int


class Made(NamedTuple):
    """What became of an order: a region; its code is empty, if there is none.

    Its `neighbours` are entries of the page that are as hot, if they are executed at all.
    """

    digest: bytes
    region: Region


class Left(NamedTuple):
    """What is still to be compiled when we end: into this file, unless it has it."""

    path: str
    pages: dict[bytes, bytes]  # by their digests
    orders: list[tuple[bytes, int, list[int]]]  # digest, entry, others


def nothing_left() -> Left | None:
    """Nothing is to be compiled when we end."""
    return None


def answer_to(order: Order, level: int, body: bytes) -> Region:
    """What the process has made of an order; raises ValueError if this is no answer to it."""
    try:
        digest, entry, made_at, code, count, neighbours = marshal.loads(body)
    except (EOFError, TypeError) as error:
        raise ValueError("no answer") from error
    if (digest, entry, made_at) != (*order, level):
        raise ValueError("an answer to another order")
    if type(code) is not bytes or type(count) is not int or not 0 <= count < PAGE:
        raise ValueError("no region")
    if type(neighbours) is not list:
        raise ValueError("no neighbours")
    near = tuple(n for n in neighbours if type(n) is int and n in range(0, PAGE, 2))
    return Region(order.entry, count, code, level, near)


class Workshop:
    """Starts the process when it is first asked, and again when it has ended.

    What `left` says at the end of our process is left to it, in a file that it looks into when
    there is nothing more to read: who is killed leaves nothing.
    """

    def __init__(self, command: tuple[str, ...] = COMMAND, patience: float = PATIENCE) -> None:
        self.command, self.patience = command, patience
        self.left: Callable[[], Left | None] = nothing_left
        self._will = -1  # the file that what is left goes into
        self._owner = 0  # who has begun the process: a forked child has its pipes too
        self._dropped: list[Order] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.open: list[tuple[Order, int]] = []
        self.since = 0.0
        self.starts = self.lost = 0
        self.wall = self.cpu = 0.0  # seconds: with an order open; of processes that have ended
        self._in = b""

    @property
    def is_free(self) -> bool:
        """Whether another order may be placed now."""
        return len(self.open) < AT_ONCE and not self.is_given_up

    @property
    def is_given_up(self) -> bool:
        """Whether it has failed so often that nobody asks any more."""
        return self.starts > STARTS

    def take_dropped(self) -> list[Order]:
        """Those that were placed in vain, and may be placed again."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def order(self, order: Order, others: Collection[int], page: bytes, level: int = QUICK) -> None:
        """Ask for a region, which is to end where one of the `others` of its page begins."""
        self._disown()
        if self.process is None and not self._begin():
            self._dropped.append(order)
            return
        assert self.process is not None and self.process.stdin is not None
        body = marshal.dumps((order.entry, list(others), page, level))
        if not self.open:
            self.since = time.monotonic()
        self.open.append((order, level))
        try:
            self.process.stdin.write(len(body).to_bytes(SIZE, "little") + body)
            self.process.stdin.flush()
        except OSError:
            self._give_up()

    def _begin(self) -> bool:
        import subprocess  # not on the way of those who find all in the cache

        self.starts += 1
        if self.starts > STARTS:
            return False
        try:
            self._will = os.memfd_create("auberge-left", os.MFD_CLOEXEC)
            self.process = subprocess.Popen(
                [sys.executable, *self.command, str(self._will)],
                pass_fds=(self._will,),
                cwd="/",  # it may outlive us, and keeps no mount busy
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
                },
                start_new_session=True,
            )
        except OSError:
            self._close_will()
            return False
        self._owner = os.getpid()
        atexit.register(self.end)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._in = b""
        return True

    def done(self, wait: bool = False) -> list[Made]:
        """What has been compiled since."""
        self._disown()
        ready: list[Made] = []
        while self.open and self.process is not None:
            if not self._receive(wait):
                break
            while len(self._in) >= SIZE:
                size = int.from_bytes(self._in[:SIZE], "little")
                if size > LARGEST or not self.open:  # nobody asked for this
                    self._give_up()
                    return ready
                if len(self._in) < SIZE + size:
                    break
                try:
                    order, level = self.open[0]
                    region = answer_to(order, level, self._in[SIZE : SIZE + size])
                except ValueError:
                    self._give_up()
                    return ready
                self._in = self._in[SIZE + size :]
                del self.open[0]
                ready.append(Made(order.digest, region))
                self._done_one()
        return ready

    def _receive(self, wait: bool) -> bool:
        """Take what is there; whether there was something."""
        assert self.process is not None and self.process.stdout is not None
        fd = self.process.stdout.fileno()
        if wait:
            import select

            select.select([fd], [], [], self.patience)
        try:
            data = os.read(fd, 1 << 20)
        except BlockingIOError:
            if time.monotonic() - self.since >= self.patience:
                self._give_up()
            return False
        if not data:
            self._give_up()
            return False
        self._in += data
        return True

    def _done_one(self) -> None:
        now = time.monotonic()
        self.wall += now - self.since
        self.since = now

    def cpu_seconds(self) -> float:
        """What compiling has cost so far, of all processes there were."""
        process = self.process  # whoever asks, another thread may end it
        return self.cpu + (0.0 if process is None else cpu_seconds(process.pid))

    def _give_up(self) -> None:
        """End the process; the order it was at is lost, the others may be placed again."""
        if self.open:
            self.lost += 1
            self._done_one()
        self._dropped += [order for order, _ in self.open[1:]]
        self.open.clear()
        self.close()

    def end(self) -> None:
        """At the end of ours: leave it what is left to be done, or end it too."""
        self._disown()
        left = self.left() if self.process is not None else None
        process = self.process
        if left is None or process is None:
            self.close()
            return
        if is_stopped(process.pid):  # it would stay as it is, and nobody else ends it
            self.close()
            return
        self.process, self.starts = None, STARTS + 1  # nobody asks any more
        self.open.clear()
        with suppress(OSError), open(self._will, "wb", closefd=False) as file:
            marshal.dump(tuple(left), file)
        self._close_will()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.returncode = 0  # it goes on without us: nothing to warn of

    def _disown(self) -> None:
        """In a forked child: the process is our parent's, and so is what it answers."""
        if self.process is not None and self._owner != os.getpid():
            atexit.unregister(self.end)
            self.process.returncode = 0
            self.process, self._in = None, b""
            self.open.clear()
            self._close_will()  # our own number of it

    def _close_will(self) -> None:
        will, self._will = self._will, -1
        if will >= 0:
            os.close(will)

    def close(self) -> None:
        """End the process."""
        self._disown()
        self._close_will()
        process, self.process = self.process, None
        if process is None:
            return
        atexit.unregister(self.end)
        self.cpu += cpu_seconds(process.pid)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):  # what it holds was for a process that is gone
                    stream.close()


def cpu_seconds(pid: int) -> float:
    """The time that a process of ours has computed: utime and stime of proc_pid_stat(5)."""
    fields = _status(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it, or a tracer."""
    return _status(pid)[:1] in ([b"T"], [b"t"])


def _status(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) from its state on; none, if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []
