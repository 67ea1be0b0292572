"""What a layer holds is in its directory: kinds, modes, owners, times, links, holes, whiteouts."""

import io
import json
import os
import stat
import subprocess
import tarfile

import pytest

from auberge.image.oci.layer import Contents
from auberge.image.oci.unpack import unpack
from tests.image.debian import needs
from tests.image.oci.archives import folder, link, member, tar_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and nodes are root's to make")


def unpacked(path, members, below=(), form=tarfile.PAX_FORMAT):
    path.mkdir()
    data = members if isinstance(members, bytes) else tar_of(members, form)
    return unpack(io.BytesIO(data), str(path), "layer", [str(each) for each in below])


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_kind_is_there_as_it_was(tmp_path, form):
    members = [
        folder("./", mode=0o755),
        folder("./d", mode=0o1777, mtime=1_234_567_890),
        member("./d/file", b"data" * 1000, mode=0o4711, mtime=1_111_111_111),
        link("./d/link", "../nowhere\n"),
        link("./d/hard", "./d/file", tarfile.LNKTYPE),
        member("./fifo", kind=tarfile.FIFOTYPE, mode=0o640),
        member("./closed", b"x", mode=0),
        member("./contiguous", b"y", kind=tarfile.CONTTYPE),
    ]
    contents = unpacked(tmp_path / "root", members, form=form)
    root = tmp_path / "root"
    assert stat.filemode((root / "d").stat().st_mode) == "drwxrwxrwt"
    assert (root / "d").stat().st_mtime == 1_234_567_890
    assert (root / "d/file").read_bytes() == b"data" * 1000
    assert stat.filemode((root / "d/file").stat().st_mode) == "-rws--x--x"
    assert (root / "d/file").stat().st_mtime == 1_111_111_111
    assert os.readlink(root / "d/link") == "../nowhere\n"
    assert (root / "d/hard").samefile(root / "d/file")
    assert stat.filemode((root / "fifo").lstat().st_mode) == "prw-r-----"
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0
    assert (root / "contiguous").read_bytes() == b"y"
    assert contents.size == 4002
    assert contents._replace(size=0) == Contents(0, (), (), {}, True, (), False)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_names_of_bytes(tmp_path, form):
    name = "/".join(["n" * 200] * 3)
    odd = b"\xff\xfe \t".decode(errors="surrogateescape")
    members = [member(name, b"1"), link("l", name, tarfile.LNKTYPE), member(odd, b"2")]
    if form == tarfile.PAX_FORMAT:
        members.append(member("ümläut", b"3"))
    unpacked(tmp_path / "root", members, form=form)
    assert (tmp_path / "root" / name).samefile(tmp_path / "root/l")
    assert (tmp_path / "root" / odd).read_bytes() == b"2"


@as_root
def test_owners_large_and_small(tmp_path):
    members = [member("a", uid=1000, gid=50, mode=0o6755), member("b", uid=4_000_000_000)]
    members += [folder("d", uid=7), link("l", "x")]
    members[-1][0].gid = 9
    contents = unpacked(tmp_path / "root", members)
    found = {
        path.name: (path.lstat().st_uid, path.lstat().st_gid)
        for path in (tmp_path / "root").iterdir()
    }
    assert found == {"a": (1000, 50), "b": (4_000_000_000, 0), "d": (7, 0), "l": (0, 9)}
    assert stat.S_IMODE((tmp_path / "root/a").stat().st_mode) == 0o6755
    assert contents.owners == {}


@as_root
def test_capabilities_are_kept(tmp_path):
    # version 2, cap_net_raw permitted and effective (linux/capability.h, struct vfs_cap_data)
    capability = (0x02000001).to_bytes(4, "little") + (1 << 13).to_bytes(4, "little") + bytes(12)
    info, data = member("ping", b"#!", mode=0o755, uid=5)
    info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    archive = tar_of([(info, data)])
    # tarfile writes UTF-8, of which these bytes are a part that is the same
    unpacked(tmp_path / "root", archive)
    assert os.getxattr(tmp_path / "root/ping", "security.capability") == capability


@needs("tar")
@pytest.mark.parametrize("form", ["gnu", "pax"], ids=["old GNU", "pax 1.0"])
@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_holes_stay_holes(tmp_path, form, pieces):
    source = tmp_path / "sparse"
    with open(source, "wb") as file:
        for number in range(pieces):
            file.seek(number * 100_000 + 4096)
            file.write(b"%05d" % number)
        file.truncate(6_000_000)
    command = ["tar", "-C", str(tmp_path), f"--format={form}", "-cS", "sparse"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(archive) < 1_000_000
    unpacked(tmp_path / "root", archive)
    found = tmp_path / "root/sparse"
    assert found.read_bytes() == source.read_bytes()
    assert found.stat().st_blocks * 512 < 1_000_000


@needs("tar")
@pytest.mark.parametrize("version", ["0.0", "0.1"])
def test_older_ways_to_say_holes(tmp_path, version):
    source = tmp_path / "sparse"
    with open(source, "wb") as file:
        file.seek(1_000_000)
        file.write(b"end")
    command = ["tar", "-C", str(tmp_path), "--format=pax", f"--sparse-version={version}", "-cS"]
    archive = subprocess.run([*command, "sparse"], capture_output=True, check=True).stdout
    unpacked(tmp_path / "root", archive)
    assert (tmp_path / "root/sparse").read_bytes() == source.read_bytes()


@as_root
def test_whiteouts_are_what_overlayfs_has(tmp_path):
    members = [member("etc/.wh.gone"), member("var/.wh..wh..opq"), member("var/new", b"1")]
    members += [member(".wh..wh.plnk/1"), member(".wh..wh.aufs")][1:]
    contents = unpacked(tmp_path / "root", members, below=[tmp_path])
    node = (tmp_path / "root/etc/gone").lstat()
    assert stat.S_ISCHR(node.st_mode) and node.st_rdev == 0
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        assert os.getxattr(tmp_path / "root/var", name) == b"y"
    assert not (tmp_path / "root/var/.wh..wh..opq").exists()
    assert contents.whiteouts == ("etc/gone",) and contents.opaques == ("var",)


@as_root
def test_what_a_layer_has_itself_it_does_not_hide(tmp_path):
    """ "Whiteout files MUST only apply to resources in lower/parent layers"."""
    members = [member("d/.wh.x"), member("d/x", b"1"), folder("e"), member("e/y"), member(".wh.e")]
    contents = unpacked(tmp_path / "root", members, below=[tmp_path])
    assert (tmp_path / "root/d/x").read_bytes() == b"1"
    assert os.listdir(tmp_path / "root/e") == ["y"]
    assert os.getxattr(tmp_path / "root/e", "user.overlay.opaque") == b"y"
    assert contents.whiteouts == ("d/x",) and contents.opaques == ("e",)


def test_a_layer_at_the_bottom_hides_nothing(tmp_path):
    contents = unpacked(tmp_path / "root", [member(".wh.x"), folder("d")])
    assert os.listdir(tmp_path / "root") == ["d"]
    assert contents.depends and contents.whiteouts == ("x",)


def test_directories_that_are_not_mentioned_are_as_below(tmp_path):
    unpacked(tmp_path / "low", [folder("tmp", mode=0o1777, mtime=5), folder("usr", mode=0o755)])
    contents = unpacked(tmp_path / "plain", [member("usr/x")], below=[tmp_path / "low"])
    assert not contents.depends
    contents = unpacked(tmp_path / "high", [member("tmp/a/x")], below=[tmp_path / "low"])
    assert contents.depends
    assert stat.S_IMODE((tmp_path / "high/tmp").stat().st_mode) == 0o1777
    assert (tmp_path / "high/tmp").stat().st_mtime == 5
    assert stat.S_IMODE((tmp_path / "high/tmp/a").stat().st_mode) == 0o755


def test_a_hard_link_to_a_symbolic_link_is_one_to_the_link(tmp_path):
    (tmp_path / "secret").write_text("of the host")
    members = [link("l", str(tmp_path / "secret")), link("h", "l", tarfile.LNKTYPE)]
    members += [link("d", "/etc"), link("e", "d", tarfile.LNKTYPE)]
    unpacked(tmp_path / "root", members)
    assert os.readlink(tmp_path / "root/h") == str(tmp_path / "secret")
    assert (tmp_path / "root/h").lstat().st_ino == (tmp_path / "root/l").lstat().st_ino
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_a_directory_may_be_repeated(tmp_path):
    members = [folder("d", mode=0o700), member("d/x"), folder("d/", mode=0o750)]
    unpacked(tmp_path / "root", members)
    assert stat.S_IMODE((tmp_path / "root/d").stat().st_mode) == 0o750


def test_times_before_1970_and_between_seconds(tmp_path):
    info, data = member("a", mtime=-1.5)
    unpacked(tmp_path / "root", [(info, data), member("b", mtime=12.25)])
    assert (tmp_path / "root/a").stat().st_mtime_ns == -1_500_000_000
    assert (tmp_path / "root/b").stat().st_mtime_ns == 12_250_000_000


def test_what_is_known_of_a_layer_is_json():
    contents = Contents(1, ("a",), (), {"x": (1, 2)}, True, ("",), False)
    assert json.loads(json.dumps(contents)) == [1, ["a"], [], {"x": [1, 2]}, True, [""], False]
