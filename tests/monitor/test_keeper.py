"""A supervisor's socket: who says nonsense, too much, nothing, or does not listen harms nobody."""

import json
import os
import random
import socket
import threading
import time

import pytest

from auberge.monitor import keeper
from auberge.monitor.frames import FROM_GUEST, INPUT, RESIZE, SIZE, BadFrame, Frames, frame
from auberge.monitor.keeper import LONGEST_QUESTION, MOST_CLIENTS, Keeper, Streams
from tests.until import until

pytestmark = pytest.mark.timeout(200)


class Kept:
    """A guest that is a pair of pipes, and ends when it is told."""

    def __init__(self):
        self.ended, self.end_it = os.pipe()
        self.sizes = []

    def fileno(self):
        return self.ended

    def resize(self, rows, columns):
        self.sizes.append((rows, columns))

    def stop(self):
        os.write(self.end_it, b"!")

    def answer(self, question, client):
        return False

    def end(self):
        return 7


class House:
    """A keeper in a thread, and the guest's ends of its streams."""

    def __init__(self, path, terminal=False):
        self.kept, self.path = Kept(), path
        self.output, theirs = os.pipe()
        self.writes = theirs
        self.reads, typed = os.pipe()
        os.set_blocking(self.reads, False)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path / "control"))
        self.listener.listen()
        streams = Streams(self.output, -1, typed, terminal)
        self.keeper = Keeper(self.kept, str(path), self.listener, streams)
        self.status = None
        self.clients = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        self.status = self.keeper.run()

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        self.clients.append(client)
        client.settimeout(60)
        client.connect(str(self.path / "control"))
        return client

    def ask(self, **question):
        client = self.connect()
        client.sendall(json.dumps(question).encode() + b"\n")
        return client

    def attached(self, **more):
        client = self.ask(verb="attach", input=True, **more)
        assert line(client) == {
            "answer": {"terminal": self.keeper._streams.terminal, "input": True}
        }
        return client

    def close(self):
        if self.writes >= 0:
            os.close(self.writes)
        self.kept.stop()
        self.thread.join(60)
        assert not self.thread.is_alive() and self.status == 7
        for each in (*self.clients, self.listener):
            each.close()
        for fd in (self.output, self.reads, self.keeper._streams.input, self.kept.ended):
            os.close(fd)
        os.close(self.kept.end_it)


@pytest.fixture(params=[False, True], ids=["pipes", "terminal"])
def house(request, open_path):
    made = House(open_path, request.param)
    yield made
    made.close()
    assert request.param == made.keeper._streams.terminal


def line(client):
    said = b""
    while not said.endswith(b"\n"):
        data = client.recv(1)
        assert data, said
        said += data
    return json.loads(said)


def told(client, count=1):
    """The next frames."""
    frames, found = Frames(FROM_GUEST), []
    while len(found) < count:
        data = client.recv(65536)
        assert data, found
        found += frames.take(data)
    return found


def is_served(house):
    """Whether everybody else still is."""
    client = house.attached()
    os.write(house.writes, b"hello")
    assert told(client) == [(b"1", b"hello")]
    client.close()


def hangs_up(client):
    try:
        while client.recv(65536):
            pass
        return True
    except ConnectionError:
        return True


def test_all_who_are_attached_see_the_same(house):
    one, other = house.attached(), house.attached()
    waits = house.ask(verb="wait")
    os.write(house.writes, b"hello")
    assert told(one) == told(other) == [(b"1", b"hello")]
    one.sendall(frame(INPUT, b"from one") + frame(INPUT, b", all"))
    deadline = time.monotonic() + 60
    typed = b""
    while len(typed) < 13:
        assert time.monotonic() < deadline
        try:
            typed += os.read(house.reads, 100)
        except BlockingIOError:
            pass
    assert typed == b"from one, all"
    os.close(house.writes)
    house.writes = -1
    house.kept.stop()
    assert told(one) == told(other) == [(b"x", b"\x07")]
    assert line(waits) == {"answer": {"exit_code": 7}}
    assert hangs_up(one) and hangs_up(other) and hangs_up(waits)


def test_what_it_wrote_before_its_end_comes_before_its_end(house):
    client = house.attached()
    os.write(house.writes, b"x" * 60000)
    os.close(house.writes)
    house.writes = -1
    house.kept.stop()
    frames = told(client, 2)
    assert b"".join(data for kind, data in frames if kind == b"1") == b"x" * 60000
    assert frames[-1] == (b"x", b"\x07")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\n", "control: not a question; write a JSON object with a verb"),
        (b"nonsense\n", "control: not a question; write a JSON object with a verb"),
        (b"\xff\xfe\n", "control: not a question; write a JSON object with a verb"),
        (b"[" * 60000 + b"\n", "control: not a question; write a JSON object with a verb"),
        (b'{"verb": 1}\n', "control: not a question; write a JSON object with a verb"),
        (b'{"verb": "fly"}\n', "control: no such verb; it is one of wait, attach"),
        (b'{"verb": "attach", "rows": -1}\n',
         "attach: not a size; give rows and columns below 65536"),
        (b'{"verb": "attach", "columns": 65536}\n',
         "attach: not a size; give rows and columns below 65536"),
        (b'{"verb": "attach", "rows": "x"}\n',
         "attach: not a size; give rows and columns below 65536"),
        (b'{"verb": "attach", "rows": true, "columns": true}\n',
         "attach: not a size; give rows and columns below 65536"),
    ],
)  # fmt: skip
def test_what_is_no_question(house, said, why):
    client = house.connect()
    client.sendall(said)
    assert line(client) == {"refused": why}
    assert hangs_up(client)
    is_served(house)


def test_a_question_without_an_end(house):
    client = house.connect()
    try:
        for _ in range(LONGEST_QUESTION // 1024 + 100):
            client.sendall(b" " * 1024)
    except ConnectionError:
        pass
    assert hangs_up(client)
    is_served(house)


@pytest.mark.parametrize(
    "said",
    [b"x\0\0\0\1\7", b"1\0\0\0\1a", b"i\0\0\0\0", b"i\0\1\0\1", b"i\xff\xff\xff\xff", b"r\0\0\0\1a",
     b"\0\0\0\0\0", b"what?"],
)  # fmt: skip
def test_what_is_no_frame(house, said):
    client = house.attached()
    client.sendall(said)
    assert hangs_up(client)
    is_served(house)


def test_random_bytes(house):
    chance = random.Random(5)
    for number in range(200):
        client = house.attached() if number % 2 else house.connect()
        try:
            client.sendall(chance.randbytes(chance.randrange(1, 300)) + b"\n" * (number % 3))
        except ConnectionError:
            pass
        client.close()
    is_served(house)


def test_who_says_nothing_is_let_go(house, monkeypatch):
    monkeypatch.setattr(keeper, "SLOW", 0.2)
    silent = [house.connect() for _ in range(5)]
    for client in silent:
        assert hangs_up(client)
    is_served(house)


def test_no_more_clients_than_there_is_room_for(house):
    waiting = [house.ask(verb="wait") for _ in range(MOST_CLIENTS)]
    is_one_too_many = house.connect()  # which may be closed before it can ask
    assert hangs_up(is_one_too_many)
    for client in waiting:
        client.close()
    is_served(house)


def test_who_does_not_read_holds_the_guest_up_and_is_let_go(house, monkeypatch):
    monkeypatch.setattr(keeper, "STUCK", 1.0)
    asleep = house.attached()
    awake = house.attached()
    wrote = threading.Event()

    def write():
        for _ in range(64):
            os.write(house.writes, b"y" * 32768)
        wrote.set()

    writer = threading.Thread(target=write)
    writer.start()
    got = 0
    frames = Frames(FROM_GUEST)
    while got < 64 * 32768:
        got += sum(len(data) for _, data in frames.take(awake.recv(1 << 20)))
    writer.join(60)
    assert wrote.is_set() and hangs_up(asleep)
    is_served(house)


def test_a_guest_that_does_not_read_holds_up_who_types(house):
    client = house.attached()
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(200):
            client.sendall(frame(INPUT, b"k" * 65536))
    client.close()
    is_served(house)


def test_sizes_reach_a_terminal(tmp_path):
    house = House(tmp_path, terminal=True)
    client = house.attached(rows=24, columns=80)
    client.sendall(frame(RESIZE, SIZE.pack(30, 100)))
    os.write(house.writes, b"!")
    told(client)
    until(lambda: len(house.kept.sizes) >= 2)
    assert house.kept.sizes == [(24, 80), (30, 100)]
    house.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_not_answered(house):
    os.chmod(house.path / "control", 0o777)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setresuid(65534, 65534, 65534)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(str(house.path / "control"))
            client.sendall(b'{"verb": "attach"}\n')
            status = 0 if not client.recv(1) else 2
        except ConnectionError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    is_served(house)


def test_frames_come_in_any_pieces():
    whole = frame(INPUT, b"a" * 1000) + frame(RESIZE, SIZE.pack(1, 2)) + frame(INPUT, b"b")
    for size in (1, 3, 7, 1000, len(whole)):
        frames, found = Frames((INPUT, RESIZE)), []
        for at in range(0, len(whole), size):
            found += frames.take(whole[at : at + size])
        assert found == [(b"i", b"a" * 1000), (b"r", b"\0\1\0\2"), (b"i", b"b")]
    with pytest.raises(BadFrame):
        list(Frames((INPUT,)).take(frame(RESIZE, b"\0\1\0\2")))
