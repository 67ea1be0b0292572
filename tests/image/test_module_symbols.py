"""Modules lose the symbols that nobody needs, and nothing else."""

import struct

import pytest

from auberge.image.module_symbols import without_labels
from auberge.refusal import Refusal

SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")


def module(symbols, relocations, text=bytes(16)):
    """A relocatable object: .text, its relocations, symbols (name, is global, value), names."""
    names, table = bytearray(b"\0"), bytearray(SYMBOL.size)
    for name, is_global, value in symbols:
        table += SYMBOL.pack(len(names), is_global << 4, 0, 1, value, 0)
        names += name.encode() + b"\0"
    rela = b"".join(struct.pack("<QQq", at, index << 32 | 18, 4) for at, index in relocations)
    contents = [b"", text, rela, bytes(table), bytes(names)]
    out, headers = bytearray(64), bytearray()
    kinds = [(0, 0, 0), (1, 0, 0), (4, 3, 1), (2, 4, 1), (3, 0, 0)]
    for (kind, link, info), data in zip(kinds, contents, strict=True):
        headers += SECTION.pack(0, kind, 0, 0, len(out), len(data), link, info, 1, 0)
        out += data
    struct.pack_into("<16sHHIQQQIHHHHHH", out, 0, b"\x7fELF\x02\x01\x01", 1, 243, 1, 0, 0,
                     len(out), 0, 64, 0, 0, 64, len(kinds), 4)  # fmt: skip
    return bytes(out + headers)


def read(data):
    """The symbols by name with their values, what relocations name, and sh_info of the table."""
    begin, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    sections = [SECTION.unpack_from(data, begin + 64 * number) for number in range(count)]
    pieces = [data[each[4] : each[4] + each[5]] for each in sections]

    def name(symbol):
        return pieces[4][symbol[0] : pieces[4].index(b"\0", symbol[0])].decode()

    symbols = list(SYMBOL.iter_unpack(pieces[3]))
    named = [name(symbols[info >> 32]) for _, info, _ in struct.iter_unpack("<QQq", pieces[2])]
    return {name(each): each[4] for each in symbols[1:]}, named, sections[3][7], pieces[1]


def test_labels_that_no_relocation_names_go():
    labels = [(f".L{number}", 0, number) for number in range(100)]
    data = module([*labels, ("init", 1, 7), ("printk", 1, 0)], [(0, 43), (8, 102), (4, 102)])
    slim = without_labels("x.ko", data)
    assert len(slim) < len(data) - 97 * SYMBOL.size
    symbols, named, locals_, text = read(slim)
    assert symbols == {".L42": 42, "init": 7, "printk": 0}
    assert named == [".L42", "printk", "printk"]
    assert locals_ == 2  # the null symbol and the label
    assert text == bytes(16)
    assert read(without_labels("x.ko", slim)) == read(slim)


@pytest.mark.parametrize("cut", [10, 64, 100])
def test_what_is_no_module_is_refused(cut):
    data = module([("a", 1, 1)], [(0, 1)])
    with pytest.raises(Refusal, match=r"x.ko: not a kernel module \(.*\); use another archive"):
        without_labels("x.ko", data[:cut] + bytes(0))


def test_a_relocation_of_no_symbol_is_refused():
    with pytest.raises(Refusal, match="x.ko: not a kernel module"):
        without_labels("x.ko", module([("a", 1, 1)], [(0, 9)]))
