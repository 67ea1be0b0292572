"""What a bundle was found to mean is used again only if it is the very same, whole, and ours."""

import json
import os

import pytest

from auberge.cli.oci_about import template
from auberge.container import mold, stub
from auberge.container.cgroups import Cgroup
from auberge.container.prepare import Start, prepare
from auberge.container.talk import Descriptors

pytestmark = pytest.mark.skipif(
    os.uname().machine not in stub.SYSCALL, reason="the stub is for others"
)
HOW = Start(again=True)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    stub.code()  # compiled once, in the folder that all share
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(mold, "_molds", {})
    (tmp_path / "source").mkdir()
    config = template(rootless=False)
    config["process"]["terminal"] = False
    config["hostname"] = "a-host"
    bind = {"destination": "/b", "source": str(tmp_path / "source"), "options": ["bind"]}
    config["mounts"].append(bind)
    write(tmp_path, config)
    return tmp_path, config


def write(folder, config):
    (folder / "config.json").write_text(json.dumps(config))


def made(folder, name="box", how=HOW, descriptors=Descriptors()):  # noqa: B008
    """The program, and whether it was found on disk."""
    prepared = prepare(str(folder), name, how)
    casts = []
    cast = mold.cast
    mold._molds.clear()
    mold.cast = lambda *form: casts.append(form) or cast(*form)
    try:
        program = prepared.program(Cgroup(()), descriptors)
    finally:
        mold.cast = cast
    return prepared.config, program, not casts


def test_the_second_time_is_the_first(bundle):
    folder, _ = bundle
    config, first, found = made(folder)
    assert not found
    again, second, found = made(folder)
    assert found and again == config and second.image == first.image
    assert list(second.operations()) == list(first.operations())
    assert second.operation_of(0x600000) == first.operation_of(0x600000)


def test_another_name_has_a_keyring_of_its_own(bundle):
    folder, _ = bundle
    made(folder)
    _, program, found = made(folder, "another")
    assert found and b"_ses.another\0" in program.image and b"_ses.box\0" not in program.image


def test_what_is_run_otherwise_is_made_anew(bundle):
    folder, config = bundle
    made(folder)
    assert not made(folder, how=HOW._replace(pivot=False))[2]
    made(folder)
    assert not made(folder, descriptors=Descriptors(kept=1))[2]
    made(folder)
    config["hostname"] = "b-host"
    write(folder, config)
    read, program, found = made(folder)
    assert not found and read.hostname == "b-host" and b"b-host" in program.image
    assert not made(folder, how=Start())[2]


def test_what_the_plan_asked_for_is_asked_again(bundle):
    folder, _ = bundle
    made(folder)
    (folder / "source").rmdir()
    (folder / "source").write_text("a file now")
    assert not made(folder)[2]
    assert made(folder)[2]


def kept_file(folder):
    (name,) = [n for n in os.listdir(folder / "cache/code") if n.startswith("plan-")]
    return folder / "cache/code" / name


@pytest.mark.parametrize("at", [0, 9, 100, -1])
def test_a_damaged_file_is_ignored(bundle, at):
    folder, _ = bundle
    _, first, _ = made(folder)
    content = bytearray(kept_file(folder).read_bytes())
    content[at] ^= 1
    kept_file(folder).write_bytes(content)
    _, second, found = made(folder)
    assert not found and second.image == first.image
    assert made(folder)[2]


def test_a_file_that_others_can_write_is_ignored(bundle):
    folder, _ = bundle
    made(folder)
    kept_file(folder).chmod(0o666)
    assert not made(folder)[2]


def test_a_file_that_is_none_is_ignored(bundle):
    folder, _ = bundle
    made(folder)
    path = kept_file(folder)
    path.unlink()
    os.mkfifo(path, 0o600)
    assert not made(folder)[2]


def test_nodes_of_the_host_are_looked_for_each_time(bundle):
    folder, config = bundle
    config["linux"]["namespaces"].append({"type": "user"})
    one = [{"containerID": 0, "hostID": 0, "size": 1}]
    config["linux"] |= {"uidMappings": one, "gidMappings": one}
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/b"]
    write(folder, config)
    made(folder)
    assert not made(folder)[2]


def test_other_sources_of_ours_make_it_anew(bundle, monkeypatch):
    folder, _ = bundle
    made(folder)
    monkeypatch.setattr("auberge.container.kept._sources", lambda: 1)
    assert not made(folder)[2]
