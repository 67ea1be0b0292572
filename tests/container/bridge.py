"""What a test of the bridge of containers takes of its host."""

import ctypes

import pytest

LIBRARIES = {
    "libnl-route-3.so.200": "libnl-route-3-200",
    "libnftables.so.1": "libnftables1",
}
"""Those that the bridge is made with, and the packages they are in."""


def need_libraries() -> None:
    """Skip the test where one is not installed."""
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            pytest.skip(f"no {library} here; apt install {package}")
