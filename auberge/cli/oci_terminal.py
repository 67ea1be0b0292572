"""A container's terminal shown on ours: what is typed goes in, what is written comes out."""

import fcntl
import os
import select
import signal
import sys
import termios
import tty

SIZE = bytes(8)  # struct winsize


def relay(master: int) -> None:
    """Until the container's side of the terminal is closed; ours is put back as it was."""
    own = sys.stdin.fileno()
    before = termios.tcgetattr(own) if os.isatty(own) else None
    poll = select.poll()
    poll.register(master, select.POLLIN)
    poll.register(own, select.POLLIN)

    def resize(*_: object) -> None:
        try:
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(own, termios.TIOCGWINSZ, SIZE))
        except OSError:  # ours is no terminal any more
            pass

    try:
        if before is not None:
            tty.setraw(own)
            signal.signal(signal.SIGWINCH, resize)
            resize()
        while True:
            for fd, _ in poll.poll():
                try:
                    data = os.read(fd, 65536)
                except OSError:  # EIO: nobody has the other side open
                    data = b""
                if fd == master:
                    if not data:
                        return
                    _write(1, data)
                elif data:
                    _write(master, data)
                else:
                    poll.unregister(own)
                    _write(master, b"\4")  # what a terminal knows as the end
    finally:
        if before is not None:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            termios.tcsetattr(own, termios.TCSADRAIN, before)
        os.close(master)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
