"""libseccomp, as far as it makes a filter's program: seccomp.h, by its own names, through ctypes.

Of the bindings for Python, one is built with libseccomp and not published, and none that is
published is kept; the library is in every distribution, with the same ABI since its version 2.
"""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p

from auberge.container.config import SyscallArg
from auberge.container.light import NamedTuple
from auberge.refusal import Refusal

# SCMP_ACT_*: the kernel's SECCOMP_RET_* (linux/seccomp.h)
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x8000_0000,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": 0x0005_0000,
    "SCMP_ACT_NOTIFY": 0x7FC0_0000,
    "SCMP_ACT_TRACE": 0x7FF0_0000,
    "SCMP_ACT_LOG": 0x7FFC_0000,
    "SCMP_ACT_ALLOW": 0x7FFF_0000,
}
COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
UNKNOWN = -1
"""__NR_SCMP_ERROR: no such system call. Other negative numbers are of another architecture."""

_ARCH_NATIVE = 0
_FILE = "libseccomp.so.2"


class _ArgCmp(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("arg", c_uint), ("op", c_int), ("datum_a", c_uint64), ("datum_b", c_uint64))


class _Version(ctypes.Structure):
    """struct scmp_version."""

    _fields_ = (("major", c_uint), ("minor", c_uint), ("micro", c_uint))


class Version(NamedTuple):
    """Which libseccomp it is."""

    major: int
    minor: int
    micro: int


class Library:
    """The functions that are used here; raises Refusal if libseccomp is not installed."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(_FILE)
        except OSError:
            raise Refusal(
                f"seccomp: {_FILE} is not installed; install the package libseccomp2, or leave "
                "linux.seccomp out"
            ) from None
        self._c = library
        library.seccomp_version.restype = POINTER(_Version)
        library.seccomp_init.restype = c_void_p
        library.seccomp_init.argtypes = [c_uint32]
        library.seccomp_release.argtypes = [c_void_p]
        library.seccomp_release.restype = None
        library.seccomp_arch_resolve_name.argtypes = [c_char_p]
        library.seccomp_arch_resolve_name.restype = c_uint32
        library.seccomp_arch_native.restype = c_uint32
        library.seccomp_arch_exist.argtypes = [c_void_p, c_uint32]
        library.seccomp_arch_add.argtypes = [c_void_p, c_uint32]
        library.seccomp_syscall_resolve_name_arch.argtypes = [c_uint32, c_char_p]
        library.seccomp_syscall_resolve_name_arch.restype = c_int
        library.seccomp_rule_add_array.argtypes = [
            c_void_p, c_uint32, c_int, c_uint, POINTER(_ArgCmp),
        ]  # fmt: skip
        library.seccomp_export_bpf.argtypes = [c_void_p, c_int]

    def version(self) -> Version:
        """seccomp_version(3)."""
        found = self._c.seccomp_version().contents
        return Version(found.major, found.minor, found.micro)

    def native(self) -> int:
        """seccomp_arch_native(3): the token of this host's architecture."""
        return int(self._c.seccomp_arch_native())

    def architecture(self, name: str) -> int | None:
        """seccomp_arch_resolve_name(3): the token of `x86_64`; None for what is none."""
        token = int(self._c.seccomp_arch_resolve_name(name.encode()))
        return token if token != _ARCH_NATIVE else None

    def number(self, architecture: int, name: str) -> int:
        """seccomp_syscall_resolve_name_arch(3)."""
        return int(self._c.seccomp_syscall_resolve_name_arch(architecture, name.encode()))

    def filter(self, default_action: int) -> "FilterContext":
        """seccomp_init(3): a filter of the native architecture."""
        return FilterContext(self._c, default_action)


class FilterContext:
    """A filter that is being made: scmp_filter_ctx. A `with` gives it back."""

    def __init__(self, library: ctypes.CDLL, default_action: int) -> None:
        self._c = library
        self._context = library.seccomp_init(default_action)
        if not self._context:
            raise Refusal(
                f"seccomp: libseccomp does not take the default action {default_action:#x}; "
                "choose another defaultAction"
            )

    def __enter__(self) -> "FilterContext":
        return self

    def __exit__(self, *_: object) -> None:
        self._c.seccomp_release(self._context)

    def add_architecture(self, token: int) -> None:
        """seccomp_arch_add(3), unless it is there; raises OSError."""
        if self._c.seccomp_arch_exist(self._context, token) != 0:
            _check(self._c.seccomp_arch_add(self._context, token))

    def add_rule(self, action: int, number: int, conditions: tuple[SyscallArg, ...] = ()) -> None:
        """seccomp_rule_add_array(3): all conditions must hold; raises OSError."""
        array = (_ArgCmp * len(conditions))(
            *(_ArgCmp(c.index_, COMPARISONS[c.op], c.value, c.value_two) for c in conditions)
        )
        _check(
            self._c.seccomp_rule_add_array(self._context, action, number, len(conditions), array)
        )

    def export(self) -> bytes:
        """seccomp_export_bpf(3): the array of struct sock_filter; raises OSError."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(self._c.seccomp_export_bpf(self._context, fd))
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
