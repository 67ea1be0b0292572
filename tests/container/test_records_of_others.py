"""A record is about a container's own processes, and there is none of what nobody could use."""

import json
import os
import subprocess
import sys

import pytest

from auberge.container import processes
from auberge.container.record import CgroupPlace, Folder, Record, ResctrlPlace
from auberge.container.runtime import Container
from auberge.refusal import Refusal

pytestmark = pytest.mark.slow


@pytest.fixture
def stranger():
    """A process that has nothing to do with containers."""
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield made
    made.kill()
    made.communicate()


def changed(bundle, **values):
    """Write something else into a container's record."""
    path = bundle.state / bundle.name / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_nobody_else_reads_its_variables(bundle):
    bundle.process["env"].append("SECRET=x")
    bundle.create("ours", "sleep 100")
    folder = bundle.state / bundle.name
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"state.json": 0o600, "config.json": 0o600, "start.fifo": 0o600}


def test_numbers_and_times_of_another_start_of_the_host(bundle, stranger):
    bundle.create("ours", "sleep 100")
    changed(bundle, pid=stranger.pid, start_time=processes.start_time(stranger.pid))
    assert bundle.status("ours") == "created"
    changed(bundle, boot="01234567-89ab-cdef-0123-456789abcdef")
    assert bundle.status("ours") == "stopped"
    assert bundle.call("ours", "kill", bundle.name, "KILL").returncode == 1
    assert bundle.call("ours", "delete", "--force", bundle.name).returncode == 0
    assert stranger.poll() is None


def test_all_of_a_container_without_cgroups_is_its_first_process(bundle):
    bundle.create("ours", "sleep 100")
    bundle.call("ours", "start", bundle.name)
    path = bundle.state / bundle.name / "state.json"
    places = json.loads(path.read_text())["cgroups"]
    changed(bundle, cgroups=[])
    pid = json.loads(path.read_text())["pid"]
    started = processes.start_time(pid)
    assert bundle.call("ours", "kill", "--all", bundle.name, "KILL").returncode == 0
    assert processes.wait_gone(pid, started, 10)
    changed(bundle, cgroups=places)


@pytest.mark.parametrize("words", [["create"], ["run"], ["run", "--detach"]])
def test_a_pid_file_that_cannot_be_written_leaves_no_container(bundle, words):
    bundle.process["args"] = ["sleep", "100"]
    bundle.write()
    file = str(bundle.path / "nosuch/pid")
    options = ["--bundle", str(bundle.path), "--pid-file", file]
    with open(bundle.path / "output", "wb") as output:
        done = subprocess.run(
            bundle.command("ours", *words, *options, bundle.name),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert bundle.call("ours", "list", "-q").stdout == ""
    assert "no such file or directory" in (bundle.path / "output").read_text()


def test_nor_one_more_process(bundle):
    bundle.create("ours", "sleep 100")
    bundle.call("ours", "start", bundle.name)
    file = str(bundle.path / "nosuch/pid")
    words = ("exec", "--detach", "--pid-file", file, bundle.name, "sleep", "100")
    assert bundle.call("ours", *words).returncode == 1
    assert len(json.loads(bundle.call("ours", "ps", "-f", "json", bundle.name).stdout)) == 1


PLACE = CgroupPlace(1, ("c",), "m", "p")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": "7"}, {"pid": True}, {"pid": 1.5}, {"start_time": None}, {"is_created": 1},
        {"boot": 5}, {"unit": None}, {"annotations": []}, {"annotations": {"a": 1}}, {"more": 1},
        {"cgroups": 5}, {"cgroups": ["x"]}, {"cgroups": [{**PLACE._asdict(), "path": None}]},
        {"cgroups": [{**PLACE._asdict(), "controllers": [1]}]}, {"resctrl": []},
        {"resctrl": {"mount": 5, "group": ""}}, {"resctrl": {"mount": ""}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_record_is_refused(tmp_path, wrong):
    folder = Folder(str(tmp_path), "x")
    folder.create()
    path = tmp_path / "x" / "state.json"
    whole = Record("x", "/bundle", cgroups=(PLACE,), resctrl=ResctrlPlace("m", "g"))
    folder.save(whole)
    values = json.loads(path.read_text())
    assert Folder(str(tmp_path), "x").load() == whole
    path.write_text(json.dumps(values | wrong))
    with pytest.raises(Refusal) as refusal:
        folder.load()
    assert str(refusal.value) == f"{path}: damaged; delete it with --force"


def test_a_record_that_is_nested_too_deeply_is_deleted_with_force(tmp_path):
    container = Container(str(tmp_path), "x")
    container.folder.create()
    (tmp_path / "x" / "state.json").write_text("[" * 100_000)
    with pytest.raises(Refusal, match="delete it with --force$"):
        container.delete()
    container.delete(force=True)
    assert os.listdir(tmp_path) == []


def test_what_somebody_else_has_written_since_is_read(tmp_path):
    folder, other = Folder(str(tmp_path), "x"), Folder(str(tmp_path), "x")
    folder.create()
    first = Record("x", "/bundle", annotations={"a": "b"}, cgroups=(PLACE,))
    folder.save(first)
    assert folder.load() == first == other.load()
    other.save(first._replace(pid=7))
    assert folder.load() == first._replace(pid=7)
    (tmp_path / "x" / "state.json").write_text("{}")
    with pytest.raises(Refusal, match="of another version"):
        folder.load()
