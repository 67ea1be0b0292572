"""Processes by number and start time: a number alone may belong to another by now."""

import os

GONE = ("Z", "X")


def boot_id() -> str:
    """What tells this start of the host from others: numbers and times begin anew."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_time(pid: int) -> int:
    """When a process started, in clock ticks (proc_pid_stat(5), field 22); 0 if it is gone."""
    fields = _fields(pid)
    return int(fields[19]) if fields else 0


def is_alive(pid: int, started: int) -> bool:
    """Whether that very process has not ended; one that waits to be reaped has."""
    fields = _fields(pid) if pid > 0 else []
    return bool(fields) and int(fields[19]) == started and fields[0] not in GONE


def send(pid: int, started: int, number: int) -> bool:
    """Send a signal to that very process; False if it has ended."""
    import signal

    if not is_alive(pid, started):
        return False
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(pid, started):  # the descriptor holds the process that we look at now
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def wait_gone(pid: int, started: int, seconds: float) -> bool:
    """Wait for the end of that very process; False if it takes longer."""
    import select

    if not is_alive(pid, started):
        return True
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(pid, started):
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def _fields(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: state is the first."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(b")") + 2 :].decode().split()
