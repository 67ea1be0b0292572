"""The store holds what is complete, whoever adds at once or is killed; what nobody needs goes."""

import json
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from auberge.image.oci import adding, content, removal
from auberge.image.oci.importer import import_image
from auberge.image.oci.inspection import verify
from auberge.image.oci.layer import Contents
from auberge.image.oci.names import existing, lookup
from auberge.refusal import Refusal
from tests.image.oci.archives import Layout, folder, member, sha256, tar_of

LAYERS = [
    tar_of([folder(f"{layer}"), *(member(f"{layer}/{number}", b"x" * 100) for number in range(60))])
    for layer in range(4)
]


def complete(record):
    """Whether all of an image is there; raises otherwise."""
    verify(record)
    for number, key in enumerate(record.layers):
        assert len(os.listdir(f"{content.layer(key)}/{number}")) == 60
        assert os.path.realpath(content.short(key)) == os.path.realpath(content.layer(key))


@pytest.fixture
def path(cache, tmp_path):
    return Layout().image(LAYERS).tar(tmp_path / "box.tar")


@pytest.mark.slow
def test_many_import_the_same_at_once(path):
    failures = []

    def work(name):
        try:
            import_image(path, name)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(f"box{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    records = content.records()
    assert len(records) == 8
    assert len({record.layers for record in records}) == 1
    complete(records[0])
    removal.clean()
    assert os.listdir(content.at("temporary")) == []


IMPORT = """
import sys
from auberge.image.oci.importer import import_image
sys.stdin.read(1)
import_image(sys.argv[1], "killed")
"""


@pytest.mark.slow
def test_killed_at_any_point(path):
    """A system call is the last it makes: each of the first ones, then some of the later."""
    random.seed(5)
    import_image(path, "other")
    removal.remove(content.find("other", "amd64"))
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", IMPORT, path], stdin=subprocess.PIPE)
        threading.Timer(random.uniform(0.05, 0.3), process.kill).start()
        process.communicate(b"x")
        assert process.returncode in (0, -signal.SIGKILL)
        for record in content.records():
            complete(record)
        if content.find("killed", "amd64") is not None:
            removal.remove(content.find("killed", "amd64"))
    (record,) = import_image(path, "whole")
    complete(record)
    assert os.listdir(content.at("temporary")) == []
    removal.remove(record)
    for name in ("layers", "short", "diffs", "blobs/sha256", "temporary", "images"):
        assert os.listdir(content.at(name)) == [], name


def stopped_at(monkeypatch, name, count):
    """Have a function of os raise in the place of a kill, when it is called for this time."""
    real = getattr(os, name)
    left = [count]

    def call(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, call)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rename", "replace", "symlink", "makedirs"])
def test_stopped_at_each_step_there_is_all_or_nothing(path, monkeypatch, name):
    for count in range(1, 30):
        with monkeypatch.context() as patch:
            stopped_at(patch, name, count)
            try:
                import_image(path)
            except KeyboardInterrupt:
                assert content.records() == []
                continue
        break
    assert count > 2
    (record,) = content.records()
    complete(record)
    removal.remove(record)
    assert os.listdir(content.at("layers")) == []


def test_what_others_need_stays(path, tmp_path):
    import_image(path)
    (other,) = import_image(Layout().image(LAYERS[:2], name="other").write(tmp_path / "o"))
    removal.remove(content.find("box", "amd64"))
    assert sorted(os.listdir(content.at("layers"))) == sorted(other.layers)
    complete(other)
    removal.remove(other)
    assert os.listdir(content.at("blobs/sha256")) == os.listdir(content.at("diffs")) == []
    with pytest.raises(Refusal) as refused:
        removal.remove(other)
    assert str(refused.value) == "other:amd64: no such image; see `auberge image ls`"


def test_a_name_may_be_given_anew(path, tmp_path):
    (old,) = import_image(path)
    (new,) = import_image(Layout().image(LAYERS[:1]).write(tmp_path / "o"))
    assert content.records() == [new]
    assert os.listdir(content.at("layers")) == list(new.layers)
    assert old.layers[0] == new.layers[0]


def test_short_names_that_begin_alike(cache):
    keys = ["a" * 64, "a" * 8 + "b" * 56]
    with adding.adding() as store:
        for key in keys:
            temporary = store.temporary()
            os.makedirs(f"{temporary}/fs")
            store.add_layer(temporary, key, Contents(0, (), (), {}, True, (), False))
    assert [len(os.path.basename(content.short(key))) for key in keys] == [8, 9]
    assert [os.path.realpath(content.short(key)) for key in keys] == [
        os.path.realpath(content.layer(key)) for key in keys
    ]


def test_nobody_else_comes_near_what_strangers_made(path):
    import_image(path)
    assert os.stat(content.directory()).st_mode & 0o777 == 0o700


DAMAGE = {
    "blob": lambda record: content.blob(record.blobs[0]),
    "manifest": lambda record: content.blob(record.manifest),
    "config": lambda record: content.blob(record.config),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(path, what):
    (record,) = import_image(path)
    victim = DAMAGE[what](record)
    with open(victim, "r+b") as file:
        file.write(b"damaged")
    with pytest.raises(Refusal) as refused:
        verify(record)
    again = "remove the image and import or build it again"
    assert str(refused.value) == f"box:amd64: {victim} is damaged; {again}"
    os.unlink(victim)
    with pytest.raises(Refusal) as refused:
        verify(record)
    assert str(refused.value).endswith(f"; {again}")


@pytest.mark.parametrize("text", ["", "[]", "[1,2]", '[0,"","",[],0,"",0]', "x"])
def test_a_damaged_layer_json_is_a_refusal(path, text):
    (record,) = import_image(path)
    where = content.at("layers", record.layers[0], "layer.json")
    with open(where, "w") as file:
        file.write(text)
    with pytest.raises(Refusal) as refused:
        verify(record)
    assert str(refused.value).startswith(f"{where}: damaged")


def test_a_record_that_leads_elsewhere_is_refused(path):
    import_image(path)
    where = content.at("images/box/amd64")
    with open(where) as file:
        found = json.load(file)
    found["layers"][0] = "../../../etc"
    with open(where, "w") as file:
        json.dump(found, file)
    with pytest.raises(Refusal) as refused:
        lookup("box:amd64")
    assert str(refused.value) == (
        f'{where}: layers[0]: "../../../etc" is not the key of a layer; use another archive'
    )


@pytest.mark.parametrize("name", ["c/../../x", ".", "", "a/b", "x" * 300])
def test_a_container_with_a_name_that_is_none(cache, name):
    with pytest.raises(Refusal) as refused:
        removal.hold(name, [])
    assert str(refused.value) == f"{name!r}: not the name of a container; use letters and digits"


def test_which_image_is_meant(path, tmp_path, monkeypatch):
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "", "", "", "aarch64")))
    import_image(path)
    assert lookup("box") is None and lookup("box:amd64") is not None
    with pytest.raises(Refusal) as refused:
        existing("box")
    assert str(refused.value) == (
        "box:arm64: no such image; there is box:amd64; make it with `auberge image build"
        " debian:arm64`, or `auberge image import FILE`"
    )


def test_one_diff_id_over_different_layers(cache, tmp_path):
    """A directory that a layer does not mention is as below it: then it is another over others."""
    top = tar_of([member("d/x")])
    for number, mode in enumerate((0o755, 0o700, 0o711)):
        layers = [tar_of([folder("d", mode=mode)]), top]
        import_image(Layout().image(layers, name=f"box{number}").write(tmp_path / str(number)))
    keys = [record.layers[1] for record in content.records()]
    modes = [os.stat(content.layer(key) + "/d").st_mode & 0o777 for key in keys]
    assert modes == [0o755, 0o700, 0o711]
    assert keys[0] == sha256(top)[7:] and len(set(keys)) == 3


def test_one_diff_id_above_and_at_the_bottom(cache, tmp_path):
    hiding = tar_of([member(".wh.x"), member("y")])
    layers = [tar_of([member("x")]), hiding]
    (above,) = import_image(Layout().image(layers).write(tmp_path / "1"))
    (alone,) = import_image(Layout().image([hiding], name="alone").write(tmp_path / "2"))
    assert os.listdir(content.layer(alone.layers[0])) == ["y"]
    assert sorted(os.listdir(content.layer(above.layers[1]))) == ["x", "y"]
