"""Processes by number and start time: a number alone may belong to another by now."""

from __future__ import annotations

import os

from auberge.container.light import TYPE_CHECKING
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from auberge.container.config import Process

GONE = ("Z", "X")
SIGKILL, SIGCHLD, SIGSTOP = 9, 17, 19  # `signal` would take milliseconds to import
SETTABLE = [n for n in range(1, 65) if n not in (SIGKILL, SIGSTOP, 32, 33)]
"""Signals that a program can ignore or handle; 32 and 33 are the C library's own (nptl(7))."""


def boot_id() -> str:
    """What tells this start of the host from others: numbers and times begin anew."""
    # in bytes: that for "ascii" is a module to be imported, 0.2 ms
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().decode().strip()


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


def adjust(pid: int, process: Process) -> None:
    """What takes the runtime's privileges: a lower oom score, higher hard limits."""
    if process.oom_score_adj is not None:
        try:
            with open(f"/proc/{pid}/oom_score_adj", "wb") as file:
                file.write(str(process.oom_score_adj).encode())
        except OSError as error:
            raise Refusal(
                f"config.json: $.process.oomScoreAdj: {process.oom_score_adj}: {reason(error)}; "
                "only root may lower it"
            ) from None
    if process.rlimits and os.geteuid() == 0:
        import resource

        from auberge.container.clauses import rlimit_number

        for limit in process.rlimits:
            number = rlimit_number(limit.type)
            soft, hard = resource.prlimit(pid, number)
            wanted = -1 if limit.hard >= 1 << 63 else limit.hard
            if hard != -1 and (wanted == -1 or wanted > hard):
                try:
                    resource.prlimit(pid, number, (soft, wanted))
                except (OSError, ValueError):
                    raise Refusal(
                        f"config.json: $.process.rlimits: {limit.type}: {limit.hard} is more than "
                        f"may be had; write {hard} at most"
                    ) from None


def _fields(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: state is the first."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(b")") + 2 :].decode().split()
