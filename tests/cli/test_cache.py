"""`auberge cache`: what generated code takes up, and its removal."""

import json

import pytest

from auberge.cli.main import main


@pytest.fixture
def entry(cache):
    """A folder of generated code with one entry of 1000 bytes."""
    folder = cache / "code"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "interpreter-x").write_bytes(bytes(1000))
    return folder / "interpreter-x"


def test_it_lists(capsys, entry):
    assert main(["cache"]) == 0
    text = f"      1000 interpreter-x\n      1000 bytes in {entry.parent}\n"
    assert capsys.readouterr() == (text, "")


def test_it_lists_as_json(capsys, entry):
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(entry.parent),
        "entries": {"interpreter-x": 1000},
        "bytes": 1000,
    }


def test_it_clears(capsys, entry):
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr() == (f"      1000 freed in {entry.parent}\n", "")
    assert not list(entry.parent.iterdir())


def test_a_folder_that_others_may_write_is_refused(capsys, entry):
    entry.parent.chmod(0o777)
    line = (
        f"auberge: {entry.parent}: others may write there; generated code is executed, "
        "so it must be a folder of yours alone (chmod 700)\n"
    )
    assert main(["cache"]) == 125
    assert capsys.readouterr() == ("", line)
