"""What skopeo, podman and umoci write is read here, and what is written here they read the same."""

import json
import os
import subprocess
import tempfile

import pytest

from auberge.image.oci import content
from auberge.image.oci.commit import commit
from auberge.image.oci.exporter import export_image
from auberge.image.oci.importer import import_image
from auberge.image.oci.merge import copy_layers
from auberge.image.oci.rootfs import COPY, Rootfs, prepare
from auberge.image.oci.runtime import image_config
from tests.image.debian import needs
from tests.image.oci.archives import Layout, link, member, tar_of
from tests.image.oci.test_root_file_systems import HIGH, LOW, MIDDLE, shown

pytestmark = pytest.mark.slow
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="this peer is asked as root")

LONG = "/".join(["long" * 25] * 3)
MORE = tar_of(
    [
        member(LONG, b"long"),
        link("again", LONG, b"1"),
        member("owned", b"x", uid=1000, gid=1 << 22, mode=0o4755, mtime=1_500_000_000),
        member("bytes\udcff", b"bytes"),
    ]
)
LAYERS = [LOW, MIDDLE, HIGH, MORE]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def record(cache, tmp_path):
    (record,) = import_image(Layout().image(LAYERS).write(tmp_path / "layout"))
    return record


def tree(record, path):
    """What we say that an image shows."""
    os.makedirs(path)
    copy_layers(record.layers, str(path))
    return shown(path)


@needs("skopeo")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_skopeo_copies_what_is_written_here(record, tmp_path, form):
    export_image(record, str(tmp_path / "ours.tar"), form)
    for number, target in enumerate(["oci-archive", "docker-archive", "dir"]):
        theirs = f"{target}:{tmp_path}/theirs{number}"
        run("skopeo", "--insecure-policy", "copy", f"{form}:{tmp_path}/ours.tar", theirs)
    for number in range(2):
        (again,) = import_image(str(tmp_path / f"theirs{number}"), f"again{number}")
        assert again.layers == record.layers
    shown = json.loads(run("skopeo", "inspect", "--config", f"{form}:{tmp_path}/ours.tar"))
    assert shown["rootfs"]["diff_ids"] == list(image_config(record).diff_ids)


@needs("skopeo")
def test_what_skopeo_compresses_by_zstd(record, tmp_path):
    export_image(record, str(tmp_path / "ours"), "oci-dir")
    command = ["skopeo", "--insecure-policy", "copy", "--dest-compress", "--dest-compress-format"]
    theirs = f"{tmp_path}/theirs"
    run(*command, "zstd", f"oci:{tmp_path}/ours", f"oci:{theirs}:box")
    (again,) = import_image(theirs, "again")
    assert again.layers == record.layers
    with open(content.blob(again.blobs[0]), "rb") as file:
        kind = file.read(4)
    # skopeo leaves what is compressed already, unless it is new enough
    assert kind in (b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08\x00")


@as_root
@needs("umoci")
def test_umoci_unpacks_the_same(record, tmp_path):
    export_image(record, str(tmp_path / "ours"), "oci-dir")
    run("umoci", "unpack", "--image", f"{tmp_path}/ours:box", str(tmp_path / "bundle"))
    assert shown(tmp_path / "bundle/rootfs") == tree(record, tmp_path / "tree")
    ours, theirs = (os.stat(tmp_path / each / "owned") for each in ("tree", "bundle/rootfs"))
    for field in ("st_mode", "st_uid", "st_gid", "st_mtime"):
        assert getattr(ours, field) == getattr(theirs, field)


@as_root
@needs("umoci")
def test_what_umoci_makes(record, tmp_path):
    """Its layers have whiteouts of its own making."""
    image = f"{tmp_path}/ours:box"
    export_image(record, str(tmp_path / "ours"), "oci-dir")
    run("umoci", "unpack", "--image", image, str(tmp_path / "bundle"))
    root = tmp_path / "bundle/rootfs"
    os.unlink(root / "closed")
    (root / "swapped/x").write_text("changed")
    os.mkdir(root / "fresh")
    (root / "fresh/a").write_text("a")
    os.link(root / "fresh/a", root / "fresh/b")
    os.symlink("fresh", root / "to")
    run("umoci", "repack", "--image", image, str(tmp_path / "bundle"))
    (new,) = import_image(f"{tmp_path}/ours", "new")
    assert len(new.layers) == len(record.layers) + 1
    assert tree(new, tmp_path / "tree") == shown(root)


@as_root
@needs("umoci")
def test_umoci_unpacks_a_container_that_was_saved(record, tmp_path, monkeypatch):
    monkeypatch.setattr("auberge.image.oci.rootfs.try_overlay", lambda *options: None)
    os.mkdir(tmp_path / "c")
    found = prepare(record, str(tmp_path / "c"), "c", False)
    assert isinstance(found, Rootfs) and found.kind == COPY
    root = tmp_path / "c/root"
    os.unlink(root / "closed")
    os.rename(root / "etc", root / "other")
    with open(root / "sparse", "wb") as file:
        file.truncate(5 << 20)
        file.seek(2 << 20)
        file.write(b"middle")
    new = commit(record, found, "saved")
    export_image(new, str(tmp_path / "ours"), "oci-dir")
    run("umoci", "unpack", "--image", f"{tmp_path}/ours:saved", str(tmp_path / "bundle"))
    assert shown(tmp_path / "bundle/rootfs") == shown(root)


@pytest.fixture
def podman(tmp_path):
    """Podman with a storage of its own; it allows its run root 50 characters."""
    with tempfile.TemporaryDirectory(prefix="podman-") as runroot:
        command = ["podman", f"--root={tmp_path}/podman", f"--runroot={runroot}"]
        command += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]

        def call(*arguments):
            return run(*command, *arguments)

        yield call
        run(*command, "rmi", "--all", "--force")


@as_root
@needs("podman")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_loads_and_saves_the_same(record, tmp_path, podman, form):
    export_image(record, str(tmp_path / "ours.tar"), form)
    said = podman("load", "-i", str(tmp_path / "ours.tar"))
    name = said.split()[-1]
    root = podman("image", "mount", name).strip()
    assert shown(root) == tree(record, tmp_path / "tree")
    podman("image", "unmount", name)
    for number, target in enumerate(["oci-archive", "docker-archive"]):
        theirs = str(tmp_path / f"theirs{number}.tar")
        podman("save", "--format", target, "-o", theirs, name)
        (again,) = import_image(theirs, f"again{number}")
        assert again.layers == record.layers
        assert tree(again, tmp_path / f"again{number}") == tree(record, tmp_path / f"t{number}")


@as_root
@needs("podman")
def test_what_podman_builds(record, tmp_path, podman):
    export_image(record, str(tmp_path / "ours.tar"), "oci-archive")
    podman("load", "-i", str(tmp_path / "ours.tar"))
    context = tmp_path / "context"
    (context / "files/sub").mkdir(parents=True)
    (context / "files/sub/x").write_text("x")
    os.link(context / "files/sub/x", context / "files/hard")
    (context / "Containerfile").write_text(
        'FROM localhost/box\nCOPY files /opt/files\nENV A=1\nEXPOSE 80\nUSER 1000\nCMD ["x"]\n'
    )
    podman("build", "--isolation=chroot", "-t", "built", str(context))
    podman("save", "--format", "docker-archive", "-o", f"{tmp_path}/built.tar", "built")
    (new,) = import_image(f"{tmp_path}/built.tar")
    assert new.name == "built"
    assert new.layers[: len(record.layers)] == record.layers
    root = podman("image", "mount", "built").strip()
    assert shown(root) == tree(new, tmp_path / "tree")


def test_debians_own_static_files_are_a_layer(cache, tmp_path):
    """GNU tar's archives as base images are made of them."""
    source = tmp_path / "source"
    (source / "usr/bin").mkdir(parents=True)
    os.symlink("usr/bin", source / "bin")
    (source / "usr/bin/x").write_text("x")
    os.link(source / "usr/bin/x", source / "usr/bin/y")
    command = ["tar", "--numeric-owner", "--xattrs", "-C", str(source), "-c", "."]
    layer = subprocess.run(command, capture_output=True, check=True).stdout
    (record,) = import_image(Layout().image([layer]).write(tmp_path / "l"))
    assert tree(record, tmp_path / "tree") == shown(source)
