"""What an archive or a folder holds becomes an image, and goes out as it came."""

import gzip
import json
import os
import subprocess
import tarfile

import pytest

from auberge.cli.main import main
from auberge.image.oci import content
from auberge.image.oci.exporter import export_image
from auberge.image.oci.importer import import_image, plain_name
from auberge.refusal import Refusal
from tests.command import AUBERGE
from tests.image.oci.archives import (
    Layout,
    configuration,
    docker_archive,
    folder,
    link,
    member,
    sha256,
    tar_of,
    zstd,
)

BASE = tar_of([folder("etc"), member("etc/a", b"a"), member("etc/b", b"b")])
TOP = tar_of([folder("etc"), member("etc/.wh.a"), member("etc/c", b"c")])
DIFF_IDS = [sha256(BASE), sha256(TOP)]


@pytest.mark.parametrize("packed", ["", "+gzip", "+zstd"])
@pytest.mark.parametrize("form", ["folder", "archive", "compressed"])
def test_a_layout_is_imported(cache, tmp_path, packed, form):
    layout = Layout().image([BASE, TOP], packed=packed)
    if form == "folder":
        path = layout.write(tmp_path / "layout")
    else:
        path = layout.tar(tmp_path / "box.tar")
        if form == "compressed":
            data = (tmp_path / "box.tar").read_bytes()
            (tmp_path / "box.tar").write_bytes(zstd(data) if packed else gzip.compress(data))
    (record,) = import_image(path)
    assert record == content.find("box", "amd64")
    assert record.manifest == layout.manifests[0]["digest"]
    assert list(record.layers) == [diff_id[7:] for diff_id in DIFF_IDS]
    assert sorted(os.listdir(content.layer(record.layers[0]) + "/etc")) == ["a", "b"]
    assert os.listdir(content.at("temporary")) == []


def test_what_goes_out_is_what_came_in(cache, tmp_path):
    layout = Layout().image([BASE, TOP])
    (record,) = import_image(layout.write(tmp_path / "in"))
    export_image(record, str(tmp_path / "out"), "oci-dir")
    for path, data in layout.files.items():
        assert (
            json.loads((tmp_path / "out" / path).read_bytes()) == json.loads(data)
            if (path == "oci-layout")
            else (tmp_path / "out" / path).read_bytes() == data
        )
    export_image(record, str(tmp_path / "out.tar"), "oci-archive")
    (again,) = import_image(str(tmp_path / "out.tar"), "again")
    assert again._replace(name="box") == record


@pytest.mark.parametrize("packed", ["", "+gzip", "+zstd"])
def test_through_dockers_archive_the_layers_stay(cache, tmp_path, packed):
    (record,) = import_image(Layout().image([BASE, TOP, BASE], packed=packed).tar(tmp_path / "in"))
    export_image(record, str(tmp_path / "out.tar"), "docker-archive")
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = archive.getnames()
        (entry,) = json.load(archive.extractfile("manifest.json"))
        layers = [archive.extractfile(name).read() for name in entry["Layers"]]
    assert layers == [BASE, TOP, BASE]
    assert len(names) == 4
    assert entry["RepoTags"] == ["localhost/box:latest"]
    (again,) = import_image(str(tmp_path / "out.tar"))
    assert (again.config, again.layers) == (record.config, record.layers)


def test_an_old_archive_of_docker_has_links_to_layers(cache, tmp_path):
    config = configuration([BASE, BASE])
    data = json.dumps(config).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["x/box:1"], "Layers": ["1/l.tar", "2/l.tar"]}]
    members = [
        member("1/l.tar", BASE),
        link("2/l.tar", "../1/l.tar"),
        member("c.json", data),
        member("manifest.json", json.dumps(manifest).encode()),
        member("repositories", b"{}"),
    ]
    (tmp_path / "box.tar").write_bytes(tar_of(members))
    (record,) = import_image(str(tmp_path / "box.tar"))
    assert record.layers == (sha256(BASE)[7:],) * 2


def test_layers_of_dockers_archive_may_be_compressed(cache, tmp_path):
    """Podman's `--format docker-dir` and some builders do that."""
    for packed, kind in ((gzip.compress(BASE, mtime=0), "gzip"), (zstd(BASE), "zstd")):
        path = docker_archive(tmp_path / "box.tar", [packed], configuration([BASE]))
        (record,) = import_image(path)
        assert record.layers == (sha256(BASE)[7:],)
        assert record.blobs == (sha256(packed),)
        manifest = json.loads(content.read_blob(record.manifest, ""))
        media_type = f"application/vnd.oci.image.layer.v1.tar+{kind}"
        assert manifest["layers"][0]["mediaType"] == media_type


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_damaged_image_is_listed_and_removed(cache, tmp_path, capsys, text):
    import_image(Layout().image([BASE]).write(tmp_path / "l"))
    with open(content.at("images/box/amd64"), "w") as file:
        file.write(text)
    assert main(["image", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "box", "arch": "amd64", "kernel_version": "damaged", "size": 0}
    ]
    assert main(["image", "inspect", "box:amd64"]) == 125
    assert capsys.readouterr().err.startswith("auberge: ")
    assert main(["image", "rm", "box:amd64"]) == 0
    assert content.records() == [] and os.listdir(content.at("layers")) == []


def test_several_platforms_and_what_is_no_image(cache, tmp_path):
    layout = Layout()
    for arch, more in (("amd64", {}), ("arm64", {"variant": "v8"}), ("arm", {"variant": "v7"})):
        layout.image([BASE], configuration([BASE], arch, **more))
    layout.image(
        [BASE], {"os": "unknown"}, annotations={"vnd.docker.reference.type": "attestation"}
    )
    layout.image([BASE], {"os": "windows"}, platform={"os": "windows", "architecture": "amd64"})
    # as `docker save` has it: an index in the index, some of whose platforms are not there
    missing = {**layout.manifests[0], "digest": "sha256:" + "0" * 64}
    nested = json.dumps({"manifests": [*layout.manifests, missing]}).encode()
    kind = "application/vnd.oci.image.index.v1+json"
    ref = {"io.containerd.image.name": "docker.io/library/many:1.0"}
    layout.manifests = [{"mediaType": kind, **layout.blob(nested), "annotations": ref}]
    records = import_image(layout.tar(tmp_path / "x.tar"), "many")
    found = [record.reference for record in records]
    assert found == ["many:amd64", "many:arm64", "many:arm-v7"]


def test_several_images_get_the_names_they_have(cache, tmp_path):
    other = tar_of([member("other")])
    layout = Layout().image([BASE], name="quay.io/me/one:2").image([other], name="two")
    assert [each.reference for each in import_image(layout.write(tmp_path))] == [
        "one:amd64",
        "two:amd64",
    ]
    with pytest.raises(Refusal) as refused:
        import_image(str(tmp_path), "mine")
    assert str(refused.value) == (
        f"{tmp_path}: several images, 'quay.io/me/one:2', 'two'; import it without --name"
    )


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("docker.io/library/debian:12", "debian"),
        ("localhost:5000/x/y@sha256:00", "y"),
        ("/tmp/box.tar.gz", "box"),
        ("box/", "box"),
        ("latest", "latest"),
    ],
)
def test_names_lose_what_is_around_them(reference, name):
    assert plain_name(reference) == name


def test_a_layer_is_unpacked_once(cache, tmp_path):
    import_image(Layout().image([BASE, TOP]).write(tmp_path / "1"))
    before = os.stat(content.layer(sha256(BASE)[7:])).st_ino
    layout = Layout().image([BASE], packed="+zstd", name="other")
    import_image(layout.write(tmp_path / "2"))
    assert os.stat(content.layer(sha256(BASE)[7:])).st_ino == before
    assert len(os.listdir(content.at("layers"))) == 2


def test_the_command_line(cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    path = Layout().image([BASE, TOP]).tar(tmp_path / "box.tar")
    assert main(["image", "import", path, "--name", "mine"]) == 0
    assert capsys.readouterr().err == "mine:amd64: 2 layers\n"
    assert main(["image", "ls"]) == 0
    assert capsys.readouterr().out == (
        "IMAGE                KERNEL                             SIZE\n"
        "mine:amd64           container                       0.0 MiB\n"
    )
    assert main(["image", "inspect", "mine"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["configuration"]["config"]["Cmd"] == ["/bin/sh"] and shown["size"] == 3
    out = tmp_path / "out.tar"
    assert main(["image", "export", "mine", str(out), "--format", "docker-archive"]) == 0
    assert tarfile.is_tarfile(out)
    assert main(["image", "rm", "mine"]) == 0
    assert main(["image", "ls", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["image", "export", "mine", "-"]) == 125
    assert capsys.readouterr().err == (
        "auberge: mine:amd64: no such image; make it with `auberge image build debian:amd64`, or"
        " `auberge image import FILE`\n"
    )


@pytest.mark.slow
def test_through_pipes(cache, tmp_path):
    path = Layout().image([BASE, TOP]).tar(tmp_path / "box.tar")
    command = [*AUBERGE, "image"]
    with open(path, "rb") as file:
        subprocess.run([*command, "import", "-", "--name", "piped"], stdin=file, check=True)
    done = subprocess.run([*command, "export", "piped", "-"], capture_output=True, check=True)
    (tmp_path / "out.tar").write_bytes(done.stdout)
    (again,) = import_image(str(tmp_path / "out.tar"), "again")
    assert again.manifest == content.find("piped", "amd64").manifest
