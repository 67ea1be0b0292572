"""A guest's root does not make programs that run as the host's user, or the host's root."""

import os
import stat

from tests.machine.share import client as c


def test_by_no_way(world):
    client = world.client()
    client.create(b"created", mode=0o6755)
    client.mknod(b"node", stat.S_IFREG | 0o6755)
    client.create(b"changed", mode=0o755)
    client.setattr(client.walk(b"changed"), c.MODE, mode=0o106755)
    for path in world.share.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_directorys_group_bit_is_harmless_and_kept(world):
    client = world.client()
    client.mkdir(b"d", 0o2775)
    client.mkdir(b"e", 0o4755)
    assert stat.S_IMODE((world.share / "e").stat().st_mode) == 0o755
    client.setattr(client.walk(b"d"), c.MODE, mode=0o047770)
    assert stat.S_IMODE((world.share / "d").stat().st_mode) == 0o3770


def test_one_of_the_hosts_loses_it_when_it_is_written(world):
    path = world.share / "file"
    path.write_text("program")
    os.chmod(path, 0o4755)
    client = world.client()
    client.setattr(client.walk(b"file"), c.MODE, mode=0o4755)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
