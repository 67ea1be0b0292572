"""A guest for a terminal: repeats what is typed, says its size; `q` ends it, `!` breaks it.

It does not end when it is asked to: at all if it is --stubborn, at first if it is --late.
"""

import sys
import threading

from auberge.cli.terminal import Guest, Terminal


def main():
    terminal, ended, typed = Terminal(), threading.Event(), bytearray()
    asked = threading.Event()
    stubborn, late = "--stubborn" in sys.argv, "--late" in sys.argv

    def take(data):
        typed.extend(data)
        terminal.write(b"<" + data + b">")
        if data in (b"q", b"!"):
            ended.set()

    def resize(columns, rows):
        terminal.write(b"%dx%d" % (columns, rows))

    def leave():
        again = asked.is_set()  # it is, as long as it goes on
        if not again:
            terminal.write(b"leaving")
        asked.set()
        if not stubborn and (again or not late):
            ended.set()

    with terminal.serving(Guest(take, lambda: 0, resize, leave)):
        terminal.write(b"ready")
        ended.wait()
        if typed.endswith(b"!"):
            raise ValueError("broken")
    if terminal.failure:
        return 99
    return 128 + terminal.signal if terminal.signal else 0


if __name__ == "__main__":
    sys.exit(main())
