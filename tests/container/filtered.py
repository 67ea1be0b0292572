"""System calls made under a seccomp filter, and the kernel's answers, observed from inside."""

import errno
import json
import subprocess
import sys

from auberge.container.seccomp import Filter

INSIDE = """
import ctypes, json, sys
program, flags, calls = json.loads(sys.stdin.read())
code = bytes.fromhex(program)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
words = [[ctypes.c_long(word) for word in call] for call in calls]
whole = Program(len(code) // 8, code)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.syscall(ctypes.c_long(317), ctypes.c_long(1), ctypes.c_long(flags),
                    ctypes.byref(whole)) == 0, ctypes.get_errno()
for call in words:
    ctypes.set_errno(0)
    answer = libc.syscall(*call)
    print(ctypes.get_errno() if answer < 0 else 0, flush=True)
"""

# asm/unistd_64.h of x86-64
NUMBERS = {
    "getppid": 110, "getpid": 39, "getuid": 102, "mount": 165, "unshare": 272, "clone": 56,
    "clone3": 435, "socket": 41, "ioctl": 16, "personality": 135, "keyctl": 250, "bpf": 321,
    "ptrace": 101, "open_by_handle_at": 304, "io_uring_setup": 425, "sync": 162, "chroot": 161,
    "sethostname": 170, "beyond": 1000,
}  # fmt: skip


def answers(made: Filter, *calls: tuple[str | int, ...]) -> list[str]:
    """For each call `ok` or its errno's name; a signal in the end by its number."""
    numbered = [[NUMBERS[str(name)], *arguments] for name, *arguments in calls]
    done = subprocess.run(
        [sys.executable, "-c", INSIDE],
        input=json.dumps([made.program.hex(), made.flags, numbered]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = [errno.errorcode[int(word)] if word != "0" else "ok" for word in done.stdout.split()]
    assert not done.stderr, done.stderr
    return [*found, f"signal {-done.returncode}"] if done.returncode else found
