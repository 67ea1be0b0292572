"""An initramfs holds exactly what was put into it, and nothing the kernel would drop."""

import io
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.image.cpio import Cpio
from tests.image.debian import needs
from tests.image.newc import read_back


def written(fill):
    out = io.BytesIO()
    cpio = Cpio(out)
    fill(cpio)
    cpio.close()
    return out.getvalue()


def sample(cpio):
    cpio.directory("bin")
    cpio.directory("dev", 0o700)
    cpio.file("bin/odd", b"12345", 0o755)
    cpio.file("bin/empty", b"")
    cpio.symlink("bin/sh", "odd")
    cpio.character_device("dev/console", 0o600, 5, 1)


def test_every_kind_of_entry_is_read_back():
    assert read_back(written(sample)) == [
        ("bin", 0o040755, b"", (0, 0)),
        ("dev", 0o040700, b"", (0, 0)),
        ("bin/odd", 0o100755, b"12345", (0, 0)),
        ("bin/empty", 0o100644, b"", (0, 0)),
        ("bin/sh", 0o120777, b"odd", (0, 0)),
        ("dev/console", 0o020600, b"", (5, 1)),
    ]


NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20)


@given(
    st.dictionaries(NAMES.filter(lambda name: name not in (".", "..", "TRAILER!!!")), st.binary())
)
def test_any_file_is_read_back(files):
    def fill(cpio):
        for name, data in files.items():
            cpio.file(name, data)

    found = {name: data for name, _, data, _ in read_back(written(fill))}
    assert found == files


@needs("cpio")
def test_cpio_itself_lists_it():
    listed = subprocess.run(
        ["cpio", "-tv", "--quiet", "--numeric-uid-gid"],
        input=written(sample),
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout.decode()
    words = [
        (line.split()[0], line[line.index("1970") + 4 :].strip()) for line in listed.splitlines()
    ]
    assert words == [
        ("drwxr-xr-x", "bin"),
        ("drwx------", "dev"),
        ("-rwxr-xr-x", "bin/odd"),
        ("-rw-r--r--", "bin/empty"),
        ("lrwxrwxrwx", "bin/sh -> odd"),
        ("crw-------", "dev/console"),
    ]


def test_the_same_calls_give_the_same_bytes():
    assert written(sample) == written(sample)


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", ".", "..", "a/../b", "./a", "a\0b"])
def test_only_plain_relative_paths(name):
    with pytest.raises(ValueError) as told:
        written(lambda cpio: cpio.file(name, b""))
    assert str(told.value) in (
        f"{name!r} is not a plain relative path",
        f"{name!r} is in the archive already",
    )


def test_a_directory_comes_before_what_is_in_it():
    with pytest.raises(ValueError) as told:
        written(lambda cpio: cpio.file("etc/passwd", b""))
    assert str(told.value) == "'etc/passwd' comes before its directory"


def test_a_file_is_not_a_directory():
    def fill(cpio):
        cpio.file("etc", b"")
        cpio.file("etc/passwd", b"")

    with pytest.raises(ValueError) as told:
        written(fill)
    assert str(told.value) == "'etc/passwd' comes before its directory"


@pytest.mark.parametrize("name", ["twice", "TRAILER!!!"])
def test_a_name_is_used_once(name):
    def fill(cpio):
        cpio.file("twice", b"")
        cpio.file(name, b"")

    with pytest.raises(ValueError) as told:
        written(fill)
    assert str(told.value) == f"{name!r} is in the archive already"


def test_a_mode_is_permissions_only():
    with pytest.raises(ValueError) as told:
        written(lambda cpio: cpio.file("a", b"", 0o100644))
    assert str(told.value) == "a: mode 0o100644 has bits other than permissions"


@pytest.mark.parametrize("target", ["", "a\0b"])
def test_a_link_points_somewhere(target):
    with pytest.raises(ValueError) as told:
        written(lambda cpio: cpio.symlink("a", target))
    assert str(told.value) == f"a: {target!r} cannot be the target of a symbolic link"
