"""A CD holds the files it was given, as ECMA-119 says."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.image.iso9660 import SECTOR, Cd


def burn(files):
    out = io.BytesIO(b"what was there before")
    cd = Cd(out)
    for name, data in files.items():
        cd.file(name, lambda to, data=data: to.write(data))
    cd.close()
    return out.getvalue()


def padded(name):
    stem, extension = name.split(".")
    return f"{stem:8}", extension


def both(data, at, size):
    """A number that has to be the same in both byte orders."""
    little = int.from_bytes(data[at : at + size], "little")
    assert little == int.from_bytes(data[at + size : at + 2 * size], "big")
    return little


def records(image):
    """What the directory says: name, flags, and contents, in its order."""
    descriptor = image[16 * SECTOR : 17 * SECTOR]
    assert descriptor[:7] == b"\1CD001\1" and descriptor[881] == 1
    assert image[17 * SECTOR : 17 * SECTOR + 7] == b"\xffCD001\1"
    assert both(descriptor, 80, 4) * SECTOR == len(image)
    assert both(descriptor, 128, 2) == SECTOR
    root, size = both(descriptor, 158, 4), both(descriptor, 166, 4)
    for at, order in ((140, "<"), (148, ">")):
        (table,) = struct.unpack_from(f"{order}I", descriptor, at)
        assert struct.unpack_from(f"{order}BBI", image, table * SECTOR) == (1, 0, root)
    directory = image[root * SECTOR : root * SECTOR + size]
    at = 0
    while at < size:
        if not directory[at]:
            at += SECTOR - at % SECTOR
            continue
        length = directory[at]
        assert at // SECTOR == (at + length - 1) // SECTOR and length % 2 == 0
        name = directory[at + 33 : at + 33 + directory[at + 32]]
        start = both(directory, at + 2, 4) * SECTOR
        yield name, directory[at + 25], image[start : start + both(directory, at + 10, 4)]
        at += length


@given(st.dictionaries(st.from_regex("[A-Z0-9_]{1,8}[.][A-Z]{3}", fullmatch=True), st.binary()))
def test_what_was_written_is_read(files):
    itself, parent, *rest = records(burn(files))
    assert itself == (b"\0", 2, parent[2]) and parent[:2] == (b"\1", 2)
    assert rest == [(f"{name};1".encode(), 0, files[name]) for name in sorted(files, key=padded)]


def test_a_directory_may_need_many_sectors():
    files = {f"P{number:04}.DEB": bytes([number % 251]) * number for number in range(500)}
    assert {name: data for name, _, data in records(burn(files))} == {
        b"\0": next(records(burn(files)))[2],
        b"\1": next(records(burn(files)))[2],
        **{f"{name};1".encode(): data for name, data in files.items()},
    }


def test_the_same_files_make_the_same_cd():
    assert burn({"A.DEB": b"a"}) == burn({"A.DEB": b"a"})


def test_a_file_that_does_not_fit_is_an_error():
    class Vast(io.BytesIO):
        def tell(self):
            return 1 << 33

    with pytest.raises(ValueError, match="^A.DEB is too large for a file of a CD$"):
        Cd(Vast()).file("A.DEB", lambda to: None)
