"""Processes watched from outside: CPU time as the kernel counts it, resident memory by mapping."""

import os
import re
import resource
import select
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple


def environment() -> dict[str, str]:
    """Ours; but where Python may not keep what it compiled, every start would be a first one."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


PATIENCE = 120.0
"""Seconds after which a command that printed nothing of what was awaited has failed."""


class Usage(NamedTuple):
    """Seconds: of CPU, in user and kernel mode together, and by the clock."""

    cpu: float
    wall: float


class Memory(NamedTuple):
    """Resident bytes of a process: its guest's RAM, and everything else."""

    guest: int
    own: int


class Process:
    """A command with pipes as stdin and stdout; leaving its context kills it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._begin = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        self.pid = self._process.pid
        self.output = b""

    def send(self, keys: str) -> None:
        """Write to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(keys.encode())
        self._process.stdin.flush()

    def await_text(self, text: str, patience: float = PATIENCE) -> Usage:
        """Read until `text` was printed; what the process has used so far."""
        assert self._process.stdout is not None
        descriptor, wanted = self._process.stdout.fileno(), text.encode()
        deadline = time.monotonic() + patience
        begin = 0
        while (found := self.output.find(wanted, begin)) < 0:
            begin = max(0, len(self.output) - len(wanted))
            left = deadline - time.monotonic()
            data = b""
            if left > 0 and select.select([descriptor], [], [], left)[0]:
                data = os.read(descriptor, 65536)
            if not data:
                raise RuntimeError(f"{text!r} was not printed; the end: {self.output[-300:]!r}")
            self.output += data
        usage = Usage(self.cpu(), time.perf_counter() - self._begin)
        self.output = self.output[found + len(wanted) :]
        return usage

    def cpu(self) -> float:
        """Seconds of CPU that its threads have used; schedstat counts in nanoseconds."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def carry_out(self, command: str, prompt: str) -> Usage:
        """Have the guest's shell carry out a command, up to its next prompt; what that used."""
        cpu, begin = self.cpu(), time.perf_counter()
        self.send(f"{command}; echo fin''ished\n")
        self.await_text("finished")
        used = Usage(self.cpu() - cpu, time.perf_counter() - begin)
        self.await_text(prompt)
        return used

    def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)

    def memory(self, guest_size: int) -> Memory:
        """Resident memory now; the guest's RAM is the mapping of exactly `guest_size` bytes."""
        guest = own = size = 0
        with open(f"/proc/{self.pid}/smaps", encoding="utf-8") as smaps:
            for line in smaps:
                bounds = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
                if bounds:
                    size = int(bounds[2], 16) - int(bounds[1], 16)
                elif line.startswith("Rss:"):
                    resident = int(line.split()[1]) << 10
                    if size == guest_size:
                        guest += resident
                    else:
                        own += resident
        return Memory(guest, own)

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def used(command: Sequence[str], env: dict[str, str] | None = None) -> Usage:
    """Run a command to its end, which must be a good one; what it and its children used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env={**environment(), **(env or {})}
    )
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr[-300:]!r}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(cpu, wall)
