"""Guest-physical RAM: one range of bytes in a memfd, mapped where native code can reach it."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading

PAGE = 4096
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # no forked child shares it


class OutOfRange(Exception):
    """A guest-physical access that is not wholly inside RAM: the guest's fault."""

    def __init__(self, gpa: int, size: int) -> None:
        super().__init__(f"{gpa:#x}: {size} bytes from here are not all in RAM")
        self.gpa, self.size = gpa, size


class Ram:
    """`size` bytes from guest-physical `base`; `address` is where the host has byte 0.

    Backed by memory that only this process names (memfd_create(2)), so that a later snapshot can
    hand it to another. Pages that the guest never touches cost nothing.
    """

    def __init__(self, base: int, size: int) -> None:
        self.fd = -1
        if size <= 0 or size % PAGE or base % PAGE:
            raise ValueError(f"RAM of {size:#x} bytes at {base:#x} is not a whole number of pages")
        self.base, self.size = base, size
        self.fd = os.memfd_create("auberge-ram", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._pin = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._pin)
        self.view = memoryview(self._map)
        self.turn = threading.Lock()  # for harts that can't do without: one instruction at a time

    def _offset(self, gpa: int, size: int) -> int:
        at = gpa - self.base
        if at < 0 or size < 0 or at + size > self.size:
            raise OutOfRange(gpa, size)
        return at

    def read(self, gpa: int, size: int) -> bytes:
        """`size` bytes from guest-physical `gpa`; raises `OutOfRange`."""
        at = self._offset(gpa, size)
        return self._map[at : at + size]

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Put `data` at guest-physical `gpa`; raises `OutOfRange` and then has written nothing."""
        at = self._offset(gpa, len(data))
        self._map[at : at + len(data)] = data

    def slice(self, gpa: int, size: int) -> memoryview:
        """The bytes themselves, to read and write in place; raises `OutOfRange`."""
        at = self._offset(gpa, size)
        return self.view[at : at + size]

    def close(self) -> None:
        """Give the memory back. Views taken by `slice` must be gone."""
        self.view.release()
        del self._pin
        self._map.close()
        self._close_fd()

    def _close_fd(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """One that is forgotten without `close` keeps no descriptor: its mapping goes by itself."""
        self._close_fd()
