"""Signals of tests to another process: one after the other, and none before it can be heard."""

import os

from tests.until import until


def send(pid: int, number: int) -> None:
    """Send it a signal, and wait until its handler has it: two of one kind that wait are one
    (signal(7)). Who has ended has heard enough."""
    os.kill(pid, number)
    until(lambda: not _waits(pid, number))


def _waits(pid: int, number: int) -> bool:
    status = _status(pid)
    pending = int(status.get("SigPnd", "0"), 16) | int(status.get("ShdPnd", "0"), 16)
    return bool(pending >> number - 1 & 1) and not status["State"].startswith("Z")


def is_blocked_in_a_call(pid: int) -> bool:
    """Whether a process sleeps and has a socket: it has asked somebody, and awaits the answer."""
    folder = f"/proc/{pid}/fd"
    try:
        names = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
        return any(n.startswith("socket:") for n in names) and _status(pid)["State"][0] == "S"
    except FileNotFoundError:
        return False


def _status(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return {}
