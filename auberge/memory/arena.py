"""Executable memory in which no page is writable and executable at once."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable


class Arena:
    """`size` bytes for machine code: mapped to execute, written as a file that has no name."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._file = -1
        self._file = os.memfd_create("auberge-code", os.MFD_CLOEXEC)
        os.ftruncate(self._file, self.size)
        self._execute = mmap.mmap(
            self._file, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC
        )
        self.used = 0
        self.address = _address_of(self._execute)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._file >= 0:
            close(self._file)  # handed in: at the end of Python, modules may be gone

    def add(self, code: bytes, align: int = mmap.PAGESIZE) -> int:
        """Copy code in, to the start of a page or so; gives its address.

        Raises MemoryError if it does not fit.
        """
        at = -(-self.used // align) * align
        if at + len(code) > self.size:
            raise MemoryError(f"{len(code)} bytes of code do not fit an arena of {self.size}")
        if os.pwrite(self._file, code, at) != len(code):
            raise MemoryError(f"the host has no room for {len(code)} bytes of code")
        self.used = at + len(code)
        return self.address + at


class _PyBuffer(ctypes.Structure):
    _fields_ = (
        ("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    )  # fmt: skip


def _address_of(read_only: mmap.mmap) -> int:
    """Where a mapping begins that ctypes will not give us since it cannot be written."""
    buffer = _PyBuffer()
    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
    get(read_only, ctypes.byref(buffer), 0)
    address = buffer.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    assert isinstance(address, int)
    return address
