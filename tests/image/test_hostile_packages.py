"""A package never reaches outside itself, whoever signed it."""

import tarfile

import pytest

from auberge.image import deb
from auberge.refusal import Refusal
from tests.image.debian import deb_of, needs, regular, special

pytestmark = needs("dpkg-deb")


def read(package):
    return deb.read_members(package, lambda path: path == "busybox", lambda done: None)


def test_the_wanted_files_are_read(tmp_path):
    members = [
        special("./", tarfile.DIRTYPE),
        special("./usr/", tarfile.DIRTYPE),
        regular("./usr/a", b"one"),
        special("./usr/link", tarfile.SYMTYPE, "a"),
        special("./usr/hard", tarfile.LNKTYPE, "./usr/a"),
        regular("./usr/b", b"two"),
    ]
    package = deb_of(members, tmp_path / "good.deb")
    heard = []
    found = deb.read_members(package, lambda path: path in ("usr/a", "usr"), heard.append)
    assert found == {"usr/a": b"one"}
    assert heard == sorted(heard) and len(heard) == 6


HOSTILE = {
    "absolute": (
        [regular("/etc/passwd", b"x")],
        "'/etc/passwd' leaves the package",
    ),
    "upwards": (
        [regular("./usr/../../etc/passwd", b"x")],
        "'./usr/../../etc/passwd' leaves the package",
    ),
    "up": ([special("..", tarfile.DIRTYPE)], "'..' leaves the package"),
    "empty component": ([regular("./usr//passwd", b"x")], "'./usr//passwd' leaves the package"),
    "through a link": (
        [special("./lib", tarfile.SYMTYPE, "/etc"), regular("./lib/passwd", b"x")],
        "'lib/passwd' is behind a symbolic link",
    ),
    "deep through a link": (
        [special("./lib", tarfile.SYMTYPE, ".."), special("./lib/a/b", tarfile.DIRTYPE)],
        "'lib/a/b' is behind a symbolic link",
    ),
    "hard link": (
        [special("./passwd", tarfile.LNKTYPE, "/etc/passwd")],
        "'passwd' links out of the package",
    ),
    "hard link up": (
        [special("./passwd", tarfile.LNKTYPE, "../etc/passwd")],
        "'passwd' links out of the package",
    ),
    "block device": ([special("./sda", tarfile.BLKTYPE)], "'sda' is a device or FIFO"),
    "character device": ([special("./mem", tarfile.CHRTYPE)], "'mem' is a device or FIFO"),
    "fifo": ([special("./pipe", tarfile.FIFOTYPE)], "'pipe' is a device or FIFO"),
    "wanted link": (
        [special("./busybox", tarfile.SYMTYPE, "/bin/true")],
        "busybox is not a regular file",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_refuses_the_package(tmp_path, name):
    members, complaint = HOSTILE[name]
    package = deb_of([regular("./fine", b"x"), *members], tmp_path / "hostile.deb")
    with pytest.raises(Refusal) as told:
        read(package)
    assert str(told.value) == f"{package}: {complaint}; use another archive"


def test_a_giant_is_refused_before_it_is_read(tmp_path):
    info, _ = regular("./giant")
    package = tmp_path / "giant.deb"
    deb_of([(info, b"")], package)
    # only the header claims it: 1 GiB, in the octal of ustar
    data = package.read_bytes()
    at = data.index(b"./giant") + 124
    header = bytearray(data[at - 124 : at + 388])
    header[124:136] = b"%011o\0" % (1 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    package.write_bytes(data[: at - 124] + header + data[at + 388 :])
    with pytest.raises(Refusal) as told:
        read(str(package))
    assert str(told.value) == f"{package}: 'giant' claims 1073741824 bytes; use another archive"


def test_not_a_package(tmp_path):
    package = tmp_path / "text.deb"
    package.write_text("hello\n" * 100)
    complaint = f"'{package}' is not a Debian format archive; remove it and build again"
    with pytest.raises(Refusal) as told:
        read(str(package))
    assert str(told.value) == f"{package}: dpkg-deb: error: {complaint}"
    with pytest.raises(Refusal) as told:
        deb.field(str(package), "Installed-Size")
    assert str(told.value) == f"{package}: dpkg-deb: error: {complaint}"


def test_a_truncated_package(tmp_path):
    package = deb_of([regular("./a", bytes(100_000))], tmp_path / "short.deb")
    with open(package, "r+b") as file:
        file.truncate(50_000)
    with pytest.raises(Refusal) as told:
        read(package)
    text = str(told.value)
    assert text.startswith(f"{package}: ") and text.endswith("; remove it and build again")
    assert "\n" not in text
