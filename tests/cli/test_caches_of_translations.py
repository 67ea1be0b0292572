"""Kernels boot with a cache that is cold, warm, damaged, another's, or written by two at once."""

import os
import random
import shutil
import threading
from pathlib import Path

import pytest

from tests.cli.homes import ROUNDS, Home, ended, hot, need_tiny, reported, warmed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
REGIONS, LOADED = "regions compiled", "regions from the cache"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which a kernel has been booted."""
    need_tiny()
    home = Home(tmp_path_factory.mktemp("home") / "warm")
    reported(home.linux())
    assert home.regions.stat().st_size > 10_000
    return home


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which the hot guest ran."""
    return warmed(tmp_path_factory.mktemp("home") / "small")


def test_with_icount_the_cache_cannot_be_seen(warm: Home, tmp_path: Path) -> None:
    """Console, its timestamps and the instructions are those of the interpreter."""
    plain = warm.linux("--icount", engine="interpreter")
    reported(plain)
    cold = Home(tmp_path / "cold")
    for home in (cold, cold, warm):
        how = home.linux("--icount")
        assert how.console == plain.console
        assert how.counted("instructions") == plain.counted("instructions")
    assert how.counted(LOADED) > 10


def test_a_second_boot_uses_what_the_first_compiled(warm: Home, tmp_path: Path) -> None:
    home = warm.copy(tmp_path / "home")
    how = home.linux("--cpus", 2)
    reported(how)
    assert how.counted(LOADED) > 10


@pytest.mark.parametrize("seed", range(2))
def test_a_kernel_boots_with_flipped_bytes(warm: Home, tmp_path: Path, seed: int) -> None:
    home, r = warm.copy(tmp_path / "home"), random.Random(seed)
    whole = bytearray(home.regions.read_bytes())
    for _ in range((30, 3000)[seed]):
        whole[r.randrange(len(whole))] ^= 1 << r.randrange(8)
    home.regions.write_bytes(whole)
    reported(home.linux())


def test_a_kernel_boots_with_a_file_cut_short(warm: Home, tmp_path: Path) -> None:
    home = warm.copy(tmp_path / "home")
    os.truncate(home.regions, home.regions.stat().st_size * 2 // 3 + 1)
    reported(home.linux())


def test_a_kernel_boots_while_its_file_is_cut_again_and_again(warm: Home, tmp_path: Path) -> None:
    home, over, r = warm.copy(tmp_path / "home"), threading.Event(), random.Random(1)
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        while not over.wait(r.random() * 0.1):
            os.truncate(home.regions, int(home.regions.stat().st_size * r.random() * 1.2))
            cuts += 1

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        reported(home.linux())
    finally:
        over.set()
        thread.join()
    assert cuts > 5


def test_two_boots_write_one_file(warm: Home, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    words = ("tiny", "--append", "auberge.report", "--engine", "translator")
    for process in [home.start(*words) for _ in range(2)]:
        reported(ended(process))
    how = home.linux()
    reported(how)
    assert how.counted(LOADED) > 10


def test_each_flipped_byte_of_a_small_file(small: Home, tmp_path: Path) -> None:
    """Of header, digest, sizes, checksum and code: the guest does the same with or without it."""
    home, whole = small.copy(tmp_path / "home"), small.regions.read_bytes()
    for at in (0, 5, 21, 23, 25, 29, 33, 60, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 0x41
        home.regions.write_bytes(changed)
        how = home.boot("--kernel", hot(tmp_path, 200))
        assert (how.status, how.console) == (0, "." * 200), at


@pytest.mark.parametrize("what", ["of another version", "writable by all", "a link", "a folder"])
def test_a_foreign_file_is_not_used(small: Home, tmp_path: Path, what: str) -> None:
    home = small.copy(tmp_path / "home")
    assert home.boot("--kernel", hot(tmp_path, 200)).counted(LOADED) > 0
    match what:
        case "of another version":
            home.regions.rename(home.code / "regions-0123456789abcdef012345")
        case "writable by all":
            home.regions.chmod(0o666)
        case "a link":
            moved = home.regions.rename(tmp_path / "elsewhere")
            home.regions.symlink_to(moved)
        case _:
            home.regions.unlink()
            home.regions.mkdir()
    how = home.boot("--kernel", hot(tmp_path, 200))
    assert (how.status, how.console, how.counted(LOADED)) == (0, "." * 200, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_used(small: Home, tmp_path: Path) -> None:
    home = small.copy(tmp_path / "home")
    os.chown(home.regions, 65534, -1)
    how = home.boot("--kernel", hot(tmp_path, 200))
    assert (how.status, how.console, how.counted(LOADED)) == (0, "." * 200, 0)


def test_a_home_without_its_folder_of_code(small: Home, tmp_path: Path) -> None:
    """Somebody clears the cache while the guest runs."""
    home = small.copy(tmp_path / "home")
    process = home.start("--kernel", hot(tmp_path), "--engine", "translator")
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1) == b"."
    shutil.rmtree(home.code)
    how = ended(process)
    assert (how.status, how.console) == (0, "." * (ROUNDS - 1))
