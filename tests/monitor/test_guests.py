"""The guests' folder: names, ids, records that are damaged, and what kills leave."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading

import pytest

from auberge.monitor import guests, roster
from auberge.monitor.guests import EXITED, RUNNING, Folder, Process, Record, process
from auberge.monitor.names import KEEPER, check_name, listen, socket_path
from auberge.monitor.options import Options
from auberge.monitor.supervisor import new_record
from auberge.refusal import Refusal


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "cache/guests"


def record(name="web", **more):
    base = Record(guests.fresh_id(), name, "container", "debian:amd64", ("sleep", "9"))
    return base._replace(**more)


def names():
    return [folder.name for folder in guests.folders()]


def test_a_record_comes_back_as_it_was(home):
    whole = record(
        labels={"a": "b=ü"}, ports=("8080:80",), created=guests.now(), status=EXITED, exit_code=137,
        oom_killed=True, error="why", process=process(os.getpid()), terminal=True,
        supervisor=Process(1, 2, "x"), options={"any": [1, {"thing": None}]},
    )  # fmt: skip
    folder = guests.create(whole)
    assert folder.load() == whole
    assert json.loads((home / "web/guest.json").read_text())["format"] == 1
    assert os.stat(home).st_mode & 0o7777 == os.stat(folder.path).st_mode & 0o7777 == 0o700
    assert guests.find("web").load() == guests.find(whole.id[:5]).load() == whole
    folder.remove()
    folder.remove()
    assert names() == os.listdir(home) == []


def test_a_name_is_one_guests(home):
    guests.create(record())
    line = "web: a guest has that name; remove it with `auberge rm web`, or choose another"
    with pytest.raises(Refusal) as refusal:
        guests.create(record())
    assert str(refusal.value) == line
    with listen("machine"), pytest.raises(Refusal, match="^machine: a guest has that name;"):
        guests.create(record("machine"))
    assert os.listdir(home) == ["web"]


def test_of_many_that_want_a_name_at_once_one_gets_it(home):
    got = []

    def want():
        try:
            got.append(guests.create(record()).load().id)
        except Refusal:
            pass

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [guests.find("web").load().id]
    assert os.listdir(home) == ["web"]


@pytest.mark.parametrize("word", ["", ".", "..", "a/b", "/etc", ".new-1", "none", "0", "a\0b"])
def test_what_names_no_guest(word):
    guests.create(record(id="f" * 64))
    with pytest.raises(Refusal) as refusal:
        guests.find(word)
    assert str(refusal.value) == f"{word}: no such guest; see `auberge ps --all`"


def test_a_name_comes_before_an_id_and_ids_must_be_told_apart():
    guests.create(record("abc", id="1" * 64))
    guests.create(record("one", id="abc" + "0" * 61))
    guests.create(record("two", id="abd" + "0" * 61))
    assert guests.find("abc").name == "abc"
    assert guests.find("abc0").name == "one"
    with pytest.raises(Refusal) as refusal:
        guests.find("ab")
    assert str(refusal.value) == "ab: the ids of several guests begin so: one, two; write more"


GOOD = record()
FIELDS = {**GOOD._asdict(), "format": 1, "process": GOOD.process._asdict()}
FIELDS["supervisor"] = FIELDS["process"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (b" " * (1 << 21), "not an object"),
        (b"{}", "of another version of Auberge"),
        (b'{"format": 1}', "its fields are not those of a guest"),
        ({**FIELDS, "more": 1}, "its fields are not those of a guest"),
        ({**FIELDS, "name": "else"}, "the record of 'else'"),
        ({**FIELDS, "id": "../x"}, "id is not what it should be"),
        ({**FIELDS, "command": "ls"}, "command is not what it should be"),
        ({**FIELDS, "command": [1]}, "command is not what it should be"),
        ({**FIELDS, "labels": {"a": 1}}, "labels is not what it should be"),
        ({**FIELDS, "status": "flying"}, "status is not what it should be"),
        ({**FIELDS, "exit_code": "0"}, "exit_code is not what it should be"),
        ({**FIELDS, "terminal": 1}, "terminal is not what it should be"),
        ({**FIELDS, "process": {"pid": -1, "ticks": 0, "boot": ""}},
         "process is not what it should be"),
        ({**FIELDS, "process": {"pid": 1 << 99, "ticks": 0, "boot": ""}},
         "process is not what it should be"),
        ({**FIELDS, "supervisor": {"pid": 1}}, "supervisor is not what it should be"),
        ({**FIELDS, "options": []}, "options is not what it should be"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(home, content, why):
    folder = guests.create(record())
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (home / "web/guest.json").write_bytes(data)
    with pytest.raises(Refusal) as refusal:
        folder.load()
    line = f"{home}/web/guest.json: {why}; remove it with `auberge rm -f web`"
    assert str(refusal.value) == line


def test_who_lives():
    us = process(os.getpid())
    assert us.lives and not Process().lives
    assert not us._replace(ticks=us.ticks + 1).lives, "another of that number"
    assert not us._replace(boot="before the host was started").lives
    gone = subprocess.Popen([sys.executable, "-c", ""])
    was = process(gone.pid)
    gone.wait()
    assert not was.lives
    assert record(status=RUNNING, process=was, supervisor=us).lives
    assert record(status=RUNNING, process=us, supervisor=was).lives
    assert not record(status=RUNNING, process=was, supervisor=was).lives
    assert not record(status=EXITED, process=us, supervisor=us).lives


def hold_still(place, ready):
    os.mkdir(os.path.join(place, guests._temporary(guests.NEW)))
    ready.set()
    threading.Event().wait()


def test_what_kills_leave_is_swept_and_what_others_make_is_not(home):
    guests.root()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold_still, args=(str(home), ready))
    other.start()
    try:
        assert ready.wait(60)
        for name in (".new-1-2-3", ".gone-0-0-0", ".gone-what"):
            (home / name / "root").mkdir(parents=True)
        folder = guests.create(record())
        assert len(os.listdir(home)) == 2 and names() == ["web"]
    finally:
        other.kill()
        other.join()
    folder.remove()
    guests.create(record())
    assert os.listdir(home) == ["web"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_what_is_mounted_in_a_folder_is_not_removed_with_it(home, tmp_path):
    folder = guests.create(record())
    precious = tmp_path / "precious things"
    precious.mkdir()
    (precious / "file").write_text("x")
    inside = home / "web/root"
    inside.mkdir()
    subprocess.run(["mount", "--bind", precious, inside], check=True)
    try:
        with pytest.raises(Refusal) as refusal:
            folder.remove()
        assert str(refusal.value) == f"{inside}: still mounted; umount it first, then try again"
    finally:
        subprocess.run(["umount", inside], check=True)
    folder.remove()
    assert (precious / "file").exists() and names() == []


def test_a_folder_of_guests_that_others_can_use(home):
    guests.root()
    home.chmod(0o755)
    with pytest.raises(Refusal) as refusal:
        guests.root()
    assert str(refusal.value) == (
        f"{home}: not a folder of yours alone, and who can write there could pose as a guest;"
        " remove it, or chmod 700"
    )


def test_fresh_names_are_names():
    for image in ("debian:amd64", "docker.io/library/x y:1", "///", "x" * 200):
        name = guests.fresh_name(image)
        assert Folder(name).name == check_name(name)


def test_a_socket_goes_with_a_guest_whose_supervisor_was_killed_as_it_began():
    """It listened, and its record still has who started it for its supervisor: us."""
    options = Options(guests.fresh_id(), "debian:amd64", name="web", isolation="container")
    folder = guests.create(new_record(options))
    listen("web", KEEPER).close()
    assert os.path.exists(socket_path("web", KEEPER))
    roster.remove(folder)
    assert not os.path.exists(socket_path("web", KEEPER)) and not os.path.exists(folder.path)


def test_a_guest_whose_supervisor_has_yet_to_see_that_it_was_removed_is_none():
    """Its name is free when that has ended, and nobody takes it for a machine of `auberge boot`."""
    folder = guests.create(record())
    with listen("web", KEEPER):
        folder.remove()
        for find in (roster.find, roster.kept):
            with pytest.raises(Refusal) as refusal:
                find("web")
            assert str(refusal.value) == "web: no such guest; see `auberge ps --all`"
        assert roster.all_guests() == []
        with pytest.raises(Refusal, match="^web: a guest has that name;"):
            guests.create(record())
        with pytest.raises(Refusal, match="^web: a guest of that name runs already;"):
            listen("web")
    with listen("web"):
        assert roster.all_guests() == [roster.find("web")] and roster.find("web").is_machine
