"""The native stub: position-independent code, a few hundred bytes, that runs a table (table.py).

It is a program of its own, in sealed memory: it shares neither memory nor descriptors that matter
with the runtime, so that nothing in a container can reach the runtime through it, and there is no
file of ours for a container to overwrite through /proc/self/exe. Its text is LLVM's; it is compiled
once by the compiler's own process and kept on disk.
"""

import fcntl
import os
import stat

from auberge.container.talk import FAILED, PAGE, ROWS
from auberge.refusal import Refusal

TEXT = 0x40_0000  # where the program is loaded: any address would do
MAGIC = b"oci-stub"
LARGEST = 1 << 16  # bytes of a file that keeps the code
SYSCALL = {
    "x86_64": (
        "syscall",
        "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory}",
    ),
    "aarch64": ("svc #0", "={x0},{x8},{x0},{x1},{x2},{x3},{x4},{x5},~{memory}"),
}
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def llvm_text(machine: str) -> str:
    """The stub in LLVM's language: for ever, run the row and go where it says.

    A row is twelve words: the number of the system call (-1: none, the result is the first
    argument), a bit for each argument that is the address of its value, six arguments, where to
    store the result (0: nowhere), and the addresses of the next row: usually, if the result is
    0 (0: as usual), and after an error, which is noted first.
    """
    instruction, constraints = SYSCALL[machine]
    lines = ["define void @stub() noreturn nounwind noimplicitfloat {", "entry:", "  br label %run"]
    lines += ["run:", f"  %row = phi i64 [ {ROWS}, %entry ], [ %to, %went ], [ %bad, %failed ]"]
    for at, name in enumerate(
        ("nr", "slots", "v0", "v1", "v2", "v3", "v4", "v5", "store", "next", "zero", "bad")
    ):
        lines += [
            f"  %p.{name} = add i64 %row, {8 * at}",
            f"  %q.{name} = inttoptr i64 %p.{name} to ptr",
            f"  %{name} = load volatile i64, ptr %q.{name}",
        ]
    lines.append("  br label %a0")
    for at in range(6):
        lines += [
            f"a{at}:",
            f"  %m{at} = and i64 %slots, {1 << at}",
            f"  %d{at} = icmp eq i64 %m{at}, 0",
            f"  br i1 %d{at}, label %b{at}, label %l{at}",
            f"l{at}:",
            f"  %s{at} = inttoptr i64 %v{at} to ptr",
            f"  %w{at} = load volatile i64, ptr %s{at}",
            f"  br label %b{at}",
            f"b{at}:",
            f"  %x{at} = phi i64 [ %v{at}, %a{at} ], [ %w{at}, %l{at} ]",
            f"  br label %a{at + 1}",
        ]
    arguments = ", ".join(f"i64 %x{at}" for at in range(6))
    lines += [
        "a6:",
        "  %none = icmp eq i64 %nr, -1",
        "  br i1 %none, label %called, label %call",
        "call:",
        f'  %r = call i64 asm sideeffect "{instruction}", "{constraints}"(i64 %nr, {arguments})',
        "  br label %called",
        "called:",
        "  %result = phi i64 [ %r, %call ], [ %x0, %a6 ]",
        "  %nowhere = icmp eq i64 %store, 0",
        "  br i1 %nowhere, label %stored, label %storing",
        "storing:",
        "  %place = inttoptr i64 %store to ptr",
        "  store volatile i64 %result, ptr %place",
        "  br label %stored",
        "stored:",
        "  %wrong = icmp ugt i64 %result, -4096",
        "  br i1 %wrong, label %failed, label %right",
        "failed:",
        f"  %f0 = inttoptr i64 {FAILED} to ptr",
        f"  %f1 = inttoptr i64 {FAILED + 8} to ptr",
        "  %errno = sub i64 0, %result",
        "  store volatile i64 %row, ptr %f0",
        "  store volatile i64 %errno, ptr %f1",
        "  br label %run",
        "right:",
        "  %isnil = icmp eq i64 %result, 0",
        "  %haszero = icmp ne i64 %zero, 0",
        "  %gozero = and i1 %isnil, %haszero",
        "  br label %went",
        "went:",
        "  %to = select i1 %gozero, i64 %zero, i64 %next",
        "  br label %run",
        "}",
    ]
    return "\n".join(lines) + "\n"


def image(code: bytes, machine: str, rows: bytes, data: bytes) -> bytes:
    """An executable of the stub with its table (elf(5)): code, rows to read, data, no stack to run.

    It asks for no interpreter and no libraries.
    """
    from struct import pack  # here and below: what only a new table needs (0.4 ms)

    parts = ((TEXT, 5, code), (ROWS, 4, rows), (ROWS + 0x20_0000, 6, data))
    offset = PAGE
    headers, body = b"", bytearray()
    for address, flags, content in parts:
        size = len(content)
        headers += pack("<IIQQQQQQ", 1, flags, offset, address, address, size, size, PAGE)
        body += content + bytes(padded(size) - size)
        offset += padded(size)
    headers += pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)  # PT_GNU_STACK
    number = {"x86_64": 62, "aarch64": 183}[machine]
    start = b"\x7fELF\2\1\1" + bytes(9) + pack(
        "<HHIQQQIHHHHHH", 2, number, 1, TEXT, 64, 0, 0, 64, 56, 4, 64, 0, 0
    )  # fmt: skip
    front = start + headers
    return front + bytes(PAGE - len(front)) + bytes(body)


def padded(size: int) -> int:
    """So many bytes, in whole pages."""
    return -(-size // PAGE) * PAGE


def sealed(content: bytes) -> int:
    """The descriptor of an executable in memory that nobody can change any more."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("auberge-stub", flags | 0x10)  # MFD_EXEC, since Linux 6.3
    except OSError:
        fd = os.memfd_create("auberge-stub", flags)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def machine_name() -> str:
    """The host's architecture; raises Refusal if the stub knows no system calls of it."""
    machine = os.uname().machine
    if machine not in SYSCALL:
        raise Refusal(f"{machine}: containers need x86_64 or aarch64; run it in a machine instead")
    return machine


_code: bytes | None = None


def code() -> bytes:
    """The stub's code for this host: kept on disk, compiled if it is not there or not whole."""
    global _code
    if _code is None:
        _code = _load()
    return _code


def _load() -> bytes:
    import zlib

    text = llvm_text(machine_name()).encode()
    digest = zlib.crc32(text).to_bytes(4, "little") + zlib.adler32(text).to_bytes(4, "little")
    key = MAGIC + digest
    found = _read(os.path.join(cache_folder(), f"stub-{digest.hex()}"), key)
    if found is None:
        from auberge.engine import cache

        found = _build()
        content = key + zlib.crc32(found).to_bytes(4, "little") + found
        cache.keep(os.path.join(cache.folder(), f"stub-{digest.hex()}"), content)
    return found


def cache_folder() -> str:
    """Where cache.folder() is; without a look at who may write there: read_private looks at the
    file."""
    root = os.environ.get("AUBERGE_CACHE_DIR")
    if not root:
        root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        root = os.path.join(root, "auberge")
    return os.path.join(root, "code")


def _read(path: str, key: bytes) -> bytes | None:
    """The code in that file, if it is whole."""
    import zlib

    content = read_private(path, LARGEST)
    if content is None or content[:16] != key:
        return None
    found = content[20:]
    return found if zlib.crc32(found).to_bytes(4, "little") == content[16:20] else None


def read_private(path: str, largest: int) -> bytes | None:
    """What is in that file, if nobody but this user could have written it: as read_ours of the
    engine's code_folder.py, which a start would have to import."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_size > largest:
            return None
        return os.read(fd, status.st_size) if stat.S_ISREG(status.st_mode) else None
    finally:
        os.close(fd)


def _build() -> bytes:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "auberge.container.stub_compiler"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    if done.returncode or not done.stdout:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[
            -1
        ]
        raise Refusal(f"compiler: it ended with status {done.returncode} ({last}); report this")
    return done.stdout
