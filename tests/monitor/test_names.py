"""Names of guests: a private folder, one guest a name, and what a killed one leaves behind."""

import contextlib
import os
import socket

import pytest

from auberge.monitor.names import folder, is_alive, leave, listen, running, socket_path
from auberge.refusal import Refusal


@pytest.fixture(autouse=True)
def run_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_the_folder_is_ours_alone(run_time):
    assert folder() == str(run_time / "auberge")
    assert os.stat(folder()).st_mode & 0o7777 == 0o700


def test_without_a_run_time_folder_it_is_in_tmp(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert folder() == f"/tmp/auberge-{os.geteuid()}"
    assert os.stat(folder()).st_mode & 0o7777 == 0o700


def refused(path):
    with pytest.raises(Refusal) as refusal:
        listen("web")
    line = (
        f"{path}: not a folder of yours alone, and who can write there could pose as a guest;"
        " remove it, or chmod 700"
    )
    assert str(refusal.value) == line


def test_a_folder_that_others_can_use(run_time):
    (run_time / "auberge").mkdir(mode=0o700)
    for mode in (0o755, 0o770, 0o701):
        os.chmod(run_time / "auberge", mode)
        refused(run_time / "auberge")


def test_a_folder_that_is_none(run_time):
    (run_time / "elsewhere").mkdir(mode=0o700)
    (run_time / "auberge").symlink_to(run_time / "elsewhere")
    refused(run_time / "auberge")
    (run_time / "auberge").unlink()
    (run_time / "auberge").write_text("")
    refused(run_time / "auberge")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(run_time):
    (run_time / "auberge").mkdir(mode=0o700)
    os.chown(run_time / "auberge", 65534, -1)
    refused(run_time / "auberge")


def test_a_run_time_folder_that_is_not_there(run_time, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run_time / "none"))
    with pytest.raises(Refusal) as refusal:
        folder()
    assert str(refusal.value) == (
        f"{run_time}/none/auberge: no such file or directory;"
        " set XDG_RUNTIME_DIR to a folder of yours"
    )


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "../a", "-a", "a b", "a\n", "a\0", "é", "x" * 64, "\udc80"]
)
def test_what_is_no_name(name):
    with pytest.raises(Refusal) as refusal:
        socket_path(name)
    line = f"{name!r}: not a name; write letters, digits, '_', '.' and '-', at most 63"
    assert str(refusal.value) == line


def test_a_path_too_long_for_a_socket(run_time, monkeypatch):
    long = run_time / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(Refusal) as refusal:
        listen("web")
    assert str(refusal.value) == (
        f"{long}/auberge/web.control: too long for a socket; set XDG_RUNTIME_DIR to a shorter path"
    )


def test_one_guest_a_name():
    with listen("web"), listen("web.2"):
        assert running() == ["web", "web.2"]
        with pytest.raises(Refusal) as refusal:
            listen("web")
        assert str(refusal.value) == ("web: a guest of that name runs already; choose another name")
    leave("web")
    leave("web")
    assert not os.path.exists(socket_path("web"))


def test_a_name_that_a_killed_guest_had():
    listen("web").close()
    assert os.path.exists(socket_path("web"))
    assert running() == []
    with listen("web"), socket.socket(socket.AF_UNIX) as client:
        client.connect(socket_path("web"))


@pytest.mark.timeout(20)
def test_who_is_too_busy_to_answer_is_alive(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
        assert is_alive(path)
    assert not is_alive(path)
