"""A layer that would harm its host is refused with one line, and nothing outside is touched."""

import io
import os
import tarfile

import pytest

from auberge.image.oci.limits import Limits
from auberge.image.oci.unpack import unpack
from auberge.refusal import Refusal
from tests.image.oci.archives import folder, link, member, tar_of

OTHER = "; use another archive"
DEEP = "/".join("d" * 300)

HOSTILE = {
    "absolute": ([member("/etc/passwd")], "'/etc/passwd' is an absolute path"),
    "above": ([member("../x")], "'../x' leaves the archive"),
    "above, later": ([folder("a"), member("a/../../x")], "'a/../../x' leaves the archive"),
    "behind a link": (
        [link("a", "/etc"), member("a/x")],
        "'a' is not a directory, but something is to be in it",
    ),
    "behind a link that leads inside": (
        [folder("b"), link("a", "b"), member("a/x")],
        "'a' is not a directory, but something is to be in it",
    ),
    "directory behind a link": (
        [link("a", "../.."), folder("a/x")],
        "'a' is not a directory, but something is to be in it",
    ),
    "directory in the place of a link": (
        [link("a", "/"), folder("a")],
        "'a/' is in the layer twice",
    ),
    "hard link to the host": (
        [link("x", "../../secret", tarfile.LNKTYPE)],
        "'../../secret' leaves the archive",
    ),
    "hard link to an absolute path": (
        [link("x", "/etc/passwd", tarfile.LNKTYPE)],
        "'/etc/passwd' is an absolute path",
    ),
    "hard link through a link": (
        [link("a", "/etc"), link("x", "a/passwd", tarfile.LNKTYPE)],
        "'a' is not a directory, but something is to be in it",
    ),
    "hard link to nothing": (
        [link("x", "none", tarfile.LNKTYPE)],
        "'x' is a hard link to what is not in the layer",
    ),
    "hard link to a directory": (
        [folder("d"), link("x", "d", tarfile.LNKTYPE)],
        "'x' is a hard link to a directory",
    ),
    "hard link to the root": (
        [link("x", "./", tarfile.LNKTYPE)],
        "'x' is a hard link to the root",
    ),
    "character device": (
        [member("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        "'null' is a device, which no layer needs",
    ),
    "overlayfs' own whiteout": (
        [member("etc", kind=tarfile.CHRTYPE)],
        "'etc' is a device, which no layer needs",
    ),
    "block device": (
        [member("sda", kind=tarfile.BLKTYPE, devmajor=8)],
        "'sda' is a device, which no layer needs",
    ),
    "twice": ([member("a"), member("a")], "'a' is in the layer twice"),
    "file over a link": ([link("a", "/etc/passwd"), member("a")], "'a' is in the layer twice"),
    "file over a directory": ([folder("a"), member("a")], "'a' is in the layer twice"),
    "link to nothing": ([link("a", "")], "'a' is a symbolic link to nothing"),
    "newline": ([member("a\nb")], "'a\\nb' is no name for a file"),
    "deep": ([member(DEEP)], f"{DEEP[:40]!r}...: too long a path"),
    "long": ([member("/".join(["x" * 200] * 30))], f"{'x' * 40!r}...: too long a path"),
    "file as the root": ([member("./.")], "'./.' is the root, but no directory"),
    "whiteout of nothing": ([member(".wh.")], "'.wh.' is a whiteout of nothing"),
    "whiteout of the directory": ([member("a/.wh..")], "'a/.wh..' is a whiteout of nothing"),
    "whiteout of what is above": ([member(".wh...")], "'.wh...' is a whiteout of nothing"),
    "in a whiteout": ([member(".wh.a/b")], "'.wh.a/b' is in what is a whiteout"),
    "whiteout that is a link": ([link(".wh.a", "b")], "'.wh.a' is a whiteout, but no file"),
    "whiteout behind a link": (
        [link("a", "/etc"), member("a/.wh.passwd")],
        "'a' is not a directory, but something is to be in it",
    ),
    "unknown": ([member("a", kind=b"V")], "'a' is of the unknown kind 'V'"),
    "much": ([member("a", bytes(3000)), member("b", bytes(3000))],
             "'b' is too much, with more than 5000 bytes before"),
}  # fmt: skip


def listing(path):
    return sorted(
        (os.path.relpath(os.path.join(where, name), path))
        for where, folders, files in os.walk(path)
        for name in folders + files
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_layer_is_refused(tmp_path, name):
    members, why = HOSTILE[name]
    (tmp_path / "secret").write_text("of the host")
    root = tmp_path / "a/root"
    root.mkdir(parents=True)
    limits = Limits(size=5000)
    with pytest.raises(Refusal) as refused:
        unpack(io.BytesIO(tar_of(members)), str(root), "layer", limits=limits)
    assert str(refused.value) == f"layer: {why}{OTHER}"
    outside = [path for path in listing(tmp_path) if not path.startswith("a/root/")]
    assert outside == ["a", "a/root", "secret"]
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_too_many_members(tmp_path):
    data = tar_of([member(str(number)) for number in range(4)])
    with pytest.raises(Refusal) as refused:
        unpack(io.BytesIO(data), str(tmp_path), "layer", limits=Limits(entries=3))
    assert str(refused.value) == f"layer: more than 3 members{OTHER}"


@pytest.mark.parametrize("at_once", [True, False], ids=["of one member", "of several"])
def test_more_attributes_than_memory_is_to_keep(tmp_path, at_once):
    record = "29 SCHILY.xattr.user.x%d=1234\n"
    headers = [tarfile.TarInfo("pax") for _ in range(4)]
    pieces = []
    for number, header in enumerate(headers):
        data = (record % number).encode()
        data = data.replace(b"29", b"%d" % len(data), 1)
        header.type, header.size = tarfile.XHDTYPE, len(data)
        pieces.append(header.tobuf() + data.ljust(512, b"\0"))
        if not at_once:
            pieces.append(folder(f"d{number}")[0].tobuf())
    with pytest.raises(Refusal) as refused:
        unpack(io.BytesIO(b"".join(pieces)), str(tmp_path), "layer", limits=Limits(told=14))
    why = "names and attributes have more than 14 bytes"
    assert str(refused.value).endswith(f": {why}{OTHER}")


def pax(records, kind=b"x"):
    """An extended header of records that tarfile would not write."""
    data = b""
    for keyword, value in records:
        body = b" " + keyword + b"=" + value + b"\n"
        length = len(body) + 1
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        data += str(length).encode() + body
    return member("PaxHeaders", data, kind=kind)


def raw(info, data):
    """A member as tarfile writes headers of plain files, whatever its kind is."""
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    return bytes(block) + data + bytes(-len(data) % 512)


NONSENSE = {
    "huge header": (raw(*member("x", b"", kind=b"x", size=1 << 32)),
                    "member 1: an extended header of 4294967296 bytes"),
    "huge long name": (raw(*member("x", b"", kind=b"L", size=1 << 21)),
                       "member 1: an extended header of 2097152 bytes"),
    "NUL in a name": (raw(*pax([(b"path", b"a\0b")])) + raw(*member("c")),
                      "member 1: a name with NUL in it"),
    "length": (raw(*member("x", b"99 path=a\n", kind=b"x")),
               "member 1: a record's length is wrong"),
    "no value": (raw(*member("x", b"7 path\n", kind=b"x")), "member 1: a record has no value"),
    "no number": (raw(*pax([(b"size", b"-5")])), "member 1: not a number"),
    "no time": (raw(*pax([(b"mtime", b"1.x")])), "member 1: not a time"),
    "owner": (raw(*pax([(b"uid", b"4294967295")])) + raw(*member("c")),
              "member 2: no owner can be 4294967295"),
    "huge": (raw(*pax([(b"size", b"9" * 18)])) + raw(*member("c")),
             "member 2: 999999999999999999 bytes, more than 68719476736"),
    "half a header": (b"x" * 100, "ends in the middle of a header"),
    "no header": (b"x" * 1024, "member 1: not a tar header"),
    "data is short": (raw(*member("x", b"", size=5000)), "ends in the middle of a member"),
    "header alone": (raw(*pax([(b"path", b"a")])), "ends after an extended header"),
    "sparse map": (raw(*pax([(b"GNU.sparse.map", b"5,9,3,9"), (b"GNU.sparse.size", b"50")]))
                   + raw(*member("c", b"x" * 18)), "member 2: a sparse file's map is out of order"),
    "sparse beyond": (raw(*pax([(b"GNU.sparse.map", b"5,9"), (b"GNU.sparse.size", b"10")]))
                      + raw(*member("c", b"x" * 9)),
                      "member 2: a sparse file's map is out of order"),
    "sparse stored": (raw(*pax([(b"GNU.sparse.map", b"5,9"), (b"GNU.sparse.size", b"50")]))
                      + raw(*member("c", b"x" * 8)),
                      "member 2: a sparse file's map is not of its data"),
    "sparse half": (raw(*pax([(b"GNU.sparse.map", b"5,9,3"), (b"GNU.sparse.size", b"50")])),
                    "member 1: half an extent"),
    "sparse count": (raw(*pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]))
                     + raw(*member("c", b"99999999\n" + bytes(503))),
                     "member 2: a sparse file's map is longer than its data"),
    "sparse bomb": (raw(*pax([(b"GNU.sparse.map", b""), (b"GNU.sparse.size", b"9" * 18)]))
                    + raw(*member("c")),
                    "member 2: 999999999999999999 bytes, more than 68719476736"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, name):
    data, why = NONSENSE[name]
    with pytest.raises(Refusal) as refused:
        unpack(io.BytesIO(data), str(tmp_path), "layer")
    assert str(refused.value) == f"layer: {why}{OTHER}"


def test_attributes_that_overlayfs_would_believe_are_dropped(tmp_path):
    info, data = member("d/x", b"data")
    info.pax_headers = {
        "SCHILY.xattr.user.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.user.mine": "kept",
    }
    unpack(io.BytesIO(tar_of([(info, data)])), str(tmp_path), "layer")
    assert os.listxattr(tmp_path / "d/x") == ["user.mine"]


def test_a_full_disk_is_one_line(tmp_path):
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(Refusal) as refused:
            unpack(io.BytesIO(tar_of([member("a", bytes(3000))])), str(tmp_path), "layer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    why = "file too large; free some space, or use another archive"
    assert str(refused.value) == f"layer: 'a': {why}"
