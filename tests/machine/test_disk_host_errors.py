"""A host that has no room, or cannot read: the guest's error, and one line for its user."""

import os
import subprocess
import sys
from errno import EFBIG, EIO, ENOSPC

import pytest

from auberge.api.disks import Disks, complaint, split_options
from auberge.machine.disk import open_disk
from auberge.machine.virtio.block import Block, Counts
from tests.image.disks import make
from tests.machine.devices.driver import EVENT_IDX, Driver
from tests.machine.devices.test_virtio_block import FLUSH, IN, IOERR, OK, OUT, Bench
from tests.machine.test_disk import read

SIZE = 4 << 20
BLOCK = b"x" * 65536


@pytest.fixture
def small_host(tmp_path):
    """A folder on a file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        mounted = not subprocess.run(mount, capture_output=True).returncode
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mount(8) is for root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def device(disk, complain):
    """A block device over a real disk, with its driver."""
    bench = Bench()
    block = Block(disk, "", Counts(), lambda: 0, complain)
    bench.driver = Driver(block, features=EVENT_IDX)
    bench.ring = bench.driver.rings[0]
    return bench


def test_a_host_disk_that_fills_up(small_host):
    """What was there stays, what has no room is an error, and with room again all goes on."""
    path = small_host / "disk.img"
    path.touch()
    os.truncate(path, SIZE)
    disk, complaints = open_disk(str(path)), []
    guest = device(disk, complaints.append)
    statuses = [guest.do(OUT, 128 * n, payload=[BLOCK])[0] for n in range(24)]
    room = statuses.index(IOERR)
    assert room >= 12
    assert statuses == [OK] * room + [IOERR] * (24 - room)
    assert {(error.errno, error.filename) for error in complaints} == {(ENOSPC, f"{path}.overlay")}
    assert read(disk, 0, room * 65536) == BLOCK * room
    assert read(disk, SIZE - 65536, 65536) == bytes(65536)
    assert guest.do(FLUSH)[0] == OK
    disk.discard(0, 4 * 65536)
    assert guest.do(OUT, 128 * 30, payload=[BLOCK]) == (OK, b"", 1)
    assert guest.do(FLUSH)[0] == OK
    disk.close()
    again = open_disk(str(path))
    assert read(again, 4 * 65536, (room - 4) * 65536) == BLOCK * (room - 4)
    assert read(again, 30 * 65536, 65536) == BLOCK
    again.close()


LIMITED = """
import os, resource, sys
from auberge.api.disks import Disks
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
disks = Disks([sys.argv[1]])
disk = disks._opened[0]
for _ in range(2):
    try:
        disk.writev(2 << 20, [memoryview(bytes(512))])
    except OSError as error:
        disks._complain(error)
disk.writev(0, [memoryview(b"goes on")])
disk.flush()
"""


def test_a_limit_of_this_user_is_an_error_too(tmp_path):
    """setrlimit(2): a signal that would end a program that does not know of it."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(SIZE))
    open_disk(str(path)).close()  # or the overlay itself would have no room
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True
    )
    assert (told.returncode, told.stdout) == (0, "")
    assert told.stderr == (
        f"auberge: {path}.overlay: file too large; the guest has an error; make room there, or the "
        "guest will lose what it writes\n"
    )
    disk = open_disk(str(path))
    assert read(disk, 0, 7) == b"goes on"
    disk.close()


@pytest.mark.parametrize("name", ["raw", "v3.qcow2"])
def test_a_disk_that_cannot_be_read(tmp_path, name):
    """A file that someone cut while it was in use: an error there, and only there."""
    path = tmp_path / "disk.raw"
    if name == "raw":
        path.write_bytes(b"." * SIZE)
    else:
        path = make(tmp_path, name)
    disk, complaints = open_disk(str(path), "ro"), []
    guest = device(disk, complaints.append)
    assert guest.do(IN, 0, buffers=[512])[0] == OK
    os.truncate(path, 700_000 if name == "raw" else 300_000)
    last = disk.size // 512 - 1
    assert guest.do(IN, last, buffers=[512])[0] == IOERR
    assert [(error.errno, error.filename) for error in complaints] == [(EIO, str(path))]
    assert guest.do(IN, 0, buffers=[512])[0] == OK
    disk.close()


def test_a_machine_that_is_switched_off_keeps_what_was_written(tmp_path, capsys, monkeypatch):
    """Without a flush of the guest: what a disk has taken, it does not lose by being closed."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(SIZE))
    for data in (b"one", b"two"):
        disks = Disks([str(path)])
        disks._opened[0].writev(0, [memoryview(data)])
        disks.close()
        disks.close()
        disk = open_disk(str(path))
        assert read(disk, 0, 3) == data
        disk.close()
    disks = Disks([str(path)])
    before = len(os.listdir("/proc/self/fd"))

    def full(fd):
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)
    disks.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2
    assert capsys.readouterr().err.startswith(
        f"auberge: {path}.overlay: no space left on device; the guest has an error; "
    )


def test_a_file_and_a_reason_are_said_once(tmp_path, capsys):
    disks = Disks([])
    for _ in range(3):
        disks._complain(OSError(ENOSPC, os.strerror(ENOSPC), "/a.overlay"))
    disks._complain(OSError(EIO, os.strerror(EIO), "/a.overlay"))
    disks._complain(OSError(ENOSPC, os.strerror(ENOSPC), "/b.overlay"))
    told = capsys.readouterr().err.splitlines()
    room = "make room there, or the guest will lose what it writes"
    assert told == [
        f"auberge: /a.overlay: no space left on device; the guest has an error; {room}",
        "auberge: /a.overlay: input/output error; the guest has an error; "
        "check that file and the disk it is on",
        f"auberge: /b.overlay: no space left on device; the guest has an error; {room}",
    ]


def test_nobody_listening_is_no_surprise(monkeypatch):
    disks = Disks([])
    monkeypatch.setattr(sys, "stderr", None)
    disks._complain(OSError(EIO, "x"))
    closed = open(os.devnull, "w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    disks._complain(OSError(EFBIG, "y"))


def test_an_error_without_a_file_has_a_line_too():
    assert complaint(OSError(EIO, "Odd")) == (
        "disk: odd; the guest has an error; check that file and the disk it is on"
    )


def test_options_of_a_disk_in_any_order():
    assert split_options("a.img") == ("a.img", "overlay", None)
    assert split_options("a,b.img,ro") == ("a,b.img", "ro", None)
    assert split_options("a,format=raw,rw") == ("a", "rw", "raw")
    assert split_options("a,temporary,format=qcow2") == ("a", "temporary", "qcow2")
    assert split_options(",ro") == ("", "ro", None)
