"""bpf(2): attach a program that decides on device accesses to a cgroup of v2."""

import ctypes
import errno
import os
from struct import Struct

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
"""__NR_bpf (asm/unistd.h)."""

# linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, flags
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2

# The fields of union bpf_attr that each command reads, and as many bytes as it is asked to read
_LOAD = Struct("=IIQQIIQII")  # prog_type, insn_cnt, insns, license, log_*, kern_version, prog_flags
_ATTACH = Struct("=IIIII")  # target_fd, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd
_ID = Struct("=III")  # prog_id, next_id, open_flags
_QUERY = Struct("=IIIIQII")  # target_fd, attach_type, query_flags, attach_flags, prog_ids, count
_INSTRUCTION = 8
_MOST = 64  # BPF_CGROUP_MAX_PROGS


def attach_device_program(cgroup: str, code: bytes) -> None:
    """Have `code` decide on the device accesses of `cgroup`, in place of what was attached before;
    raises OSError. In between both hold, so nothing is allowed that neither allows.

    The cgroup keeps the program; it goes with it.
    """
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = _attached(directory)
        program = _load(code)
        try:
            _bpf(_PROG_ATTACH, _ATTACH.pack(directory, program, _CGROUP_DEVICE, _ALLOW_MULTI, 0))
        finally:
            os.close(program)
        for number in before:
            _detach(directory, number)
    finally:
        os.close(directory)


def _load(code: bytes) -> int:
    """A descriptor of the program, once the kernel has verified it."""
    buffer = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(b"Apache-2.0")  # it calls no helper that wants the GPL
    count = len(code) // _INSTRUCTION
    addresses = ctypes.addressof(buffer), ctypes.addressof(license_)
    return _bpf(_PROG_LOAD, _LOAD.pack(_TYPE_CGROUP_DEVICE, count, *addresses, 0, 0, 0, 0, 0))


def _attached(directory: int) -> list[int]:
    """The ids of the programs that a cgroup itself has."""
    ids = (ctypes.c_uint32 * _MOST)()
    query = _QUERY.pack(directory, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MOST, 0)
    attributes = ctypes.create_string_buffer(query, len(query))
    try:
        _bpf_at(_PROG_QUERY, attributes)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return []  # Linux before 4.15: no such programs either
        raise
    return list(ids[: _QUERY.unpack(attributes.raw)[5]])


def _detach(directory: int, number: int) -> None:
    try:
        program = _bpf(_PROG_GET_FD_BY_ID, _ID.pack(number, 0, 0))
    except FileNotFoundError:
        return
    try:
        _bpf(_PROG_DETACH, _ATTACH.pack(directory, program, _CGROUP_DEVICE, 0, 0))
    finally:
        os.close(program)


def _bpf(command: int, attributes: bytes) -> int:
    return _bpf_at(command, ctypes.create_string_buffer(attributes, len(attributes)))


def _bpf_at(command: int, attributes: "ctypes.Array[ctypes.c_char]") -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    arguments = (ctypes.c_long(command), attributes, ctypes.c_long(ctypes.sizeof(attributes)))
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
