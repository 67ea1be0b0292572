"""The cache of generated code: private, verified at each load, rebuilt where anything is wrong."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from auberge.engine import cache as code_cache
from auberge.engine.cache import Entry, folder, key, load, pack, unpack
from auberge.refusal import Refusal

ENTRY = Entry(bytes(range(256)) * 8, {"run": 64}, ("pc", "priv"), {"priv": 3}, "rv64i")
BUILT = Entry(b"built", {}, (), {}, "rv64i")


@pytest.fixture
def builds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty cache, and a compiler that only writes down that it was asked."""
    asked: list[str] = []

    def build(path: str, key: str) -> Entry:
        asked.append(path)
        return BUILT

    monkeypatch.setattr(code_cache, "_build", build)
    return asked


def stored() -> Path:
    """A good entry, on disk."""
    path = Path(folder()) / f"interpreter-{key()}"
    path.write_bytes(pack(ENTRY, key()))
    path.chmod(0o600)
    return path


def test_what_is_packed_unpacks() -> None:
    assert unpack(pack(ENTRY, "k"), "k") == ENTRY


def test_a_good_entry_is_loaded(builds: list[str]) -> None:
    stored()
    assert (load(), builds) == (ENTRY, [])


def test_no_entry_is_built(builds: list[str]) -> None:
    assert load() == BUILT
    assert [Path(path).parent for path in builds] == [Path(folder())]


def test_every_damaged_byte_is_noticed() -> None:
    good = pack(ENTRY, "k")
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        assert unpack(bytes(bad), "k") is None, f"byte {at}"


def test_every_truncation_is_noticed() -> None:
    good = pack(ENTRY, "k")
    assert all(unpack(good[:size], "k") is None for size in range(len(good)))
    assert unpack(good + b"\0", "k") is None


def test_an_entry_for_something_else(builds: list[str]) -> None:
    stored().write_bytes(pack(ENTRY, "another key"))
    assert load() == BUILT


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_entry_that_others_may_write(builds: list[str], mode: int) -> None:
    stored().chmod(mode)
    assert load() == BUILT


def test_an_entry_that_is_a_symbolic_link(builds: list[str], tmp_path: Path) -> None:
    path = stored()
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert load() == BUILT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_entry_of_another_user(builds: list[str]) -> None:
    os.chown(stored(), 12345, 12345)
    assert load() == BUILT


def test_an_entry_that_is_a_folder(builds: list[str]) -> None:
    (Path(folder()) / f"interpreter-{key()}").mkdir()
    assert load() == BUILT


def test_an_entry_that_is_a_pipe(builds: list[str]) -> None:
    os.mkfifo(Path(folder()) / f"interpreter-{key()}", 0o600)
    assert load() == BUILT


def test_a_folder_that_others_may_write(cache: Path) -> None:
    path = folder()
    os.chmod(path, 0o770)
    with pytest.raises(Refusal) as refused:
        folder()
    assert str(refused.value) == (
        f"{path}: others may write there; generated code is executed, so it must be a "
        "folder of yours alone (chmod 700)"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user(cache: Path) -> None:
    path = folder()
    os.chown(path, 12345, 12345)
    with pytest.raises(Refusal) as refused:
        folder()
    assert str(refused.value) == (
        f"{path}: it belongs to another user; generated code is executed, so set "
        "AUBERGE_CACHE_DIR to a folder of yours"
    )


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_a_folder_that_others_may_read_is_made_private(cache: Path, mode: int) -> None:
    path = folder()
    os.chmod(path, mode)
    assert folder() == path
    assert os.stat(path).st_mode & 0o777 == 0o700


def test_using_an_entry_is_noted_in_its_time(builds: list[str]) -> None:
    path = stored()
    os.utime(path, (0, 0))
    assert load() == ENTRY
    assert path.stat().st_mtime > 1_000_000_000


def test_a_new_entry_has_the_folder_tidied(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(folder()) / "tmpold"
    old.write_bytes(b"half of it")
    os.utime(old, (0, 0))
    compiling(tmp_path, monkeypatch)
    assert load() == ENTRY
    assert [path.name for path in Path(folder()).iterdir()] == [f"interpreter-{key()}"]


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(Refusal) as refused:
        folder()
    assert str(refused.value) == (
        f"{tmp_path}/file/code: not a directory; set AUBERGE_CACHE_DIR to a folder of yours"
    )


def test_the_folder_is_private(cache: Path) -> None:
    assert os.stat(folder()).st_mode & 0o777 == 0o700


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUBERGE_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == f"{tmp_path}/auberge/code"


def test_the_key_is_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any change of any byte of what the code is made from is another key."""
    before = key()
    assert key() == before
    root = tmp_path / "auberge"
    for room in code_cache.ROOMS:
        (root / room).mkdir(parents=True, exist_ok=True)
    source = root / "isa" / "one.py"
    source.write_text("one")
    monkeypatch.setattr(code_cache, "__file__", str(root / "engine" / "cache.py"))
    one = key()
    source.write_text("two")
    assert len({before, one, key()}) == 3


# -- the compiler, which takes its time ---------------------------------------------------------
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("echo first >&2; echo LLVM ERROR: alas >&2; exit 3", 3, "LLVM ERROR: alas"),
        ("kill -9 $$", -9, "it said nothing"),
        ("echo nonsense", 0, "it said nothing"),
    ],
)
def test_a_compiler_that_fails(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    status: int,
    said: str,
) -> None:
    failing(tmp_path, monkeypatch, script)
    with pytest.raises(Refusal) as refused:
        load()
    assert str(refused.value) == (
        f"compiler: it ended with status {status} ({said}); use --engine reference, or report this"
    )
    assert list(Path(folder()).iterdir()) == []


def compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result").write_bytes(pack(ENTRY, key()))
    failing(tmp_path, monkeypatch, f"cat {tmp_path}/result")


def test_what_was_compiled_is_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling(tmp_path, monkeypatch)
    assert load() == ENTRY
    (tmp_path / "result").unlink()
    assert load() == ENTRY
    (entry,) = Path(folder()).iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_kept_is_used_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling(tmp_path, monkeypatch)
    (Path(folder()) / f"interpreter-{key()}").mkdir()
    assert load() == ENTRY
    assert len(list(Path(folder()).iterdir())) == 1


@pytest.mark.slow
def test_two_builders_at_once(cache: Path) -> None:
    """Both have a whole entry, one stays, and nothing else is left behind."""
    entries: list[Entry] = []
    threads = [threading.Thread(target=lambda: entries.append(load())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entries == [load()] * 2
    assert [path.name for path in Path(folder()).iterdir()] == [f"interpreter-{key()}"]


def test_a_folder_that_cannot_be_written_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is mounted to be read alone, as root is not bound by permissions."""
    where = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(where))
    stored()
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec",
         'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"', "sh", where,
         sys.executable, "-c", READS],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this host lets nobody mount: {done.stderr.strip()}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "rv64i\n", "")


READS = """
import os, tempfile
from auberge.engine.cache import folder, load
try:
    tempfile.mkstemp(dir=folder())
except OSError:
    print(load().isa_string)
"""
