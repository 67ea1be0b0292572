"""What the encoder writes is a device tree: by our own decoder, and by Debian's dtc."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.fdt import Node, encode, property_value, u64
from tests.machine.flattened import decode

needs_dtc = pytest.mark.skipif(
    shutil.which("dtc") is None, reason="no dtc here; apt install device-tree-compiler"
)

names = st.text("abcdefghijklmnopqrstuvwxyz,-#0123456789", min_size=1, max_size=31)
values = st.one_of(
    st.integers(0, 2**32 - 1),
    st.text(st.characters(blacklist_characters="\0", codec="utf-8")),
    st.binary(max_size=20),
    st.just(True),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9).map(tuple),
    st.lists(st.text("abc.", max_size=5), min_size=1, max_size=4).map(tuple),
)
properties = st.dictionaries(names, values, max_size=5)


def nodes(name):
    return st.deferred(
        lambda: st.builds(
            lambda own, below: Node(name, own, [Node(n, p) for n, p in below.items()]),
            properties,
            st.dictionaries(names, properties, max_size=4),
        )
    )


@given(nodes(""))
def test_what_is_encoded_is_read_back(root):
    read = decode(encode(root))
    assert read["/"] == {name: property_value(value) for name, value in root.properties.items()}
    for child in root.children:
        expected = {name: property_value(value) for name, value in child.properties.items()}
        assert read["/" + child.name] == expected
    assert len(read) == 1 + len(root.children)


def test_values():
    assert property_value(1) == b"\0\0\0\1"
    assert property_value((1, 0xFFFFFFFF)) == b"\0\0\0\1\xff\xff\xff\xff"
    assert property_value("ab") == b"ab\0"
    assert property_value(("a", "bc")) == b"a\0bc\0"
    assert property_value(b"\1\2") == b"\1\2"
    assert property_value(True) == b""
    assert u64(0x1_0000_0002, 3) == (1, 2, 0, 3)


@needs_dtc
def test_dtc_reads_it():
    tree = Node(
        "",
        {"#address-cells": 2, "#size-cells": 2, "compatible": ("a,b", "c")},
        [Node("chosen", {"bootargs": "x=1"}), Node("soc@1000", {"reg": u64(0x1000, 16)})],
    )
    command = ["dtc", "-I", "dtb", "-O", "dts", "-"]
    done = subprocess.run(command, input=encode(tree), capture_output=True, check=True)
    assert done.stdout.decode() == (
        "/dts-v1/;\n\n/ {\n\t#address-cells = <0x02>;\n\t#size-cells = <0x02>;\n"
        '\tcompatible = "a,b\\0c";\n\n\tchosen {\n\t\tbootargs = "x=1";\n\t};\n\n'
        "\tsoc@1000 {\n\t\treg = <0x00 0x1000 0x00 0x10>;\n\t};\n};\n"
    )
