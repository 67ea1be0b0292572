"""What is taken from the kernel package is what it claims to be."""

import lzma

import pytest

from auberge.image.kernel import check_image
from auberge.image.modules import closure, load_modules, modules_alias, modules_dep
from auberge.refusal import Refusal
from tests.image.debian import module, raw_image

MODULES = load_modules(
    {
        "kernel/a-b.ko.xz": lzma.compress(module("a_b", "c,d", ["of:N*Cx", "virtio:d2"])),
        "kernel/c.ko": module("c", "d"),
        "kernel/d.ko": module("d"),
        "kernel/e.ko": module("e"),
    }
)


def test_dependencies_come_first():
    assert closure(["e", "a_b"], MODULES) == ["e", "d", "c", "a_b"]


def test_modprobe_is_told_what_to_load():
    order = closure(["a_b"], MODULES)
    assert modules_dep(order, MODULES) == "d.ko:\nc.ko: d.ko\na_b.ko: c.ko d.ko\n"
    assert modules_alias(order, MODULES) == "alias of:N*Cx a_b\nalias virtio:d2 a_b\n"


def test_a_circle_is_refused():
    modules = load_modules({"a.ko": module("a", "b"), "b.ko": module("b", "a")})
    with pytest.raises(Refusal) as told:
        closure(["a"], modules)
    assert str(told.value) == "a.ko: depends on itself; use another archive"


@pytest.mark.parametrize("data", [b"", b"\x7fELF no info", b"text\0depends=\0"])
def test_not_a_module(data):
    with pytest.raises(Refusal) as told:
        load_modules({"kernel/x.ko": data})
    assert str(told.value) == "kernel/x.ko: not a kernel module; use another archive"


def test_not_compressed():
    with pytest.raises(Refusal) as told:
        load_modules({"kernel/x.ko.xz": b"hello"})
    complaint = "Input format not supported by decoder"
    assert str(told.value) == f"kernel/x.ko.xz: {complaint}; use another archive"


def test_a_raw_image_is_a_kernel():
    check_image("vmlinux", raw_image())
    check_image("vmlinux", raw_image(image_size=1 << 20))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"MZ", "too short for a kernel"),
        (bytes(100), "not a raw RISC-V kernel image"),
        (b"\x1f\x8b" + bytes(100), "not a raw RISC-V kernel image"),
        (raw_image(magic2=b"ARM\x64"), "not a raw RISC-V kernel image"),
        (raw_image(flags=1), "a big-endian kernel"),
        (raw_image(image_size=0), "8192 bytes do not fit the 0 of its header"),
        (raw_image(image_size=8191), "8192 bytes do not fit the 8191 of its header"),
    ],
)
def test_anything_else_is_not(data, complaint):
    with pytest.raises(Refusal) as told:
        check_image("vmlinux", data)
    assert str(told.value) == f"vmlinux: {complaint}; use another archive"
