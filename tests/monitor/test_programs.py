"""The folder of programs' guests: what somebody else has put there is not believed."""

import json
import os
import subprocess
import sys

import pytest

from auberge.container import processes
from auberge.container.record import Record
from auberge.monitor import programs
from auberge.refusal import Refusal
from tests.user import USER


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_others(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path))
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        guest = "a" * 64
        folder = tmp_path / "programs/1-1" / guest / "runtime" / guest
        folder.mkdir(parents=True)
        record = Record(guest, "", "", victim.pid, processes.start_time(victim.pid))
        (folder / "state.json").write_text(json.dumps(record._asdict() | {"format": 1}))
        os.chown(tmp_path / "programs", USER, USER)
        with pytest.raises(Refusal) as refusal:
            programs.folder("b" * 64)
        assert str(refusal.value) == (
            f"{tmp_path}/programs: not a folder of yours alone, and who can write there could pose "
            "as a guest; remove it, or chmod 700"
        )
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.communicate()


def test_a_folder_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path))
    folder = programs.folder("b" * 64)
    assert os.listdir(tmp_path / "programs") == [os.path.basename(os.path.dirname(folder))]
    programs._leave(os.path.dirname(folder), os.getpid())
    assert os.listdir(tmp_path / "programs") == []
