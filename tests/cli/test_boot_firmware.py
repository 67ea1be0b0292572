"""`auberge boot --firmware`, and what --kernel takes the place of."""

import json
import os

import pytest

from auberge.cli.main import main
from auberge.image import store
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.cli.guests import RAM, hello, write_elf
from tests.cli.test_boot import boot
from tests.machine.flattened import decode

# prints the first letter of what fw_dynamic_info says, then hands over as OpenSBI does: in S-mode
HANDS_OVER = """
    li s1, 0x10000000
    lbu s2, 0(a2)
    sb s2, 0(s1)
    li t0, 0x1f
    csrw pmpcfg0, t0
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1800
    csrc mstatus, t0
    li t0, 0x800
    csrs mstatus, t0
    ld t0, 16(a2)
    csrw mepc, t0
    mret
"""


@pytest.mark.slow
def test_a_firmware_alone(tmp_path):
    done = boot("--firmware", write_elf(tmp_path / "f", hello(3)))
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello\n", b"")


@pytest.mark.slow
def test_a_binary_that_starts_a_binary(tmp_path):
    for name, text, start in (("f", HANDS_OVER, RAM), ("k", hello(), RAM + (2 << 20))):
        (tmp_path / name).write_bytes(assemble(rv64, text, start))
    done = boot("--firmware", str(tmp_path / "f"), "--kernel", str(tmp_path / "k"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Ohello\n", b"")


@pytest.fixture
def image(cache, tmp_path):
    """An image whose kernel says hello, with an initramfs and a disk."""
    image = store.place("mine", "riscv64")
    os.makedirs(image.directory)
    write_elf(tmp_path / "k", hello())
    os.rename(tmp_path / "k", image.kernel)
    for path in (image.initrd, image.disk):
        with open(path, "wb") as file:
            file.write(bytes(4096))
    files = {
        name: {"size": os.path.getsize(os.path.join(image.directory, name)), "sha256": ""}
        for name in (store.KERNEL, store.INITRD, store.DISK)
    }
    manifest = {
        "name": "mine", "arch": "riscv64", "suite": "trixie", "kernel_version": "6.1",
        "recipe": "r", "packages": [], "files": files,
        "boot": {"memory": "32M", "append": "root=/dev/vda"},
    }  # fmt: skip
    with open(image.manifest, "w") as file:
        json.dump(manifest, file)
    return image


def chosen(tmp_path, *words):
    """What the guest is told: the command line, and whether there is an initramfs and a disk."""
    tree = tmp_path / "tree"
    assert main(["boot", *words, "--net", "none", "--dumpdtb", str(tree)]) == 0
    nodes = decode(tree.read_bytes())
    bootargs = nodes["/chosen"]["bootargs"].rstrip(b"\0").decode()
    return bootargs, "linux,initrd-start" in nodes["/chosen"]


@pytest.mark.slow
def test_what_an_image_lends(image, tmp_path):
    kernel = write_elf(tmp_path / "other", hello())
    firmware = write_elf(tmp_path / "f", hello())
    assert chosen(tmp_path, "mine") == ("root=/dev/vda", True)
    # the initramfs has the modules of the image's kernel, and goes with it
    assert chosen(tmp_path, "mine", "--kernel", kernel, "--append", "x") == (
        "root=/dev/vda x",
        False,
    )
    assert chosen(tmp_path, "mine", "--kernel", kernel, "--initrd", kernel)[1]
    loader = tmp_path / "loader"
    loader.write_bytes(b"anything")
    assert chosen(tmp_path, "mine", "--firmware", firmware, "--kernel", str(loader)) == (
        "root=/dev/vda", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--firmware", "absent"), "absent: no such file or directory; check the path"),
        (("--firmware", "/dev/null"), "/dev/null: not a regular file; copy it into one"),
        (
            ("tiny", "--firmware", "f", "--kernel", "k"),
            "tiny: no such image; make it with `auberge image build tiny`",
        ),
    ],
)
@pytest.mark.usefixtures("cache")
def test_what_is_wrong_is_one_line(capsys, words, line):
    assert main(["boot", *words, "--engine", "reference"]) == 125
    assert capsys.readouterr() == ("", f"auberge: {line}\n")
