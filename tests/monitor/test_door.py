"""A guest asked through the socket of its process: all verbs, hostile lines, commands in it.

The door asks nothing of what is behind it but to be a guest; here that is a container.
"""

import json
import os
import socket
import threading

import pytest

from auberge.monitor import guests
from auberge.monitor.door import Door, Entrance
from auberge.monitor.guest import NotStarted, make
from auberge.monitor.guests import RUNNING, Record, process
from auberge.monitor.options import Options, check
from auberge.monitor.remote import RemoteGuest
from auberge.refusal import Refusal
from tests.inn import inn as inn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SCRIPT = "trap 'exit 9' TERM; while :; do sleep 0.02; done"


@pytest.fixture
def behind(inn, tmp_path, monkeypatch):
    """A guest behind a door, its record, and where the door is."""
    for name in ("AUBERGE_CACHE_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, inn.environment[name])
    options = check(Options(guests.fresh_id(), "box", ("sh", "-c", SCRIPT), net="none",
                            isolation="container"))  # fmt: skip
    folder = tmp_path / "guest"
    folder.mkdir()
    guest = make(options, str(folder))
    null = os.open(os.devnull, os.O_RDWR)
    guest.start((null, null, null))
    os.close(null)
    listener = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "door")
    listener.bind(path)
    listener.listen()
    entrance = Entrance(guest, listener)
    record = Record(options.id, "web", "machine", guest.image, guest.command, socket=path,
                    status=RUNNING, process=process(guest.pid),
                    supervisor=process(os.getpid()))  # fmt: skip
    yield guest, RemoteGuest(record), path
    entrance.close()
    guest.remove()


def test_what_is_told_is_done(behind):
    guest, remote, _ = behind
    assert remote.pid == guest.pid and remote.paused is False
    remote.pause()
    assert remote.paused is guest.paused is True
    remote.resume()
    assert remote.paused is guest.paused is False
    assert remote.processes()[0] == guest.processes()[0]
    assert remote.stats().pids and remote.wait(0.1) is None
    with pytest.raises(Refusal, match="^signal: 99 is none; give a number of"):
        remote.signal(99)
    remote.signal(15)
    assert remote.wait(60) == guest.wait(60) == 9
    with pytest.raises(Refusal, match="does not run"):
        remote.signal(15)


def test_commands_in_it(behind):
    _, remote, _ = behind
    hears, tells = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    command = remote.execute(
        ("sh", "-c", "echo $A; pwd; exit 5"), (null, tells, null), ("A=1",), "/tmp"
    )
    os.close(tells)
    assert command.wait() == command.wait() == 5 and command.terminal is None
    assert os.read(hears, 100) == b"1\n/tmp\n"
    os.close(hears)
    for _ in range(50):  # however fast it ends
        assert remote.execute(("true",), (null, null, null)).wait(60) == 0
    for name, status in (("nope", 127), ("/etc/passwd", 126)):
        with pytest.raises(NotStarted) as refusal:
            remote.execute((name,), (null, null, null))
        assert refusal.value.status == status
    slow = remote.execute(("sleep", "1000"), (null, null, null))
    assert slow.wait(0.1) is None
    slow.signal(9)
    assert slow.wait(60) == 137
    os.close(null)


def test_a_command_with_a_terminal(behind):
    _, remote, _ = behind
    command = remote.execute(
        ("sh", "-c", "until stty size 2>/dev/null | grep 30; do sleep 0.02; done"),
        (0, 1, 2),
        terminal=True,
    )
    command.resize(30, 100)
    said = b""
    while b"30 100" not in said:
        try:
            said += os.read(command.terminal, 100)
        except OSError:
            break
    status = command.wait(60)
    assert (b"30 100" in said, status) == (True, 0), (said, status)
    os.close(command.terminal)


def test_a_client_that_is_gone_lets_its_command_go_on(behind):
    guest, remote, _ = behind
    null = os.open(os.devnull, os.O_RDWR)
    command = remote.execute(("sleep", "1000"), (null, null, null))
    os.close(null)
    command._client.close()
    assert any(task.command == "sleep 1000" for task in guest.processes())


def test_one_that_goes_while_its_command_starts_keeps_nothing():
    ours, theirs = socket.socketpair()
    terminal, other = os.pipe()
    waited = threading.Event()

    class Started:
        pid = 7

        def wait(self, timeout=None):
            waited.set()
            return 0

    class Behind:
        def execute(self, *_):
            ours.close()
            started = Started()
            started.terminal = terminal
            return started

    question = {"verb": "execute", "command": ["true"], "terminal": True}
    assert Door(Behind()).answer(question, theirs)
    ours.recv(100)
    null = os.open(os.devnull, os.O_RDWR)
    socket.send_fds(ours, [b"!"], [null] * 3)
    os.close(null)
    assert waited.wait(60), "whoever has a place in the machine has to be waited for"
    with pytest.raises(OSError):
        os.fstat(terminal)
    os.close(other)


def asked(path, *data):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        said = b""
        try:
            for piece in data:
                client.sendall(piece)
            while piece := client.recv(65536):
                said += piece
                if said.endswith(b"\n"):
                    break
        except ConnectionError:
            pass
        return said


@pytest.mark.parametrize(
    "data",
    [b"\n", b"[]\n", b"{\n", b"\xff\n", b"[" * 60000 + b"\n", b" " * 100_000,
     b'{"verb": "execute", "command": "ls"}\n', b'{"verb": "execute", "command": [1]}\n',
     b'{"verb": "signal"}\n', b'{"verb": "signal", "number": true}\n', b'{"verb": "fly"}\n',
     b'{"verb": ["signal"]}\n', b'{"verb": "commit", "name": 1}\n', b'{"verb": "attach"}\n'],
)  # fmt: skip
def test_hostile_questions(behind, data):
    guest, remote, path = behind
    said = asked(path, data)
    assert said == b"" or "refused" in json.loads(said)
    assert guest.wait(0) is None and remote.paused is False


def test_descriptors_that_do_not_come(behind):
    _, remote, path = behind
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        client.sendall(b'{"verb": "execute", "command": ["true"]}\n')
        assert json.loads(client.recv(1000)) == {"answer": {"ready": True}}
        client.sendall(b"!")
        assert json.loads(client.recv(1000))["refused"].startswith("execute: not three")
    assert remote.paused is False


def test_many_at_once(behind):
    _, remote, _ = behind
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(remote.stats())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
