"""Devices of one's own: registers that the guest finds at an address, and an interrupt."""

import pytest

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.engine.eager import ENGINES
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)
AT = 0x3000_0000

GUEST = """
    li s0, 0x30000000
    li a0, 12
    sd a0, 0(s0)
    ld a1, 0(s0)
    lw a2, 4(s0)
    li a0, 0x0C002080       # the enable bits of M of hart 0: source 12
    li a3, 1 << 12
    sw a3, -128(a0)
    li a0, 0x0C000000
    li a3, 1
    sw a3, 48(a0)           # its priority
    li a3, 0x800
    csrw mie, a3
    sd zero, 0(s0)
    wfi
    li a0, 0x0C200004       # claim
    lw a4, 0(a0)
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
    j .
"""


class Squarer:
    """Write a number, read its square; a zero interrupts."""

    size, widths, compatible = 8, frozenset({4, 8}), "example,squarer"

    def __init__(self, irq):
        self.irq, self.state, self.log = irq, (0,), []

    def properties(self):
        return {"example,power": 2}

    def read(self, offset, width):
        self.log.append(("read", offset, width))
        return self.state[0] ** 2 >> 8 * offset & (1 << 8 * width) - 1

    def write(self, offset, width, value):
        self.log.append(("write", offset, width, value))
        self.state = (value,)
        self.irq(value == 0)


def machine(tmp_path, devices, text=GUEST, **options):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf([(BASE, assemble(rv64, text, BASE))]))
    options = {"memory": "4M", "console": print} | options
    return auberge.Machine.virt(kernel, devices=devices, **options)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_guest_uses_it(tmp_path, engine):
    made = []

    def make(irq):
        made.append(Squarer(irq))
        return made[-1]

    with machine(tmp_path, {AT: make}, engine=engine) as guest:
        assert guest.run(timeout=60) == auberge.PoweredOff(0)
        hart = guest.harts[0]
        assert (hart["a1"], hart["a2"], hart["a4"]) == (144, 0, 12)
        assert made[0].log == [
            ("write", 0, 8, 12),
            ("read", 0, 8),
            ("read", 4, 4),
            ("write", 0, 8, 0),
        ]


def test_the_device_tree_has_it(tmp_path):
    with machine(tmp_path, {AT: Squarer, AT + 4096: Squarer}) as guest:
        tree = guest.device_tree
        for name in (b"squarer@30000000\0", b"squarer@30001000\0", b"example,power\0"):
            assert name in tree


def test_each_boot_has_a_new_one(tmp_path):
    made = []
    text = "li a0, 0x100000\nli a1, 0x7777\nsw a1, 0(a0)\nj ."
    with machine(tmp_path, {AT: lambda irq: made.append(Squarer(irq)) or made[-1]}, text) as guest:
        guest.run(until=auberge.Reset)
    assert len(made) == 2


def test_what_it_raises_is_what_run_raises(tmp_path):
    class Broken(Squarer):
        def write(self, offset, width, value):
            raise ZeroDivisionError("mine")

    with machine(tmp_path, {AT: Broken}) as guest:
        with pytest.raises(ZeroDivisionError) as error:
            guest.run(timeout=60)
        assert str(error.value) == "mine"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (0x3000_0800, "0x30000800: a device is at a multiple of 0x1000; move it"),
        (-4096, "-0x1000: a device is at a multiple of 0x1000; move it"),
        (0x1000_0000, "0x10000000: in the pages of serial at 0x10000000; move it"),
        (0x0C01_0000, "0xc010000: in the pages of plic at 0xc000000; move it"),
        (BASE, "0x80000000: in the pages of RAM at 0x80000000; move it"),
        (BASE << 4, "0x800000000: in the pages of RAM at 0x80000000; move it"),
    ],
)
def test_places_where_it_cannot_be(tmp_path, address, why):
    with pytest.raises(auberge.Refusal) as error:
        machine(tmp_path, {address: Squarer})
    assert str(error.value) == f"devices: {why}"


def test_two_that_overlap_and_too_many(tmp_path):
    class Long(Squarer):
        size = 8192

    with pytest.raises(auberge.Refusal) as error:
        machine(tmp_path, {AT: Long, AT + 4096: Squarer})
    line = "devices: 0x30001000: in the pages of squarer at 0x30000000; move it"
    assert str(error.value) == line
    with pytest.raises(auberge.Refusal) as error:
        machine(tmp_path, {AT + 4096 * n: Squarer for n in range(65)})
    assert str(error.value) == "devices: there are 65; at most 64 are possible"
