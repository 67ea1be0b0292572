"""`auberge cache`: what generated code takes up, and its removal."""

import json
import os
import time

import pytest

from auberge.cli.main import main
from auberge.engine.cache import key
from auberge.engine.region_file import RegionFile
from tests.engine.kept import keep

USED = 1_700_000_000
WHEN = time.strftime("%Y-%m-%d %H:%M", time.localtime(USED))


@pytest.fixture
def folder(cache):
    """A folder of generated code with some entries, the later ones used longer ago."""
    where = cache / "code"
    where.mkdir(parents=True, mode=0o700)
    regions = RegionFile(str(where / f"regions-{key()}"))
    for entry in (0, 2, 4):
        keep(regions, entry, bytes(156))
    for name, size in (("interpreter-x", 1000), ("stub-x", 255), ("tmpabc", 10)):
        (where / name).write_bytes(bytes(size))
    (where / "folder").mkdir()
    for age, name in enumerate([f"regions-{key()}", "interpreter-x", "stub-x", "tmpabc"]):
        os.utime(where / name, (USED, USED - age / 8))
    return where


def size(folder):
    """Of the regions there."""
    return (folder / f"regions-{key()}").stat().st_size


def test_it_lists(capsys, folder):
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{size(folder):10} translations this   {WHEN}        3 regions  regions-{key()}",
        f"      1000 interpreter  other  {WHEN}                   interpreter-x",
        f"       255 stub         -      {WHEN}                   stub-x",
        f"        10 unfinished   -      {WHEN}                   tmpabc",
        f"{1265 + size(folder):10} bytes in {folder}",
    ]


def test_it_lists_as_json(capsys, folder):
    assert main(["cache", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["folder"], shown["bytes"]) == (str(folder), 1265 + size(folder))
    assert list(shown["entries"]) == [f"regions-{key()}", "interpreter-x", "stub-x", "tmpabc"]
    assert shown["entries"][f"regions-{key()}"] == {
        "kind": "translations",
        "bytes": size(folder),
        "used": USED,
        "version": "this",
        "regions": 3,
    }
    assert shown["entries"]["interpreter-x"] == {
        "kind": "interpreter",
        "bytes": 1000,
        "used": USED - 1,
        "version": "other",
    }


def test_looking_is_no_use(capsys, folder):
    assert main(["cache"]) == main(["cache"]) == 0
    assert os.stat(folder / f"regions-{key()}").st_mtime == USED


def test_it_clears(capsys, folder):
    total = 1265 + size(folder)
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr() == (f"{total:10} freed in {folder}\n", "")
    assert [path.name for path in folder.iterdir()] == ["folder"]
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"         0 bytes in {folder}\n"


def test_a_pipe_in_it_holds_up_nobody(capsys, folder):
    os.mkfifo(folder / "regions-pipe")
    assert main(["cache"]) == 0
    assert "0 regions  regions-pipe\n" in capsys.readouterr().out


def test_a_folder_that_others_may_write_is_refused(capsys, folder):
    folder.chmod(0o777)
    line = (
        f"auberge: {folder}: others may write there; generated code is executed, "
        "so it must be a folder of yours alone (chmod 700)\n"
    )
    assert main(["cache"]) == 125
    assert capsys.readouterr() == ("", line)
