"""Whatever is changed in an archive, there is an image or a refusal, and nothing else changes."""

import contextlib
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.image.oci.compression import Uncompressed
from auberge.image.oci.importer import import_image
from auberge.image.oci.limits import Limits
from auberge.image.oci.unpack import unpack
from auberge.refusal import Refusal
from tests.image.oci.archives import Layout, docker_archive, folder, link, member, tar_of, zstd

pytestmark = pytest.mark.slow

HUNT = settings()


def few(examples):
    """As many examples as the fast tests have time for; a hunt has more."""
    return HUNT if HUNT.max_examples > 1000 else settings(max_examples=examples)


LIMITS = Limits(entries=100, size=1 << 22, floor=1 << 20, ratio=100)

LAYER = tar_of(
    [
        folder("etc"),
        member("etc/file", b"x" * 700),
        link("etc/link", "/etc"),
        link("etc/hard", "etc/file", tarfile.LNKTYPE),
        member("var/.wh.x"),
        member("var/.wh..wh..opq"),
        member("n" * 120, b"1", uid=1 << 22),
        member("end", kind=tarfile.FIFOTYPE),
    ]
)

NAMES = st.sampled_from(
    ["a", "a/b", "../x", "/x", "a/../../x", "l", "l/x", ".wh.a", "a/.wh..wh..opq", "l/.wh.x", "./"]
)
KINDS = st.sampled_from("0123456LKxgS7V")
TARGETS = st.sampled_from(["a", "/", "..", "../../..", "/etc", "l", "a/b", ""])


@st.composite
def members(draw):
    """Members that may get in each other's way."""
    kind = draw(KINDS).encode()
    info, data = member(
        draw(NAMES), draw(st.binary(max_size=20)), kind=kind, linkname=draw(TARGETS)
    )
    info.mode = draw(st.integers(0, 0o7777))
    info.uid = draw(st.sampled_from([0, 1, 65534, 1 << 31]))
    return bytes(info.tobuf(tarfile.GNU_FORMAT)) + data + bytes(-len(data) % 512)


def mutated(data, changes):
    """The same with some bytes replaced; checksums of headers are mended, or nothing is reached."""
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    for at in range(0, len(changed) - 511, 512):
        block = changed[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(changed)


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8)


@contextlib.contextmanager
def guarded():
    """A folder in a folder; all around it must stay as it is."""
    with tempfile.TemporaryDirectory() as place:
        inner = os.path.join(place, "1/2/3")
        os.makedirs(inner)
        with open(os.path.join(place, "x"), "w") as file:
            file.write("of the host")
        before = os.stat(os.path.join(place, "x"))
        yield inner
        assert sorted(os.listdir(place)) == ["1", "x"]
        assert os.listdir(os.path.join(place, "1")) == ["2"]
        assert os.listdir(os.path.join(place, "1/2")) == ["3"]
        after = os.stat(os.path.join(place, "x"))
        assert after[:10] == before[:10] and Path(place, "x").read_text() == "of the host"
        for where, folders, _ in os.walk(inner):
            for name in folders:
                # so that all of it can be removed by whoever runs this
                if not os.path.islink(os.path.join(where, name)):
                    os.chmod(os.path.join(where, name), 0o700)
        shutil.rmtree(inner)


def check(data):
    """Unpack, and look at what is there then."""
    with guarded() as root, contextlib.suppress(Refusal):
        unpack(io.BytesIO(data), root, "layer", limits=LIMITS)
        for where, folders, files in os.walk(root):
            for name in folders + files:
                mode = os.lstat(os.path.join(where, name)).st_mode
                assert mode >> 12 in (0o10, 0o4, 0o12, 0o1) or mode == 0o020600


@given(st.lists(members(), max_size=6))
@few(150)
def test_layers_of_any_members(parts):
    check(b"".join(parts))


@given(CHANGES)
@few(150)
def test_layers_with_changed_bytes(changes):
    check(mutated(LAYER, changes))


@given(st.integers(0, len(LAYER)))
@few(30)
def test_layers_that_end_early(length):
    check(LAYER[:length])


@given(st.sampled_from(["gzip", "zstd"]), CHANGES)
@few(60)
def test_compressed_data_with_changed_bytes(kind, changes):
    import gzip

    packed = bytearray(gzip.compress(LAYER) if kind == "gzip" else zstd(LAYER))
    for at, value in changes:
        packed[at % len(packed)] = value
    with contextlib.suppress(Refusal):
        Uncompressed(io.BytesIO(bytes(packed)), "layer", LIMITS).finish()


def images():
    with tempfile.TemporaryDirectory() as place:
        layout = Layout().image([LAYER], packed="+zstd").image([LAYER], packed="", name="b")
        yield Path(layout.tar(os.path.join(place, "1"))).read_bytes()
        yield Path(docker_archive(os.path.join(place, "2"), [LAYER, LAYER])).read_bytes()


IMAGES = list(images())


@given(st.sampled_from(IMAGES), CHANGES)
@few(40)
def test_archives_with_changed_bytes(data, changes):
    with guarded() as place:
        path = os.path.join(place, "box.tar")
        with open(path, "wb") as file:
            file.write(mutated(data, changes))
        os.environ["AUBERGE_CACHE_DIR"] = os.path.join(place, "cache")
        try:
            with contextlib.suppress(Refusal):
                import_image(path, limits=LIMITS)
        finally:
            del os.environ["AUBERGE_CACHE_DIR"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "digest", "size", "mediaType", "config", "rootfs", "type", "diff_ids"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSON, st.sampled_from(["index.json", "oci-layout", "manifest.json"]))
@few(60)
def test_documents_of_any_shape(value, name):
    import json

    files = Layout().image([LAYER]).complete()
    files[name] = json.dumps(value).encode()
    if name == "manifest.json":
        del files["index.json"]
    with guarded() as place:
        path = os.path.join(place, "box.tar")
        with open(path, "wb") as file:
            file.write(tar_of([member(*item) for item in files.items()]))
        os.environ["AUBERGE_CACHE_DIR"] = os.path.join(place, "cache")
        try:
            with contextlib.suppress(Refusal):
                import_image(path, limits=LIMITS)
        finally:
            del os.environ["AUBERGE_CACHE_DIR"]
