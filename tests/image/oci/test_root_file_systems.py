"""A root file system shows what its layers say, however made, and its changes make a layer."""

import json
import os
import stat
import subprocess
import tarfile
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from auberge.image.oci import beneath, content, removal, rootfs
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.changes import Range
from auberge.image.oci.commit import commit
from auberge.image.oci.importer import import_image
from auberge.image.oci.rootfs import BIND, COPY, OVERLAY, prepare, release
from auberge.image.oci.runtime import image_config
from auberge.refusal import Refusal
from tests.image.oci.archives import Layout, folder, link, member, tar_of

LOW = tar_of(
    [
        folder("./", mode=0o711),
        folder("etc"),
        member("etc/gone", b"gone"),
        member("etc/stays", b"stays", mode=0o640),
        link("etc/hard", "etc/stays", b"1", mode=0o640),
        folder("opaque"),
        member("opaque/hidden", b"hidden"),
        folder("tree"),
        member("tree/leaf"),
        link("swapped", "/etc"),
        folder("dir"),
        member("dir/in"),
        member("closed", b"secret", mode=0),
    ]
)
MIDDLE = tar_of(
    [member("etc/.wh.gone"), member("opaque/.wh..wh..opq"), member("opaque/new", b"new")]
)
HIGH = tar_of(
    [member(".wh.tree"), folder("swapped"), member("swapped/x", b"x"), member("dir", b"a file now")]
)
SHOWN = {
    "": "drwx--x--x",
    "closed": "---------- secret",
    "dir": "-rw-r--r-- a file now",
    "etc": "drwxr-xr-x",
    "etc/hard": "-rw-r----- stays",
    "etc/stays": "-rw-r----- stays",
    "opaque": "drwxr-xr-x",
    "opaque/new": "-rw-r--r-- new",
    "swapped": "drwxr-xr-x",
    "swapped/x": "-rw-r--r-- x",
}


def shown(root):
    """What is in a tree: mode, and contents or where a link leads, by path."""
    found = {}
    for where, folders, files in os.walk(root):
        for name in ["", *files, *(each for each in folders if os.path.islink(f"{where}/{each}"))]:
            path = os.path.join(where, name).rstrip("/")
            status = os.lstat(path)
            text = stat.filemode(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                text += " " + os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                text += " " + contents_of(path).decode()
            found[os.path.relpath(path, root).removeprefix(".")] = text
    return found


def contents_of(path):
    """What is in a file; of the user's own also if its mode says no."""
    if os.access(path, os.R_OK):
        with open(path, "rb") as file:
            return file.read()
    mode = stat.S_IMODE(os.stat(path).st_mode)
    os.chmod(path, 0o400)
    try:
        return contents_of(path)
    finally:
        os.chmod(path, mode)


def can_mount():
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return os.geteuid() == 0 and done.returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="only root mounts here")


@contextmanager
def mounted(found):
    if found.mount is not None:
        options = ",".join(found.mount.options)
        kind = ["-o", options] if found.kind == BIND else ["-t", "overlay", "-o", options]
        subprocess.run(["mount", *kind, found.mount.source, found.path], check=True)
    try:
        yield found.path
    finally:
        if found.mount is not None:
            subprocess.run(["umount", found.path], check=True)


@pytest.fixture(params=[pytest.param(OVERLAY, marks=needs_mounts), COPY])
def kind(request, monkeypatch):
    """How root file systems are made."""
    if request.param == COPY:
        monkeypatch.setattr(rootfs, "try_overlay", lambda directory, in_user_namespace: None)
    return request.param


@pytest.fixture
def record(cache, tmp_path):
    layers = [LOW, MIDDLE, HIGH, MIDDLE]
    (record,) = import_image(Layout().image(layers).write(tmp_path / "layout"))
    return record


def make(record, directory, **options):
    os.makedirs(directory, exist_ok=True)
    return prepare(record, str(directory), "c1", False, **options)


def test_layers_lie_on_one_another(record, tmp_path, kind):
    found = make(record, tmp_path / "c")
    assert found.kind == kind
    with mounted(found) as root:
        assert shown(root) == SHOWN
        assert os.path.samefile(f"{root}/etc/hard", f"{root}/etc/stays")


def test_changes_are_there_again_and_make_a_layer(record, tmp_path, kind):
    with mounted(make(record, tmp_path / "c")) as root:
        os.unlink(f"{root}/etc/stays")
        os.unlink(f"{root}/dir")
        os.mkdir(f"{root}/dir")
        with open(f"{root}/dir/new", "w") as file:
            file.write("new")
        os.link(f"{root}/dir/new", f"{root}/dir/newer")
        os.symlink("/dir", f"{root}/link")
        remove_tree(f"{root}/opaque")
        os.mkdir(f"{root}/opaque")
        with open(f"{root}/sparse", "wb") as file:
            file.truncate(3 << 20)
            file.seek(1 << 20)
            file.write(b"x")
        os.chmod(f"{root}/closed", 0o400)
        os.mkfifo(f"{root}/fifo", 0o600)
        os.setxattr(f"{root}/dir", "user.note", b"n")
        expected = shown(root)
    again = make(record, tmp_path / "c")
    with mounted(again) as root:
        assert shown(root) == expected
    new = commit(record, again, "new", comment="why")
    assert new.layers[:-1] == record.layers and new.blobs[:-1] == record.blobs
    history = json.loads(content.read_blob(new.config, ""))["history"]
    assert len(history) == 5 and history[-1]["comment"] == "why"
    assert image_config(new).cmd == ("/bin/sh",)
    with mounted(prepare(new, str(tmp_path / "c"), "c2", False)) as root:
        pass
    os.mkdir(tmp_path / "d")
    with mounted(prepare(new, str(tmp_path / "d"), "c2", False)) as root:
        assert shown(root) == expected
        assert os.stat(f"{root}/sparse").st_blocks * 512 < 1 << 20
        assert os.getxattr(f"{root}/dir", "user.note") == b"n"
        if kind == OVERLAY:
            assert os.path.samefile(f"{root}/dir/new", f"{root}/dir/newer")


def test_nothing_changed_is_next_to_nothing(record, tmp_path, kind):
    found = make(record, tmp_path / "c")
    with mounted(found):
        pass
    new = commit(record, found, "new")
    contents = content.contents(new.layers[-1])
    assert (contents.size, contents.whiteouts, contents.opaques) == (0, (), ())


def test_a_layer_that_is_there_twice_counts_where_it_is_topmost():
    assert rootfs.distinct(("a", "b", "a", "c", "b")) == ("a", "c", "b")


@needs_mounts
def test_a_root_that_nobody_changes(record, tmp_path):
    found = make(record, tmp_path / "c", read_only=True)
    assert (found.kind, found.upper) == (OVERLAY, "")
    with mounted(found) as root:
        assert shown(root) == SHOWN
        with pytest.raises(OSError):
            os.mkdir(f"{root}/new")
    with pytest.raises(Refusal) as refused:
        commit(record, found, "new")
    assert str(refused.value) == f"{found.path}: read-only; nothing can have changed in it"
    (one,) = import_image(Layout().image([LOW], name="one").write(tmp_path / "one"))
    found = make(one, tmp_path / "d", read_only=True)
    assert (found.kind, found.mount.source) == (BIND, content.layer(one.layers[0]))


@needs_mounts
def test_an_overlay_that_is_forgotten_is_not_waited_for(record, tmp_path):
    for _ in range(2):
        found = make(record, tmp_path / "c", forgotten=True)
        assert "volatile" in found.mount.options
        with mounted(found) as root:
            assert shown(root) == SHOWN
    assert "volatile" not in make(record, tmp_path / "c").mount.options


def test_what_cannot_be_said_in_options_is_copied(record, tmp_path):
    assert make(record, tmp_path / "a:b,c").kind == COPY


def test_owners_of_a_container_are_those_it_sees(record, tmp_path, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("owners are root's to give")
    monkeypatch.setattr(rootfs, "try_overlay", lambda directory, in_user_namespace: None)
    found = make(record, tmp_path / "c")
    for name, owner in (("a", 100_000), ("b", 100_033), ("c", 5)):
        with open(f"{found.path}/{name}", "w"):
            pass
        os.chown(f"{found.path}/{name}", owner, owner)
    os.unlink(f"{found.path}/closed")
    ranges = [Range(0, 100_000, 65536)]
    new = commit(record, found, "new", uids=ranges, gids=ranges)
    root = content.layer(new.layers[-1])
    assert [os.stat(f"{root}/{name}").st_uid for name in "abc"] == [0, 33, 65534]
    with tarfile.open(content.blob(new.blobs[-1])) as archive:
        assert archive.getmember(".wh.closed").uid == 0


def test_a_file_in_the_place_of_a_directory_and_the_other_way_round(record, tmp_path, kind):
    with mounted(make(record, tmp_path / "c")) as root:
        remove_tree(f"{root}/etc")
        with open(f"{root}/etc", "w") as file:
            file.write("now a file")
        os.unlink(f"{root}/closed")
        os.makedirs(f"{root}/closed/in")
        remove_tree(f"{root}/swapped")
        expected = shown(root)
    new = commit(record, make(record, tmp_path / "c"), "new")
    os.mkdir(tmp_path / "d")
    with mounted(prepare(new, str(tmp_path / "d"), "c2", False)) as root:
        assert shown(root) == expected


def test_trees_that_no_layer_can_have_are_refused(record, tmp_path, monkeypatch):
    monkeypatch.setattr(rootfs, "try_overlay", lambda directory, in_user_namespace: None)
    found = make(record, tmp_path / "c")
    with open(f"{found.path}/.wh.x", "w"):
        pass
    with pytest.raises(Refusal) as refused:
        commit(record, found, "new")
    assert str(refused.value) == "'.wh.x': no layer can have that name; remove it in the container"
    os.unlink(f"{found.path}/.wh.x")
    deep(found.path, 300)
    with pytest.raises(Refusal) as refused:
        commit(record, found, "new")
    assert str(refused.value) == (
        f"{'/'.join('d' * 300)[:40]!r}...: too deep for a layer; remove it in the container"
    )
    assert content.find("new", "amd64") is None


def deep(path, depth):
    """Directories in each other, as many as a container likes."""
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.mark.slow
def test_whatever_a_container_made_is_removed(tmp_path):
    os.makedirs(tmp_path / "c/x")
    # more than Python recurses, or most processes may have descriptors
    deep(tmp_path / "c", 1200)
    os.symlink("/", tmp_path / "c/root")
    os.chmod(tmp_path / "c/x", 0)
    (tmp_path / "kept").write_text("kept")
    os.symlink(tmp_path, tmp_path / "c/up")
    remove_tree(str(tmp_path / "c"))
    assert os.listdir(tmp_path) == ["kept"]
    remove_tree(str(tmp_path / "c"))


@pytest.mark.parametrize("times", [1, 7, 1 << 30])
def test_what_is_added_while_a_tree_is_removed(tmp_path, monkeypatch, times):
    os.makedirs(tmp_path / "c/in")
    listed = []

    def listing(directory):
        names = os.listdir(directory)
        listed.append(directory)
        if len(listed) <= times:
            os.mknod(f"late{len(listed)}", dir_fd=directory)
        return names

    monkeypatch.setattr(beneath, "os", SimpleNamespace(**vars(os) | {"listdir": listing}))
    if times < 1 << 30:
        remove_tree(str(tmp_path / "c"))
        assert os.listdir(tmp_path) == [] and len(listed) > times
        return
    with pytest.raises(OSError, match="not empty"):  # by whoever goes on for ever
        remove_tree(str(tmp_path / "c"))


def test_layers_stay_as_long_as_a_container_needs_them(record, tmp_path, kind):
    make(record, tmp_path / "c")
    removal.remove(record)
    assert all(os.path.isdir(content.layer(key)) for key in record.layers)
    release("c1")
    release("c1")
    removal.clean()
    assert os.listdir(content.at("layers")) == os.listdir(content.at("short")) == []
    with pytest.raises(Refusal) as refused:
        make(record, tmp_path / "d")
    gone = content.layer(record.layers[0])
    assert str(refused.value) == f"{gone}: is not there any more; import the image again"
