"""A debugger's server works in a process that has more descriptors open than select(2) can name."""

import os
import resource
import socket

import pytest

from auberge.machine.debug.server import readable

HIGH = 1500  # FD_SETSIZE is 1024


def test_a_high_descriptor_is_seen_to_be_readable() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= HIGH:
        pytest.skip(f"this process may not have a descriptor {HIGH} (ulimit -n)")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.dup2(ours.fileno(), HIGH)
        try:
            assert readable([HIGH], 0) == []
            theirs.send(b"!")
            assert readable([HIGH, theirs], 5) == [HIGH]
        finally:
            os.close(HIGH)
