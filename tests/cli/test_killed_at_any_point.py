"""`kill -9` during a boot, and first starts beside each other: nothing half-made is ever used."""

import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from auberge.engine import cache as code_cache
from auberge.engine.cache import Entry, folder, key, load
from auberge.image import store
from tests.cli.guests import hello, write_elf
from tests.command import AUBERGE

REPOSITORY = str(Path(__file__).parents[2])
ENTRY = Entry(bytes(range(256)) * 4096, {"run": 64}, ("pc", "priv"), {"priv": 3}, "rv64i")
BUILT = Entry(b"built", {}, (), {}, "rv64i")
BOOT = [*AUBERGE, "boot"]


def run_until_killed(script, *arguments):
    """Run a script that kills itself, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr.decode()


KEEP = """
    import os, signal, sys, tempfile
    from auberge.engine import cache, code_folder
    from tests.cli.test_killed_at_any_point import ENTRY

    where, step = sys.argv[1], int(sys.argv[2])
    path, data = os.path.join(where, f"interpreter-{cache.key()}"), cache.pack(ENTRY, cache.key())
    steps = 0

    def dying(function):
        def call(*arguments, **options):
            global steps
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
            return function(*arguments, **options)
        return call

    class Dying:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            dying(self.file.close)()

        def write(self, data):
            for start in range(0, len(data), 1 << 18):
                self.file.write(data[start : start + (1 << 18)])
                self.file.flush()
                dying(len)("")

    tempfile.mkstemp = dying(tempfile.mkstemp)
    code_folder.open = dying(lambda *arguments: Dying(open(*arguments)))
    os.rename = dying(os.rename)
    cache.keep(path, data)
    assert steps == step, steps
    os.kill(os.getpid(), signal.SIGKILL)
"""
STEPS = 9  # mkstemp, open, 5 pieces, close, rename; then it is whole


@pytest.mark.slow
@pytest.mark.parametrize("step", range(STEPS + 1))
def test_an_entry_of_the_cache_is_whole_or_not_there(cache, monkeypatch, step):
    """Killed before each step of keeping what was compiled."""
    run_until_killed(KEEP, folder(), str(step))
    built = []
    monkeypatch.setattr(code_cache, "_build", lambda *a: built.append(a) or BUILT)
    assert load() == (ENTRY if step == STEPS else BUILT)
    assert len(built) == (step < STEPS)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_boot_killed_at_random_while_it_compiles(cache, tmp_path):
    """And while it maps, loads, boots; the boots after it find a whole entry, or make one."""
    kernel = write_elf(tmp_path / "kernel", hello())
    r = random.Random(1)
    for _ in range(2):
        boot = subprocess.Popen([*BOOT, "--kernel", kernel], stdout=subprocess.DEVNULL)
        try:
            boot.wait(r.random() * 4)
        except subprocess.TimeoutExpired:
            boot.kill()
            boot.wait()
        for path in Path(folder()).glob("interpreter-*"):
            assert code_cache.unpack(path.read_bytes(), key()) is not None
    done = subprocess.run([*BOOT, "--kernel", kernel], capture_output=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_first_starts_beside_each_other(cache, tmp_path):
    kernel = write_elf(tmp_path / "kernel", hello())
    boots = [
        subprocess.Popen([*BOOT, "--kernel", kernel], stdout=subprocess.PIPE) for _ in range(2)
    ]
    assert [(boot.communicate(timeout=150)[0], boot.returncode) for boot in boots] == [
        (b"hello\n", 0)
    ] * 2
    names = {path.name for path in Path(folder()).iterdir()}
    assert names == {f"interpreter-{key()}", f"regions-{key()}"}


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_image_is_looked_up_and_booted_by_those_who_are_killed(tmp_path):
    """Killed at random; the image is what it was, byte for byte, and boots."""
    image = store.find("tiny", "riscv64")
    if image is None:
        pytest.skip("no image tiny here; `auberge image build tiny`")
    store.verify(image)
    r = random.Random(2)
    for _ in range(4):
        boot = subprocess.Popen(
            [*BOOT, "tiny"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            boot.wait(0.05 + r.random() * 1.5)
        except subprocess.TimeoutExpired:
            pass
        boot.kill()
        boot.wait()
    store.verify(image)
    assert sorted(os.listdir(image.directory)) == ["Image", "initrd", "manifest.json"]
    command = [*BOOT, "tiny", "--append", "auberge.report"]
    done = subprocess.run(command, capture_output=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, b"")
