"""kill -9 while a guest writes: an overlay that opens again, with everything that was flushed."""

import os
import random
import signal
import struct
import subprocess
import sys

import pytest

from auberge.machine import host_file, overlay
from auberge.machine.disk import open_disk
from auberge.machine.host_file import HostFile
from auberge.machine.overlay import DATA_ALIGNMENT, Overlay, file_size
from tests.machine.test_disk import read, write

SIZE = 6 << 20
SECTOR = 512

# Each write puts its number into every sector; after each flush, that number is told.
WRITER = """
import random, struct, sys
from auberge.machine.disk import open_disk
rolls = random.Random(int(sys.argv[2]))
disk = open_disk(sys.argv[1])
for number in range(1, 1 << 30):
    count = rolls.choice((1, 3, 8, 24, 200))
    first = rolls.randrange(disk.size // 512 - count)
    data = struct.pack("<Q", number).ljust(512, b"w") * count
    disk.writev(first * 512, [memoryview(data)])
    if not rolls.randrange(4):
        disk.flush()
        print(number, flush=True)
"""


def states(seed, flushed):
    """What each sector may be: its last number that was flushed, or any after it."""
    rolls = random.Random(seed)
    kept = [0] * (SIZE // SECTOR)
    later = {}
    number = 0
    while number < flushed + 2000:
        number += 1
        count = rolls.choice((1, 3, 8, 24, 200))
        first = rolls.randrange(SIZE // SECTOR - count)
        for sector in range(first, first + count):
            if number <= flushed:
                kept[sector] = number
            else:
                later.setdefault(sector, []).append(number)
        rolls.randrange(4)
    return kept, later


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_what_was_flushed_is_there_after_a_kill(tmp_path, seed):
    path = tmp_path / "disk.img"
    path.write_bytes(struct.pack("<Q", 0).ljust(SECTOR, b"w") * (SIZE // SECTOR))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(seed)], stdout=subprocess.PIPE, text=True
    )
    wanted = random.Random(seed).randrange(1, 300)
    for line in writer.stdout:
        if int(line) >= wanted:
            break
    writer.send_signal(signal.SIGKILL)  # at whatever it does now
    flushed = int((line + writer.stdout.read()).split()[-1])
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    kept, later = states(seed, flushed)
    disk = open_disk(str(path))
    data = read(disk, 0, SIZE)
    for sector, number in enumerate(kept):
        content = data[sector * SECTOR : (sector + 1) * SECTOR]
        found = struct.unpack_from("<Q", content)[0]
        assert content[8:] == b"w" * 504
        # A block that was never flushed reads as the disk below, or as it was written.
        assert found == number or found in later.get(sector, ()), (sector, found, number)
    disk.close()


@pytest.mark.parametrize("step", range(6))
def test_an_overlay_is_never_half_made(tmp_path, monkeypatch, step):
    """Killed after any of the steps of its making, the next start makes it again or goes on."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"base".ljust(SIZE, b"."))
    calls = []

    class Killed(BaseException):
        pass

    def killing(function):
        def call(*arguments):
            if len(calls) == step:
                raise Killed
            calls.append(function.__name__)
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("ftruncate", "pwrite", "fsync"):
            patch.setattr(overlay.os, name, killing(getattr(os, name)))
        try:
            open_disk(str(path)).close()
        except Killed:
            pass
    disk = open_disk(str(path))
    assert read(disk, 0, 4) == b"base"
    write(disk, 0, b"mine")
    disk.flush()
    disk.close()
    again = open_disk(str(path))
    assert read(again, 0, 5) == b"mine."
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_any_prefix_of_the_writes_of_a_flush_is_a_good_overlay(seed, monkeypatch):
    """A host that dies in the middle of a write, of data or of the map, at any sector of it."""
    rolls = random.Random(seed)
    base = os.memfd_create("base")
    os.pwrite(base, bytes(range(256)) * (SIZE // 256), 0)
    fd = os.memfd_create("over")
    os.ftruncate(fd, file_size(SIZE))
    log = []
    pwritev = os.pwritev

    def logging(fd, views, at):
        log.append((at, b"".join(views)))
        return pwritev(fd, views, at)

    monkeypatch.setattr(host_file.os, "pwritev", logging)
    disk = Overlay(HostFile(base, "base", SIZE, True), fd, "over")

    def write_somewhere():
        at = rolls.randrange(SIZE // 2 // SECTOR) * SECTOR
        write(disk, at, rolls.randbytes(SECTOR * rolls.choice((1, 9, 130))))
        return read(disk, 0, SIZE)

    for _ in range(5):
        write_somewhere()
    disk.flush()
    before = len(log)
    versions = [read(disk, 0, SIZE), bytes(range(256)) * (SIZE // 256)]
    versions += [write_somewhere() for _ in range(5)]
    disk.flush()
    monkeypatch.undo()
    for cut in range(before, len(log) + 1):
        torn = os.memfd_create("torn")
        os.ftruncate(torn, file_size(SIZE))
        for at, data in log[:cut]:
            os.pwrite(torn, data, at)
        if cut < len(log):
            at, data = log[cut]
            step = 1 if at < DATA_ALIGNMENT else SECTOR  # the map may be torn anywhere
            os.pwrite(torn, data[: rolls.randrange(len(data) // step) * step], at)
        again = Overlay(HostFile(os.dup(base), "base", SIZE, True), torn, "torn")
        found = read(again, 0, SIZE)
        again.close()
        if cut == len(log):
            assert found == versions[-1]
        for at in range(0, SIZE, SECTOR):
            part = slice(at, at + SECTOR)
            flushed = versions[0][part]
            # What was written since may be there; what was not is as it was flushed.
            assert found[part] == flushed or (
                flushed != versions[-1][part] and found[part] in [each[part] for each in versions]
            ), (cut, at)
    disk.close()
