"""TIOCSTI types into a terminal as if its user did: no container does that to the host's."""

import errno
import os
import subprocess

import pytest

from tests.container.tables import program

pytestmark = pytest.mark.slow
TIOCSTI = 0x5412


@pytest.fixture
def terminal():
    """Both ends of a terminal of the host's."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def typed(terminal):
    """What somebody has typed that nobody has read."""
    os.set_blocking(terminal[1], False)
    try:
        return os.read(terminal[1], 100)
    except BlockingIOError:
        return b""


def test_the_ioctl_is_real(bundle, terminal):
    """On the host, root may: else the tests below would prove nothing."""
    import tty

    tty.setraw(terminal[1])
    types = program(bundle.root / "types", "ioctl", 0, TIOCSTI, "x")
    assert subprocess.run([types], stdin=terminal[1]).returncode == 0
    assert typed(terminal) == b"x"


def test_nothing_is_typed_into_the_terminal_of_whoever_runs_it(bundle, runtime, terminal):
    import tty

    tty.setraw(terminal[1])
    program(bundle.root / "types", "ioctl", 0, TIOCSTI, "x")
    bundle.process["args"] = ["/types"]
    done = bundle.run(runtime, stdin=terminal[1])
    # ENOTTY: runc has put a pipe between; EIO: this kernel has switched the ioctl off
    assert done.returncode in (errno.EPERM, errno.EIO, errno.ENOTTY), done.stderr
    assert typed(terminal) == b""


def test_it_has_no_controlling_terminal(bundle, runtime, terminal):
    done = bundle.run(
        runtime, "tty; cut -d' ' -f7 /proc/self/stat; cat /dev/tty", stdin=terminal[1]
    )
    assert done.stdout.splitlines()[1] == "0"
    assert "No such device or address" in done.stderr


def test_its_own_terminal_is_another(bundle, terminal):
    """With `terminal`, what a program types there is its own affair."""
    import socket

    program(bundle.root / "types", "ioctl", 0, TIOCSTI, "x")
    bundle.process |= {"terminal": True, "args": ["/types"]}
    bundle.write()
    path = str(bundle.path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        words = ["run", "--detach", "--console-socket", path, "--bundle", str(bundle.path)]
        done = bundle.call("ours", *words, bundle.name, stdin=terminal[1])
        assert done.returncode == 0, done.stderr
        theirs, _ = listener.accept()
        _, (master,), _, _ = socket.recv_fds(theirs, 100, 1)
        theirs.close()
    assert os.isatty(master)
    os.close(master)
    assert typed(terminal) == b""
