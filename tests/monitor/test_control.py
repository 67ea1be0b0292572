"""The control socket: questions, answers, and what must not harm a guest."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auberge.monitor import control
from auberge.monitor.control import LONGEST_QUESTION, MOST_CLIENTS, Control, ask
from auberge.monitor.names import running, socket_path
from auberge.refusal import Refusal

pytestmark = pytest.mark.timeout(200)


def double(question):
    number = question.get("number")
    if not isinstance(number, int):
        raise Refusal("number: not one; give an integer")
    return {"double": 2 * number}


def buggy(question):
    return 1 // 0


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    guest = Control("web", {"double": double, "buggy": buggy})
    yield guest
    guest.close()
    assert running() == []


def question(**words):
    return ask("web", socket_path("web"), words, 20)


def connect():
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(60)
    client.connect(socket_path("web"))
    return client


def said_to(data):
    with connect() as client:
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def test_an_answer(served):
    assert question(verb="double", number=21) == {"double": 42}


def refusal_of(**words):
    with pytest.raises(Refusal) as refusal:
        question(**words)
    return str(refusal.value)


def test_refusals(served):
    assert refusal_of(verb="double") == "web: number: not one; give an integer"
    wrong = "web: control: no such verb; it is one of double, buggy"
    assert refusal_of(verb="treble") == refusal_of() == refusal_of(verb=["double"]) == wrong


def test_a_bug_of_ours_is_told_and_harms_nobody(served):
    assert refusal_of(verb="buggy") == (
        "web: this question made Auberge fail:"
        " ZeroDivisionError('integer division or modulo by zero'); please report it"
    )
    assert question(verb="double", number=1) == {"double": 2}


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"{\n",
        b"\xff\xfe\n",
        b"[" * 60000 + b"\n",
        b"NaN\n",
        b"[1]\n",
        b"null\n",
        b'"verb"\n',
    ],
)
def test_what_is_no_question(served, data):
    assert list(json.loads(said_to(data))) == ["refused"]
    assert question(verb="double", number=1) == {"double": 2}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_garbage(served, data):
    answer = said_to(data + b"\n")
    assert list(json.loads(answer)) == ["refused"]


def test_one_that_says_nothing_or_too_much(served):
    silent = [connect() for _ in range(3)]
    assert question(verb="double", number=1) == {"double": 2}
    half = connect()
    half.sendall(b'{"verb"')
    with connect() as flood:
        try:
            while True:
                flood.sendall(b"x" * LONGEST_QUESTION)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert question(verb="double", number=2) == {"double": 4}
    half.sendall(b': "double", "number": 5}\n')
    assert json.loads(half.recv(1000)) == {"answer": {"double": 10}}
    for client in (*silent, half):
        client.close()


def test_more_clients_than_it_serves(served):
    clients = [connect() for _ in range(MOST_CLIENTS)]
    clients[0].sendall(b"1")
    with connect() as late:
        assert late.recv(1) == b""  # turned away
    for client in clients:
        client.close()
    while True:
        try:
            assert question(verb="double", number=2) == {"double": 4}
            break
        except Refusal:  # it has not noticed all that have gone
            continue


def test_one_that_does_not_read_its_answer(served, monkeypatch):
    monkeypatch.setattr(control, "PATIENCE", 0.1)
    served._verbs = {"much": lambda question: "x" * (8 << 20), "double": double}
    with connect() as client:
        client.sendall(b'{"verb": "much"}\n')
        assert question(verb="double", number=2) == {"double": 4}
    monkeypatch.setattr(control, "PATIENCE", 20)
    assert question(verb="much") == "x" * (8 << 20)


ANOTHER_USER = """
import os, socket, sys
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.settimeout(60)
os.setresuid(65534, 65534, 65534)
client.connect(sys.argv[1])
try:
    print("heard", len(client.recv(100)))
except ConnectionResetError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_turned_away(served):
    """The folder would keep him out already; here it lets him in."""
    path = socket_path("web")
    os.chmod(path, 0o777)
    os.chmod(os.path.dirname(path), 0o711)
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_USER, os.path.basename(path)],
        cwd=os.path.dirname(path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    os.chmod(os.path.dirname(path), 0o700)
    assert done.stdout in ("heard 0\n", "ConnectionResetError\n"), done.stderr


def test_a_guest_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    line = "web: no such guest runs; start one with `auberge boot --name web`"
    assert refusal_of(verb="double") == line


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (None, "web: does not answer in 0.1 s; it may be stuck"),
        (b"", "web: its answer broke off; see whether it still runs"),
        (b'{"answer', "web: its answer broke off; see whether it still runs"),
    ],
)
def test_a_guest_that_does_not_answer(tmp_path, answer, line):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            client, _ = listener.accept()
            if answer is not None:
                client.recv(1000)
                client.sendall(answer)
                client.close()
            else:
                done.wait()
                client.close()

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Refusal) as refusal:
            ask("web", path, {}, 0.1 if answer is None else 20)
        done.set()
        thread.join()
    assert str(refusal.value) == line
