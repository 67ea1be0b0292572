"""While a guest uses a directory, someone puts a link out of the folder in its place, and back."""

import os
import threading

import pytest

from tests.machine.share import client as c

ROUNDS = 1500


@pytest.fixture
def swapped(world):
    """`d` is by turns a directory and a link to the folder outside; `f` a file and a link."""
    share = world.share
    for side in ("outside", "inside"):
        os.symlink("../outside", share / f"{side}-link")
    (share / "d").mkdir()
    (share / "d" / "secret").write_text("public")
    (share / "f").write_text("public")
    os.symlink(world.outside, share / "d-link")
    os.symlink(world.outside / "secret", share / "f-link")
    done = threading.Event()

    def swap():
        while not done.is_set():
            for name in ("d", "f"):
                os.rename(share / name, share / f"{name}-kept")
                os.rename(share / f"{name}-link", share / name)
                os.rename(share / name, share / f"{name}-link")
                os.rename(share / f"{name}-kept", share / name)

    thread = threading.Thread(target=swap)
    thread.start()
    yield world.client()
    done.set()
    thread.join()
    assert world.untouched()


def tried(action, *values, **options):
    try:
        return action(*values, **options)
    except OSError:
        return None


def clean(client):
    for fid in range(1, client.next_fid):
        tried(client.clunk, fid)
    client.next_fid = 1


@pytest.mark.slow
def test_nothing_outside_is_ever_reached(swapped):
    client = swapped
    read = made = 0
    for number in range(ROUNDS):
        for path in ((b"d", b"secret"), (b"f",)):
            fid = tried(client.walk, *path)
            if fid and tried(client.lopen, fid):
                assert client.read(fid) != b"secret"
                read += 1
        directory = tried(client.walk, b"d")
        if directory:
            name = b"new%d" % number
            made += tried(client.lcreate, directory, name) is not None
            directory = tried(client.walk, b"d")
            if directory:
                tried(client.unlink, name, fid=directory)
                tried(client.rename, b"secret", b"renamed", fid=directory)
                tried(client.rename, b"renamed", b"secret", fid=directory)
        tried(client.lcreate, client.walk(), b"f", c.O_WRONLY)
        fid = tried(client.walk, b"f")
        if fid:
            tried(client.setattr, fid, c.SIZE | c.MODE, mode=0o644, size=3)
        clean(client)
    assert read > 100 and made > 100  # it did find the real ones too
