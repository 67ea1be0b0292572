"""The cache knows what it holds, and says what to do when that is damaged."""

import json
import os

import pytest

from auberge.cli.main import main
from auberge.image import find, store
from auberge.image.oci.names import host_architecture
from auberge.refusal import Refusal

AGAIN = "run `auberge image build tiny:riscv64`"
ENTRY = {"size": 3, "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}
MANIFEST = {
    "name": "tiny",
    "arch": "riscv64",
    "suite": "trixie",
    "kernel_version": "6.1",
    "recipe": "r",
    "packages": [],
    "files": {"Image": ENTRY, "initrd": ENTRY},
}


@pytest.fixture
def tiny(cache):
    """An image of six bytes."""
    image = store.place("tiny", "riscv64")
    os.makedirs(image.directory)
    for path in (image.kernel, image.initrd):
        with open(path, "w") as file:
            file.write("foo")
    with open(image.manifest, "w") as file:
        json.dump(MANIFEST, file)
    return image


def test_what_is_there_is_found(tiny):
    assert find("tiny", "riscv64") == tiny
    assert find("tiny", "amd64") is None
    assert store.images() == [tiny]
    store.verify(tiny)


def test_an_empty_cache_is_no_error(cache):
    assert find("tiny", "riscv64") is None
    assert store.images() == []
    assert not cache.exists()


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"AUBERGE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/x"}, "/a"),
        ({"AUBERGE_CACHE_DIR": "", "XDG_CACHE_HOME": "/x"}, "/x/auberge"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/auberge"),
        ({}, "/home/me/.cache/auberge"),
    ],
)
def test_where_the_cache_is(monkeypatch, environment, directory):
    for name in ("AUBERGE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert store.cache_directory() == directory


def test_references(cache):
    assert store.parse_reference("tiny", "riscv64") == ("tiny", "riscv64")
    assert store.parse_reference("tiny:amd64", "riscv64") == ("tiny", "amd64")


@pytest.mark.parametrize("text", ["", "..", "../x", "a/b", ":x", "a:", "a:b:c", "a:..", "a b", "ä"])
def test_what_is_not_a_name(text):
    with pytest.raises(Refusal) as told:
        store.parse_reference(text, "riscv64")
    assert str(told.value) == f"{text!r}: not the name of an image; write NAME or NAME:ARCH"


def found_damage():
    with pytest.raises(Refusal) as told:
        find("tiny", "riscv64")
    return str(told.value)


def test_a_missing_file(tiny):
    os.unlink(tiny.kernel)
    assert found_damage() == f"{tiny.kernel}: is missing; {AGAIN}"


def test_a_short_file(tiny):
    os.truncate(tiny.initrd, 2)
    assert found_damage() == f"{tiny.initrd}: has 2 bytes, not 3; {AGAIN}"


def test_a_missing_manifest(tiny):
    os.unlink(tiny.manifest)
    assert found_damage() == f"{tiny.manifest}: No such file or directory; {AGAIN}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"files": 1}',
        '{"files": {"../x": {"size": 1, "sha256": ""}}}',
        '{"files": {"Image": 1, "initrd": 2}}',
        '{"files": {"Image": {"size": "1"}, "initrd": {}}}',
        "[" * 100_000,
        "\\ud800",
    ],
)
def test_a_manifest_that_is_none(tiny, text):
    with open(tiny.manifest, "w") as file:
        file.write(text)
    assert found_damage() == f"{tiny.manifest}: not the manifest of an image; {AGAIN}"


def test_ls(tiny, capsys):
    os.mkdir(os.path.join(store.images_directory(), "not an image-x"))
    assert main(["image", "ls"]) == 0
    assert capsys.readouterr().out == (
        "IMAGE                KERNEL                             SIZE\n"
        "tiny:riscv64         6.1                             0.0 MiB\n"
    )
    assert main(["image", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "tiny", "arch": "riscv64", "kernel_version": "6.1", "size": 6}
    ]


def test_a_damaged_image_is_listed_and_removed(tiny, capsys):
    os.unlink(tiny.manifest)
    assert main(["image", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "tiny", "arch": "riscv64", "kernel_version": "damaged", "size": 0}
    ]
    assert main(["image", "rm", "tiny"]) == 0
    assert store.images() == []


def test_inspect_verifies(tiny, capsys):
    assert main(["image", "inspect", "tiny"]) == 0
    assert json.loads(capsys.readouterr().out) == {**MANIFEST, "directory": tiny.directory}
    with open(tiny.kernel, "w") as file:
        file.write("bar")
    assert main(["image", "inspect", "tiny"]) == 125
    assert capsys.readouterr().err == (
        f"auberge: {tiny.kernel}: its SHA-256 is not the manifest's; {AGAIN}\n"
    )


def test_rm(tiny, capsys):
    assert main(["image", "rm", "tiny:riscv64"]) == 0
    assert find("tiny", "riscv64") is None
    assert os.listdir(store.images_directory()) == [".tiny-riscv64.lock"]
    assert main(["image", "rm", "tiny"]) == 125
    assert main(["image", "inspect", "tiny"]) == 125
    complaint = "auberge: tiny:riscv64: no such image; see `auberge image ls`\n"
    assert capsys.readouterr().err == complaint * 2


def test_an_unknown_image_cannot_be_built(cache, capsys):
    assert main(["image", "build", "huge:z80"]) == 125
    assert capsys.readouterr().err == (
        "auberge: huge:z80: no recipe for such an image; there is tiny:riscv64, debian:riscv64,"
        f" cell:riscv64, debian:{host_architecture()}\n"
    )
