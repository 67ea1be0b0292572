"""What somebody else has put where a user's networks are kept is not believed."""

import os
import subprocess
import sys

import pytest

from auberge.container import processes
from auberge.container.network import connect, disconnect_by_name
from auberge.refusal import Refusal
from tests.container.bundles import ROOT
from tests.user import USER

pytestmark = pytest.mark.skipif(not ROOT, reason="only root can give a folder away")


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A folder of a stranger's, which names a process of ours as a network's program."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "auberge/network"
    folder.mkdir(parents=True)
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = processes.start_time(victim.pid)
    (folder / "box").write_text(f"pasta {victim.pid} {started}\ncontainer 1 1\n")
    (tmp_path / "precious").write_text("precious")
    (folder / ".new.pid").symlink_to(tmp_path / "precious")
    for path in (folder.parent, folder):
        os.chown(path, USER, USER)
    yield victim
    victim.kill()
    victim.communicate()


def test_nothing_is_killed_for_it(planted):
    disconnect_by_name("user", "box")
    assert planted.poll() is None


def test_nothing_is_written_there(planted, tmp_path):
    with pytest.raises(Refusal) as refusal:
        connect("user", "new", os.getpid())
    assert str(refusal.value) == (
        f"{tmp_path}/auberge: not a folder of yours alone, and who can write there could pose as "
        "a guest; remove it, or chmod 700"
    )
    assert (tmp_path / "precious").read_text() == "precious"
    assert planted.poll() is None


def test_a_process_of_another_user_that_looks_like_one_of_ours(tmp_path, monkeypatch):
    """Only root may end it; nobody else is to be kept from removing a container by it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "auberge/network").mkdir(parents=True)
    (tmp_path / "auberge").chmod(0o700)
    words = ["pasta", "-c", "input()", f"{tmp_path}/auberge/network/.box.pid"]
    looks = subprocess.Popen(words, executable=sys.executable, stdin=subprocess.PIPE)

    def refused(*_):
        raise PermissionError(1, "operation not permitted")

    monkeypatch.setattr("auberge.container.network_user.signal.pidfd_send_signal", refused)
    disconnect_by_name("user", "box")
    assert looks.poll() is None
    looks.kill()
    looks.communicate()
