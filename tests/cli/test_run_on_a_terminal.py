"""`auberge run -it` on a real terminal: its size, Ctrl-C, job control, and that it is put back."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

import pytest

from tests.box import auberge
from tests.box import box as box
from tests.box import filled as filled
from tests.command import AUBERGE
from tests.signals import send
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), pytest.mark.usefixtures("box")]
WORDS = ("run", "--rm", "--net", "none")
PATIENCE = 60


class Session:
    """`auberge` on a pseudo-terminal of its own."""

    def __init__(self, *words, rows=33, columns=77):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            while os.get_terminal_size(0) != (columns, rows):  # our parent sets it
                time.sleep(0.001)
            os.execv(sys.executable, [*AUBERGE, *words])
        self.resize(rows, columns)
        self.said = b""
        self.status = None

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def hear(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: nobody has the other side open
                data = b""
            self.said += data
            return bool(data)
        return True

    def until(self, text):
        """All up to some text; it and what came before are forgotten."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self.said:
            assert time.monotonic() < deadline and self.hear(0.1), self.said
        before, _, self.said = self.said.partition(text.encode())
        return before.decode(errors="replace")

    def ends(self):
        """Its exit status, once all that it said is heard."""
        while self.hear(PATIENCE):
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)


@pytest.fixture
def session():
    made = []

    def begin(*words, **more):
        made.append(Session(*words, **more))
        return made[-1]

    yield begin
    for each in made:
        each.close()


PROMPT = "/home # "


def test_a_shell(session):
    shell = session(*WORDS, "-it", "box")
    shell.until(PROMPT)
    shell.type("stty size; tty; echo do''ne\r")
    assert "33 77\r\n/dev/pts/0\r\n" in shell.until("done\r\n")
    shell.resize(50, 120)
    deadline = time.monotonic() + PATIENCE
    size = ""
    while "50 120" not in size and time.monotonic() < deadline:
        shell.type("stty size; echo do''ne\r")
        size = shell.until("done\r\n")
    assert "50 120" in size
    shell.type("exit 7\r")
    assert shell.ends() == 7


def test_keys_are_the_guests(session):
    shell = session(*WORDS, "-it", "box")
    shell.until(PROMPT)
    shell.type("sh -c 'echo beg\"\"un; exec sleep 100'; echo sta''tus $?\r")
    shell.until("begun\r\n")
    shell.type("\x03")  # Ctrl-C ends the job, and not us
    shell.until(PROMPT)
    shell.type("sh -c 'echo beg\"\"un; exec sleep 100'\r")
    shell.until("begun\r\n")
    shell.type("\x1a")  # Ctrl-Z
    shell.until("Stopped")
    shell.type("jobs; kill %1; echo do''ne\r")
    assert "Stopped" in shell.until("done\r\n")
    shell.type("exit\rexit\r")  # a shell with jobs may want to hear it twice
    shell.ends()


def test_the_terminal_is_put_back(session):
    deaf = "stty raw; trap '' INT TERM HUP; echo rdy; exec sleep 100"  # a shell hears SIGINT
    shell = session(*WORDS, "-it", "box", "sh", "-c", deaf)
    shell.until("rdy")
    before = termios.tcgetattr(shell.master)
    assert not before[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGINT):
        send(shell.pid, number)  # three that ask for its end; one more would be Python's
    until(lambda: termios.tcgetattr(shell.master)[3] & termios.ECHO)
    assert shell.ends() == 137
    after = termios.tcgetattr(shell.master)
    wanted = termios.ECHO | termios.ICANON | termios.ISIG
    assert after[3] & wanted == wanted


def test_suspended_and_resumed(session):
    shell = session(*WORDS, "-it", "box")
    shell.until(PROMPT)
    os.kill(shell.pid, signal.SIGTSTP)
    until(lambda: state(shell.pid) == "T")
    assert termios.tcgetattr(shell.master)[3] & termios.ECHO  # it is the shell's meanwhile
    shell.resize(40, 90)
    os.kill(shell.pid, signal.SIGCONT)
    until(lambda: not termios.tcgetattr(shell.master)[3] & termios.ECHO)
    shell.type("stty size; exit 3\r")
    shell.until("40 90")
    assert shell.ends() == 3


def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_much_output_arrives_whole(session):
    shell = session(*WORDS, "-t", "box", "sh", "-c", "seq 1 30000; echo the end")
    text = shell.until("the end\r\n")
    assert [int(line) for line in text.split()] == list(range(1, 30001))
    assert shell.ends() == 0


def test_without_input_keys_stay_ours(session):
    trap = "trap 'exit 9' INT; echo rdy; while :; do sleep 0.05; done"
    shell = session(*WORDS, "-t", "box", "sh", "-c", trap)
    shell.until("rdy")
    shell.type("\x03")  # our terminal makes it SIGINT, which is passed on
    assert shell.ends() == 9


def test_a_terminal_that_hangs_up_is_told(session):
    trap = "trap 'echo gone > /v/gone; exit' HUP; echo rdy; while :; do sleep 0.05; done"
    folder = os.environ["AUBERGE_CACHE_DIR"]
    shell = session(*WORDS, "-v", f"{folder}:/v", "-it", "box", "sh", "-c", trap)
    shell.until("rdy")
    master, shell.master = shell.master, os.open(os.devnull, os.O_RDONLY)
    os.close(master)
    os.waitpid(shell.pid, 0)
    shell.status = 0
    with open(f"{folder}/gone") as file:
        assert file.read() == "gone\n"
    os.unlink(f"{folder}/gone")


def test_detached_with_a_terminal_has_its_size(session):
    shell = session("run", "-d", "-t", "--net", "none", "--name", "sized", "box", "sleep", "100")
    assert shell.ends() == 0
    try:
        done = auberge("exec", "sized", "stty", "-F", "/dev/console", "size")
        assert done.stdout == "33 77\n"
    finally:
        auberge("rm", "--force", "sized")
