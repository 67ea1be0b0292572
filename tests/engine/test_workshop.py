"""The compiler's process may fail, crash, hang or lie: an order is lost, and nobody waits."""

import gc
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from auberge.engine.region_file import RegionFile
from auberge.engine.region_record import Region, digest_of
from auberge.engine.workshop import STARTS, Left, Made, Order, Workshop, cpu_seconds, is_stopped

NOP = bytes.fromhex("13000000")
PAGE = (NOP * 10).ljust(4096, b"\0")


DIGEST = digest_of(PAGE)


def order(n: int) -> Order:
    return Order(DIGEST, n)


def script(text: str) -> tuple[str, ...]:
    """A process that reads an order, as the real one does, and then does something else."""
    read = "import os,sys,time\nwhile sys.stdin.buffer.read(4):\n sys.stdin.buffer.read1()\n "
    return "-c", read + text


@pytest.mark.slow
def test_orders_are_done_in_turn() -> None:
    workshop = Workshop()
    workshop.order(order(0), (), PAGE)
    workshop.order(order(8), (), PAGE)
    assert not workshop.is_free
    done = []
    while len(done) < 2:
        done += workshop.done(wait=True)
    assert [(each.region.entry, each.region.instructions) for each in done] == [(0, 10), (8, 8)]
    assert all(each.region.code for each in done)
    assert workshop.is_free
    workshop.close()


@pytest.mark.slow
def test_what_is_no_code_gives_none() -> None:
    workshop = Workshop()
    empty = bytes(4096)
    workshop.order(Order(digest_of(empty), 0), (), empty)
    assert workshop.done(wait=True) == [Made(digest_of(empty), Region(0, 0, b""))]
    workshop.close()


def test_a_crash_loses_the_order_and_the_next_begins_anew() -> None:
    workshop = Workshop(script("os._exit(1)"))
    for n in range(STARTS):
        assert workshop.is_free
        workshop.order(order(n), (), PAGE)
        assert workshop.done(wait=True) == []
        assert workshop.open == []
        assert workshop.lost == n + 1
    workshop.order(order(9), (), PAGE)  # nobody asks any more
    assert not workshop.is_free
    assert workshop.process is None


def test_a_process_killed_between_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    workshop = Workshop(script("pass"))
    workshop.order(order(0), (), PAGE)
    assert workshop.process is not None
    os.kill(workshop.process.pid, signal.SIGKILL)
    workshop.process.wait()
    workshop.order(order(2), (), PAGE)
    assert workshop.done(wait=True) == []
    assert workshop.open == []


def test_one_that_hangs_is_given_up() -> None:
    workshop = Workshop(script("time.sleep(1000)"), patience=0.05)
    workshop.order(order(0), (), PAGE)
    process = workshop.process
    assert process is not None
    deadline = time.monotonic() + 10
    while workshop.open and time.monotonic() < deadline:
        assert workshop.done(wait=True) == []
    assert (workshop.open, workshop.lost) == ([], 1)
    assert process.returncode == -signal.SIGKILL


NONSENSE = {
    "no message": "b'\\x08\\0\\0\\0nonsense'",
    "too large": "b'\\xff\\xff\\xff\\x7f' + bytes(1 << 16)",
    "no code": f"message(({DIGEST}, 0, 1, 'code', 1, []))",
    "no number": f"message(({DIGEST}, 0, 1, b'code', 'many', []))",
    "more than a page": f"message(({DIGEST}, 0, 1, b'code', 4096, []))",
    "no neighbours": f"message(({DIGEST}, 0, 1, b'code', 1, 7))",
    "too little": f"message(({DIGEST}, 0, 1))",
    "no tuple": "message(7)",
    "of another page": "message((bytes(16), 0, 1, b'code', 1, []))",
    "of another entry": f"message(({DIGEST}, 2, 1, b'code', 1, []))",
    "of another level": f"message(({DIGEST}, 0, 2, b'code', 1, []))",
}


@pytest.mark.parametrize("what", NONSENSE)
def test_one_that_answers_nonsense_is_given_up(what: str) -> None:
    message = "message = lambda v: len(m := marshal.dumps(v)).to_bytes(4, 'little') + m"
    answer = f"import marshal; {message}; sys.stdout.buffer.write({NONSENSE[what]})"
    workshop = Workshop(script(f"{answer}; sys.stdout.flush()"))
    workshop.order(order(0), (), PAGE)
    deadline = time.monotonic() + 10
    while workshop.open and time.monotonic() < deadline:
        assert workshop.done(wait=True) == []
    assert workshop.lost == 1


def test_one_that_answers_more_than_was_asked_is_given_up() -> None:
    twice = f"m = marshal.dumps(({DIGEST}, 0, 1, b'', 0, [])); m = len(m).to_bytes(4, 'little') + m"
    write = "sys.stdout.buffer.write(m + m); sys.stdout.flush()"
    workshop = Workshop(script(f"import marshal; {twice}; {write}"))
    workshop.order(order(0), (), PAGE)
    done = []
    deadline = time.monotonic() + 10
    while workshop.open and time.monotonic() < deadline:
        done += workshop.done(wait=True)
    assert done == [Made(DIGEST, Region(0, 0, b""))]
    assert workshop.process is None


def test_one_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    workshop = Workshop()
    workshop.order(order(0), (), PAGE)
    assert (workshop.process, workshop.open) == (None, [])


def test_what_compiling_costs_is_counted() -> None:
    workshop = Workshop(script("sum(range(3000000))\n os._exit(1)"))
    assert (workshop.cpu_seconds(), workshop.wall) == (0.0, 0.0)
    for n in range(2):
        before = workshop.cpu_seconds(), workshop.wall
        workshop.order(order(n), (), PAGE)
        assert workshop.done(wait=True) == []
        assert workshop.process is None
        assert workshop.cpu_seconds() > before[0]
        assert workshop.wall > before[1]


def test_the_time_of_a_process_that_is_none() -> None:
    assert cpu_seconds(0) == 0.0
    assert 0 < cpu_seconds(os.getpid()) <= time.process_time() + 1


def stopped(pid: int) -> None:
    """Stop a process, as anyone may who may end it."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while not is_stopped(pid):
        assert time.monotonic() < deadline


def test_one_that_was_stopped_is_not_left_behind() -> None:
    workshop = Workshop(script("pass"))
    workshop.left = lambda: Left("/nowhere", {DIGEST: PAGE}, [(DIGEST, 0, [])])
    workshop.order(order(0), (), PAGE)
    process = workshop.process
    assert process is not None
    stopped(process.pid)
    workshop.end()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_one_that_is_stopped_at_what_was_left_to_it_ends_after_its_time(tmp_path: Path) -> None:
    """Of the time that it has, this one has four seconds."""
    text = "from auberge.engine import compiler; compiler.LONGEST = 2; compiler.main()"
    workshop, page = Workshop(("-P", "-c", text, "regions")), bytes.fromhex("0100") * 2048
    digest, path = digest_of(page), str(tmp_path / "regions")
    orders = [(digest, entry, list[int]()) for entry in range(0, 4096, 2)]
    workshop.left = lambda: Left(path, {digest: page}, orders)
    RegionFile(path).close()
    workshop.order(order(0), (), PAGE)
    process = workshop.process
    assert process is not None
    while not workshop.done(wait=True):
        assert workshop.process is process
    workshop.end()
    while not os.path.getsize(path):
        assert not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    os.kill(process.pid, signal.SIGSTOP)
    assert os.waitpid(process.pid, 0)[1] == signal.SIGKILL


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("leaves", [False, True])
def test_nothing_stays_open(leaves: bool, tmp_path: Path) -> None:
    before = descriptors()
    workshop = Workshop(script("pass"))
    if leaves:
        workshop.left = lambda: Left(str(tmp_path / "regions"), {}, [])
    workshop.order(order(0), (), PAGE)
    process = workshop.process
    assert process is not None
    assert descriptors() == before + 3, "two pipes, and what is left"
    workshop.end()
    assert descriptors() == before
    process.kill()
    with suppress(ChildProcessError):
        os.waitpid(process.pid, 0)
