"""A guest for a terminal: repeats what is typed, says its size; `q` ends it, `!` breaks it."""

import sys
import threading

from auberge.cli.terminal import Guest, Terminal


def main():
    terminal, ended, typed = Terminal(), threading.Event(), bytearray()
    asked = threading.Event()
    stubborn = "--stubborn" in sys.argv

    def take(data):
        typed.extend(data)
        terminal.write(b"<" + data + b">")
        if data in (b"q", b"!"):
            ended.set()

    def resize(columns, rows):
        terminal.write(b"%dx%d" % (columns, rows))

    def leave():
        if not asked.is_set():  # it is asked again as long as it goes on
            terminal.write(b"leaving")
        asked.set()
        if not stubborn:
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
