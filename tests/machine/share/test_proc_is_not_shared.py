"""proc(5) has our own memory in it, as files: it is no folder to share, nor a part of one."""

import errno
import os

import pytest

from auberge.refusal import Refusal


@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/proc/self/task"])
def test_it_cannot_be_shared(world, path):
    with pytest.raises(Refusal) as refusal:
        world.client(path)
    assert str(refusal.value) == f"{path}: has the memory of processes in it; share another folder"


def test_it_cannot_be_reached_from_a_folder_above():
    from tests.machine.share.client import Client

    client = Client("/", read_only=True)
    try:
        for names in ((b"proc",), (b"proc", b"self"), (b"proc", b"1", b"root")):
            with pytest.raises(OSError) as error:
                client.walk(*names)
            assert error.value.errno == errno.EACCES
        # what else is mounted there is there, and the root of all is its own parent
        client.clunk(client.walk(b"dev"))
        with pytest.raises(OSError):
            client.walk(b"..")
        client.lopen(client.walk(b"etc"))
    finally:
        client.close()


def test_its_links_lead_nowhere(world):
    """/proc/self/root, /proc/self/cwd and /proc/self/fd/N are followed by the kernel's magic."""
    client = world.client()
    descriptor = os.open(world.outside, os.O_PATH)
    for target in ("/proc/self/root", "/proc/self/cwd", f"/proc/self/fd/{descriptor}"):
        client.symlink(b"magic", target.encode())
        fid = client.walk(b"magic")
        with pytest.raises(NotADirectoryError):
            client.walk(b"secret", fid=fid)
        with pytest.raises(OSError) as error:
            client.lopen(fid)
        assert error.value.errno == errno.ELOOP
        client.unlink(b"magic")
    os.close(descriptor)
