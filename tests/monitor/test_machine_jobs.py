"""Programs in a machine, with an agent of the test's: whatever it says, the host is in order."""

import contextlib
import os
import threading
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.image.cell_agent import EXITED, FAILED, MOST_JOBS, READY, STARTED, Program, request
from auberge.monitor.guest import NotStarted
from auberge.monitor.machine_jobs import Jobs, window
from auberge.monitor.machine_streams import Streams
from auberge.refusal import Refusal
from tests.until import until

TRUE = Program([b"/bin/true"], [b"true"], [])
FIRST = MOST_JOBS - 1  # numbers are given from the last on


class Bench:
    """Jobs whose ports are there, and no machine behind them."""

    def __init__(self):
        self.streams = Streams()
        self.jobs = Jobs(self.streams, contextlib.nullcontext())
        for port in self.streams.ports.ports:
            port.added = port.ready = True

    def report(self, kind, job, value=0):
        self.jobs._hear(pack("<IIiI", kind, job, value, 0))

    def begun(self):
        """A thread that runs a program, which the guest is asked for, and what becomes of it."""
        self.report(READY, 0, 1)
        found = []

        def run():
            try:
                found.append(self.jobs.run(TRUE, (), lambda data: True, 5.0))
            except Refusal as refusal:
                found.append(refusal)

        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: FIRST in self.jobs._jobs)
        return thread, found


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.jobs.end()
    bench.streams.close()


def started(bench, *reports):
    thread, found = bench.begun()
    for kind, value in reports:
        bench.report(kind, FIRST, value)
    thread.join()
    return found[0]


def test_a_program_that_starts_and_ends(bench):
    job = started(bench, (STARTED, 90))
    assert job.pid == 90 and job.wait(0) is None
    bench.report(EXITED, FIRST, 7 << 8)
    job.open = 0
    assert job.wait() == 7
    bench.report(EXITED, FIRST, 9)  # again: of nothing
    assert job.wait() == 7


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (4 << 16 | 2, 127, "true: not found in the guest; give the path of a program in it"),
        (4 << 16 | 8, 126, "true: cannot be executed: exec format error"),
        (2 << 16 | 20, 126, "/: not a directory; the guest refuses it"),
        (1 << 16 | 16, 126, "exec: device or resource busy; the guest refuses it"),
        (3 << 16 | 1, 126, "user: operation not permitted; the guest refuses it"),
        (5 << 16 | 30, 126, "its cgroup and root: read-only file system; the guest refuses it"),
    ],
)
def test_a_program_that_does_not_start(bench, failure, status, text):
    refusal = started(bench, (FAILED, failure), (STARTED, 90), (EXITED, 127 << 8))
    assert isinstance(refusal, NotStarted) and refusal.status == status
    assert str(refusal) == text


def test_a_machine_that_ends_meanwhile(bench):
    thread, found = bench.begun()
    bench.jobs.end()
    thread.join()
    assert str(found[0]) == "true: the machine ended before it could start; try again"


def test_what_ended_with_its_machine_was_killed(bench):
    job = started(bench, (STARTED, 90))
    bench.jobs.end()
    assert job.wait() == 137


def test_arguments_that_are_too_long(bench):
    bench.report(READY, 0, 1)
    with pytest.raises(NotStarted) as refused:
        bench.jobs.run(TRUE._replace(args=[b"true", b"x" * (1 << 20)]), (), lambda data: True)
    assert str(refused.value) == "true: its arguments are too long"


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_whatever_the_guest_reports(pieces):
    bench = Bench()
    thread, found = bench.begun()
    for piece in pieces:
        bench.jobs._hear(piece)
    assert len(bench.jobs._heard) < 16
    bench.jobs.end()
    thread.join()
    assert len(found) == 1
    bench.streams.close()


def test_a_request_as_the_agent_reads_it():
    program = Program(
        [b"/bin/a", b"/a"], [b"a", b"", b"c"], [b"X=1"], b"/tmp", 5, 6, (7, 8), 3, 2, 9, 11
    )
    message = request(1, 4, 5, program.body())
    assert unpack_from("<IIII", message) == (len(message), 1, 4, 5)
    flags, port, uid, gid, groups, size, allowed = unpack_from("<6IQ", message, 16)
    assert (flags, port, uid, gid, groups, size, allowed) == (2, 9, 5, 6, 2, 11, 3)
    where, cwd, *lists = unpack_from("<5I", message, 48)
    assert unpack_from("<2I", message, where) == (7, 8)

    def text(at):
        return message[at : message.index(b"\0", at)]

    def texts(at):
        found = []
        while (offset := unpack_from("<Q", message, at)[0]) != 0:
            found.append(text(offset))
            at += 8
        return found

    assert text(cwd) == b"/tmp"
    assert [texts(each) for each in lists] == [[b"/bin/a", b"/a"], [b"a", b"", b"c"], [b"X=1"]]
    assert all(each % 8 == 0 for each in lists)


def test_sizes_of_windows():
    assert window(24, 80) == 80 << 16 | 24
    assert window(-1, 1 << 20) == 0xFFFF0000


def turns(bench):
    """What the thread of the streams does when it is told something."""
    bench.streams._wake()
    bench.streams._turn(contextlib.nullcontext())
    bench.streams._turn(contextlib.nullcontext()) if bench.streams._is_told else None


def test_a_guest_that_does_not_answer_keeps_nothing(bench):
    null = os.open(os.devnull, os.O_RDWR)
    before = len(os.listdir("/proc/self/fd"))
    bench.report(READY, 0, 1)
    free = list(bench.jobs._free)
    for hear in (None, lambda data: True):
        with pytest.raises(Refusal) as refused:
            bench.jobs.run(TRUE, (null,) * 3, hear, 0.05)
        assert str(refused.value) == ("true: the guest does not answer; try again, or remove it")
        turns(bench)
        assert len(os.listdir("/proc/self/fd")) == before
    assert sorted(bench.jobs._jobs) == [FIRST - 1, FIRST], "the guest may start them yet"
    for number in (FIRST - 1, FIRST):
        bench.report(STARTED, number, 90)
        bench.report(EXITED, number, 9)
    bench.jobs._leave()
    assert bench.jobs._jobs == {} and bench.jobs._free == free
    bench.report(READY, 0, 0)
    with pytest.raises(Refusal):
        bench.jobs.run(TRUE, (null,) * 3, None, 0.05)
    assert bench.jobs._jobs == {} and bench.jobs._free == free
    os.close(null)


def test_descriptors_are_given_back():
    before = len(os.listdir("/proc/self/fd"))
    bench = Bench()
    bench.jobs.end()
    bench.streams.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_is_written_to_a_descriptor_that_was_given_back(monkeypatch):
    streams = Streams()
    real, there = os.eventfd_write, []

    def late(descriptor, value):
        closing = threading.Thread(target=streams.close)
        closing.start()
        closing.join(0.2)  # it waits for us
        with contextlib.suppress(OSError):
            there.append(os.fstat(descriptor))
            real(descriptor, value)
        closings.append(closing)

    closings = []
    monkeypatch.setattr("auberge.monitor.machine_streams.os.eventfd_write", late)
    streams._wake()
    closings[0].join()
    assert len(there) == 1
