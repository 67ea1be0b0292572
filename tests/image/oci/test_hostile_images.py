"""An image whose parts are not what they say is refused with one line, and leaves nothing."""

import gzip
import json
import os

import pytest

from auberge.image.oci import content, removal
from auberge.image.oci.importer import import_image
from auberge.image.oci.limits import Limits
from auberge.image.oci.source import open_source
from auberge.refusal import Refusal
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

OTHER = "; use another archive"
BASE = tar_of([folder("etc"), member("etc/a", b"a")])
EVIL = tar_of([folder("etc"), member("etc/a", b"evil")])
PLAIN = "application/vnd.oci.image.layer.v1.tar"


def layout(config=None, **fields):
    return Layout().image([BASE], config, packed="", **fields)


def refusal(path, **arguments):
    with pytest.raises(Refusal) as refused:
        import_image(str(path), "box", **arguments)
    assert content.find("box", "amd64") is None
    text = str(refused.value)
    assert "\n" not in text
    return text


def blob(digest):
    return "blobs/" + digest.replace(":", "/")


def changed(path, data, **fields):
    """A layout one of whose files is other than its digest says."""
    made = layout(**fields)
    made.files[path(made)] = data
    return made


def config_of(made):
    return blob(json.loads(made.files[blob(made.manifests[0]["digest"])])["config"]["digest"])


def test_a_layer_of_another_digest(cache, tmp_path):
    made = layout()
    made.files[blob(sha256(BASE))] = EVIL[:-1]
    assert refusal(made.write(tmp_path)) == (
        f"{tmp_path}: {blob(sha256(BASE))}: 10239 of the 10240 bytes its descriptor says{OTHER}"
    )
    made.files[blob(sha256(BASE))] = EVIL
    assert refusal(made.write(tmp_path)) == (
        f"{tmp_path}: {blob(sha256(BASE))}: its digest is {sha256(EVIL)[7:]}, not"
        f" {sha256(BASE)}{OTHER}"
    )
    made.files[blob(sha256(BASE))] = BASE + b"x"
    assert refusal(made.write(tmp_path)) == (
        f"{tmp_path}: {blob(sha256(BASE))}: more than the 10240 bytes its descriptor says{OTHER}"
    )
    assert os.listdir(content.at("layers")) == []


def test_a_layer_of_another_diff_id(cache, tmp_path):
    made = layout(configuration([EVIL]))
    where = f"{tmp_path}: {blob(sha256(BASE))}"
    wrong = f"{where}: its diff_id is {sha256(BASE)}, not {sha256(EVIL)}{OTHER}"
    assert refusal(made.write(tmp_path)) == wrong
    assert os.listdir(content.at("layers")) == []
    # neither is the word of a configuration taken for what is unpacked already, and its blob known
    import_image(Layout().image([EVIL]).image([BASE], name="b").write(tmp_path / "good"))
    removal.remove(content.find("b", "amd64"))
    found = content.find("box", "amd64")
    content.at("images", "box", "amd64")
    os.unlink(content.at("images", "box", "amd64"))
    assert refusal(tmp_path) == wrong
    assert found.layers == (sha256(EVIL)[7:],)


def test_documents_of_another_digest(cache, tmp_path):
    made = layout()
    path = blob(made.manifests[0]["digest"])
    size = made.manifests[0]["size"]
    made.files[path] = made.files[path] + b" "
    where = f"{tmp_path}: {path}"
    assert refusal(made.write(tmp_path)) == (
        f"{where}: has {size + 1} bytes, its descriptor says {size}{OTHER}"
    )
    made.files[path] = b" " * size
    assert refusal(made.write(tmp_path)) == f"{where}: its digest is {sha256(b' ' * size)}{OTHER}"


INDEX = {
    "not JSON": (b"{", "index.json: not JSON"),
    "deep": (b"[" * 100_000, "index.json: nested too deeply"),
    "huge": (b" " * ((4 << 20) + 1), "index.json: more than 4194304 bytes of JSON"),
    "NaN": (b'{"manifests": NaN}', "index.json: not JSON"),
    "long number": (b'{"manifests": %s}' % (b"9" * 5000), "index.json: not JSON"),
    "no object": (b"[]", "index.json: document: [] is not an object"),
    "no array": (b'{"manifests": {}}', "index.json: manifests: {} is not an array"),
    "no digest": (
        b'{"manifests": [{"digest": "sha256:../../x"}]}',
        'index.json: manifests[0].digest: "sha256:../../x" is not a sha256 or sha512 digest',
    ),
    "upper case": (
        b'{"manifests": [{"digest": "sha256:%s"}]}' % (b"A" * 64),
        f'index.json: manifests[0].digest: "sha256:{"A" * 49}... is not a sha256 or sha512 digest',
    ),
    "negative": (
        b'{"manifests": [{"digest": "sha256:%s", "size": -1}]}' % (b"0" * 64),
        "index.json: manifests[0].size: -1 is not between 0 and 9223372036854775807",
    ),
    "true": (
        b'{"manifests": [{"digest": "sha256:%s", "size": true}]}' % (b"0" * 64),
        "index.json: manifests[0].size: true is not a whole number",
    ),
    "surrogate": (
        b'{"manifests": [{"mediaType": "\\ud800"}]}',
        'index.json: manifests[0].mediaType: "\\ud800" is no text',
    ),
    "empty": (b"{}", None),
}


@pytest.mark.parametrize("name", INDEX)
def test_an_index_that_is_none(cache, tmp_path, name):
    data, why = INDEX[name]
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (tmp_path / "index.json").write_bytes(data)
    expected = f"{tmp_path}: {why or 'no image for Linux in it'}{OTHER}"
    assert refusal(tmp_path) == expected


def test_indexes_in_indexes_end(cache, tmp_path):
    made = layout()
    for _ in range(4):
        inner = made.blob(json.dumps({"manifests": made.manifests}).encode())
        kind = "application/vnd.oci.image.index.v1+json"
        made.manifests = [{"mediaType": kind, **inner}]
    assert "is an index in too many others" in refusal(made.write(tmp_path))


def test_no_more_images_than_can_be_kept_in_mind(cache, tmp_path):
    made = layout()
    made.manifests *= 257
    why = f"more than 256 images{OTHER}"
    assert refusal(made.write(tmp_path / "a")) == f"{tmp_path}/a: {why}"
    path = docker_archive(tmp_path / "b.tar", [BASE], tags=[f"box:{n}" for n in range(257)])
    assert refusal(path) == f"{path}: {why}"


def test_no_more_files_than_can_be_kept_in_mind(cache, tmp_path):
    made = layout()
    path = made.tar(tmp_path / "a.tar")
    assert refusal(path, limits=Limits(files=3)) == f"{path}: more than 3 members{OTHER}"


def test_an_archive_that_is_refused_is_not_kept_open(cache, tmp_path):
    data = gzip.compress(tar_of([member("a"), member("a")]))
    (tmp_path / "a.tar.gz").write_bytes(data)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Refusal) as refused:
        open_source(str(tmp_path / "a.tar.gz"), str(tmp_path / "copy"))
    assert "'a' is in the archive twice" in str(refused.value)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_indexes_than_can_be_read(cache, tmp_path):
    made = layout()
    kind = "application/vnd.oci.image.index.v1+json"
    empty = made.blob(b"{}")
    inner = made.blob(json.dumps({"manifests": [{"mediaType": kind, **empty}] * 256}).encode())
    made.manifests = [{"mediaType": kind, **inner}]
    assert "is one of more than 256 indexes" in refusal(made.write(tmp_path))


CONFIGS = {
    "system": ({"os": "windows"}, 'os: "windows" is not linux'),
    "architecture": ({"architecture": "../x"}, 'architecture: "../x" is not the name of an'
                     " architecture"),
    "type": ({"rootfs": {"type": "x"}}, 'rootfs.type: "x" is not layers'),
    "diff_ids": ({"rootfs": {"type": "layers", "diff_ids": ["x"]}},
                 'rootfs.diff_ids[0]: "x" is not a sha256 or sha512 digest'),
    "user": ({"config": {"User": 5}}, "config.User: 5 is not a string"),
    "env": ({"config": {"Env": ["=x"]}}, 'config.Env[0]: "=x" is not NAME=VALUE'),
    "cmd": ({"config": {"Cmd": "sh"}}, 'config.Cmd: "sh" is not an array'),
    "NUL": ({"config": {"Cmd": ["a\0b"]}}, 'config.Cmd[0]: "a\\u0000b" is no text'),
    "port": ({"config": {"ExposedPorts": {"70000/tcp": {}}}},
             "config.ExposedPorts.70000/tcp: {} is the value of what is no port"),
    "protocol": ({"config": {"ExposedPorts": {"80/x": {}}}},
                 "config.ExposedPorts.80/x: {} is the value of what is no port"),
    "volume": ({"config": {"Volumes": {"/../x": {}}}},
               "config.Volumes./../x: {} is the value of what is no absolute path"),
    "directory": ({"config": {"WorkingDir": "x"}},
                  'config.WorkingDir: "x" is not an absolute path'),
    "labels": ({"config": {"Labels": {"a": 1}}}, "config.Labels.a: 1 is not a string"),
    "label NUL": ({"config": {"Labels": {"a\0": "b"}}},
                  'config.Labels: {"a\\u0000": "b"} has a name that is no text'),
    "volume surrogate": ({"config": {"Volumes": {"/\ud800": {}}}},
                         'config.Volumes: {"/\\ud800": {}} has a name that is no text'),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_is_none(cache, tmp_path, name):
    fields, why = CONFIGS[name]
    made = layout({**configuration([BASE]), **fields})
    assert refusal(made.write(tmp_path)) == f"{tmp_path}: {config_of(made)}: {why}{OTHER}"


def test_as_many_layers_as_the_configuration_says(cache, tmp_path):
    made = layout(configuration([BASE, BASE]))
    why = "1 layers, but its configuration says 2"
    assert refusal(made.write(tmp_path / "a")) == f"{tmp_path}/a: {why}{OTHER}"
    path = docker_archive(tmp_path / "b.tar", [BASE], configuration([BASE, BASE]))
    assert refusal(path) == f"{path}: {why}{OTHER}"


def test_what_is_no_image(cache, tmp_path):
    made = layout()
    kind = "application/vnd.example"
    data = made.files[blob(made.manifests[0]["digest"])]
    made.manifests = [
        {**made.manifests[0], **made.blob(data.replace(PLAIN.encode(), kind.encode()))}
    ]
    path = blob(made.manifests[0]["digest"])
    assert refusal(made.write(tmp_path)) == (
        f'{tmp_path}: {path}: layers[0].mediaType: "{kind}" is not a layer that can be read{OTHER}'
    )


def test_a_folder_whose_files_are_links(cache, tmp_path):
    made = layout()
    made.write(tmp_path)
    path = blob(sha256(BASE))
    os.rename(tmp_path / path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", tmp_path / path)
    assert refusal(tmp_path) == (f"{tmp_path}: {path}: too many levels of symbolic links{OTHER}")


ARCHIVES = {
    "twice": ([member("manifest.json", b"[]")] * 2, "'manifest.json' is in the archive twice"),
    "above": ([member("../x", b"[]")], "'../x' leaves the archive"),
    "device": ([member("x", kind=b"3")], "'x' is neither file nor link"),
    "links": ([link("manifest.json", "manifest.json")], "'manifest.json' is not in it"),
    "outside": ([link("manifest.json", "/etc/passwd")], "'manifest.json' is not in it"),
    "empty": ([], "neither an OCI layout nor what `docker save` writes"),
    "no layer": (
        [
            member("manifest.json", b'[{"Config": "c", "Layers": ["/etc/passwd"]}]'),
            member("c", json.dumps(configuration([BASE])).encode()),
        ],
        "'/etc/passwd' is not in it",
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_none(cache, tmp_path, name):
    members, why = ARCHIVES[name]
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(members))
    assert refusal(path) == f"{path}: {why}{OTHER}"


LIMITS = Limits(size=1 << 22, floor=1 << 20, ratio=100)
ZEROS = tar_of([member("zeros", bytes(3 << 20))])
AFTERWARDS = BASE + bytes(5 << 20)


@pytest.mark.parametrize("packed", ["+gzip", "+zstd"])
def test_bombs_are_noticed_while_they_are_small(cache, tmp_path, packed):
    made = Layout().image([ZEROS], packed=packed)
    text = refusal(made.write(tmp_path / "a"), limits=LIMITS)
    assert text.endswith(f", a decompression bomb{OTHER}")
    assert 1 << 20 <= int(text.split(" bytes come out of ")[0].split()[-1]) < 2 << 20
    made = Layout().image([AFTERWARDS], packed=packed)
    text = refusal(made.write(tmp_path / "b"), limits=LIMITS._replace(ratio=10_000_000))
    assert text.endswith(f": more than 4194304 bytes come out of it{OTHER}")
    assert os.listdir(content.at("layers")) == []
    # what was refused is removed by whoever comes next
    import_image(layout(name="ok").write(tmp_path / "c"))
    assert os.listdir(content.at("temporary")) == []


def test_a_compressed_archive_may_be_a_bomb_too(cache, tmp_path):
    for pack in (gzip.compress, zstd):
        path = tmp_path / "bomb"
        path.write_bytes(pack(bytes(3 << 20)))
        assert refusal(path, limits=LIMITS).endswith(f", a decompression bomb{OTHER}")


@pytest.mark.parametrize("packed", ["+gzip", "+zstd"])
@pytest.mark.parametrize("damage", ["cut", "more", "wrong"])
def test_compressed_data_that_is_damaged(cache, tmp_path, packed, damage):
    made = Layout().image([BASE], packed=packed)
    manifest = json.loads(made.files[blob(made.manifests[0]["digest"])])
    old = manifest["layers"][0]["digest"]
    data = made.files[blob(old)]
    # past the header of a gzip file; zstd's own says what may follow
    at = {"+gzip": 12, "+zstd": 4}[packed]
    data, why = {
        "cut": (data[:-3], "ends in the middle"),
        "more": (data + b"more", "something after its compressed data"),
        "wrong": (data[:at] + b"\xff" * 10 + data[at + 10 :], "damaged compressed data"),
    }[damage]
    manifest["layers"][0] |= made.blob(data)
    made.manifests = [made.manifests[0] | made.blob(json.dumps(manifest).encode())]
    where = f"{tmp_path}: {blob(sha256(data))}"
    assert refusal(made.write(tmp_path)) == f"{where}: {why}{OTHER}"


def test_several_members_or_frames_are_one_file(cache, tmp_path):
    for pack, packed in ((gzip.compress, "+gzip"), (zstd, "+zstd")):
        made = Layout().image([BASE], packed=packed, name="parts")
        manifest = json.loads(made.files[blob(made.manifests[0]["digest"])])
        manifest["layers"][0] |= made.blob(pack(BASE[:700]) + pack(BASE[700:]))
        made.manifests = [made.manifests[0] | made.blob(json.dumps(manifest).encode())]
        (record,) = import_image(made.write(tmp_path / packed))
        assert record.layers == (sha256(BASE)[7:],)


def test_a_name_that_is_none(cache, tmp_path):
    path = layout(name="..").write(tmp_path)
    with pytest.raises(Refusal) as refused:
        import_image(path)
    assert str(refused.value) == (
        f"{path}: '..' cannot be an image's name here; give one with --name"
    )
