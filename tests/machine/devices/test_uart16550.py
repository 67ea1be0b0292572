"""The 16550A, register by register, as Linux's 8250 driver uses it."""

import pytest

from auberge.machine.devices.uart16550 import WIRE, Uart16550

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7


class Bench:
    """A UART between a list of levels and a bytearray."""

    def __init__(self, **state):
        self.levels, self.out, self.spaces = [], bytearray(), []
        self.uart = Uart16550(
            self.levels.append, self.out.extend, lambda: self.spaces.append(True), **state
        )

    def read(self, register):
        return self.uart.read(register, 1)

    def write(self, register, value):
        self.uart.write(register, 1, value)

    @property
    def irq(self):
        return bool(self.levels) and self.levels[-1]

    def drain(self):
        data = bytearray()
        while self.read(LSR) & 1:
            data.append(self.read(RBR))
        return bytes(data)


@pytest.fixture
def bench():
    return Bench()


def test_at_reset_it_is_ready_to_transmit_and_quiet(bench):
    assert [bench.read(register) for register in range(8)] == [0, 0, 1, 0, 0, 0x60, 0xB0, 0]
    assert bench.levels == []


def test_what_is_written_to_thr_is_on_the_wire(bench):
    for value in b"hello":
        assert bench.read(LSR) & 0x20
        bench.write(THR, value)
    assert bench.out == b"hello"


def test_the_divisor_latch_hides_behind_dlab(bench):
    bench.write(IER, 1)
    bench.write(LCR, 0x83)
    bench.write(DLL, 0x34)
    bench.write(DLM, 0x12)
    assert (bench.read(DLL), bench.read(DLM)) == (0x34, 0x12)
    bench.write(LCR, 0x03)
    assert bench.read(IER) == 1
    assert bench.out == b""
    assert bench.uart.state.divisor == 0x1234


def test_only_eight_registers_do_anything(bench):
    for register in range(8, 0x100):
        bench.write(register, 0xFF)
        assert bench.read(register) == 0
    assert bench.uart.state == Bench().uart.state


def test_enabling_thre_interrupts_at_once_and_iir_clears_it(bench):
    bench.write(IER, 2)
    assert bench.irq
    assert bench.read(IIR) == 0x02
    assert not bench.irq
    assert bench.read(IIR) == 0x01


def test_enabling_thre_again_interrupts_again(bench):
    """serial8250_THRE_test of Linux: without this it falls back to a timer."""
    for _ in range(2):
        bench.write(IER, 2)
        assert bench.read(IIR) == 0x02
        bench.write(IER, 0)
        assert not bench.irq


def test_a_transmitted_byte_interrupts_again(bench):
    bench.write(IER, 2)
    bench.read(IIR)
    bench.write(THR, 65)
    assert bench.irq
    bench.write(IER, 0)
    assert not bench.irq


def test_ier_has_four_bits(bench):
    bench.write(IER, 0xFF)
    assert bench.read(IER) == 0x0F


def test_without_fifo_one_byte_is_visible_and_none_is_lost(bench):
    bench.uart.receive(b"abc")
    bench.write(IER, 1)
    assert bench.irq
    assert bench.read(IIR) == 0x04
    assert bench.drain() == b"abc"
    assert not bench.irq
    assert bench.read(LSR) == 0x60


def test_the_fifo_interrupts_at_its_trigger_and_times_out_below(bench):
    bench.write(FCR, 0x81)  # trigger at 8
    bench.write(IER, 1)
    bench.uart.receive(b"1234567")
    assert bench.read(IIR) == 0xCC
    bench.uart.receive(b"8")
    assert bench.read(IIR) == 0xC4
    assert bench.read(RBR) == ord("1")
    assert bench.read(IIR) == 0xCC
    assert bench.drain() == b"2345678"
    assert bench.read(IIR) == 0xC1


@pytest.mark.parametrize(("bits", "trigger"), [(0x00, 1), (0x40, 4), (0x80, 8), (0xC0, 14)])
def test_every_trigger_level(bench, bits, trigger):
    bench.write(FCR, 1 | bits)
    bench.write(IER, 1)
    for count in range(1, 17):
        bench.uart.receive(b"x")
        assert bench.read(IIR) == (0xC4 if count >= trigger else 0xCC)


def test_the_fifo_is_sixteen_deep_and_the_wire_waits(bench):
    bench.write(FCR, 1)
    bench.uart.receive(bytes(range(40)))
    bench.write(FCR, 3)  # clears what was in the FIFO, not what is still on the wire
    assert bench.drain() == bytes(range(16, 40))


def test_switching_fifos_clears_them(bench):
    bench.uart.receive(b"ab")
    bench.write(FCR, 1)
    assert bench.drain() == b"b"
    bench.write(FCR, 0)
    assert bench.read(IIR) == 0x01


def test_an_empty_receiver_reads_zero(bench):
    assert bench.read(RBR) == 0


def test_the_wire_pushes_back_and_says_when_there_is_room(bench):
    assert bench.uart.receive(bytes(WIRE + 100)) == WIRE
    assert bench.uart.receive(b"x") == 1, "one byte went to the receiver"
    assert bench.uart.receive(b"x") == 0
    taken = 0
    while not bench.spaces:
        bench.read(RBR)
        taken += 1
    assert taken == WIRE // 2
    bench.drain()
    assert bench.spaces == [True]
    assert bench.uart.receive(b"y") == 1


def test_interrupts_come_in_the_order_of_table_iii(bench):
    bench.write(FCR, 1)
    bench.write(MCR, 0x10)  # the loop: CTS, DSR, DCD fall
    for _ in range(17):
        bench.write(THR, 0x41)
    bench.write(IER, 0x0F)
    assert bench.read(IIR) == 0xC6
    assert bench.read(LSR) == 0x63
    assert bench.read(LSR) == 0x61
    assert bench.read(IIR) == 0xC4
    bench.drain()
    assert bench.read(IIR) == 0xC2
    assert bench.read(IIR) == 0xC0
    assert bench.read(MSR) == 0x0B
    assert bench.read(IIR) == 0xC1
    assert not bench.irq


def test_the_loop_keeps_bytes_from_the_wire(bench):
    bench.write(FCR, 1)
    bench.write(MCR, 0x10)
    bench.uart.receive(b"outside")
    for value in b"inside":
        bench.write(THR, value)
    assert bench.drain() == b"inside"
    assert bench.out == b""
    bench.write(MCR, 0)
    assert bench.drain() == b"outside"


def test_without_fifos_an_overrun_destroys_the_old_character(bench):
    bench.write(MCR, 0x10)
    bench.write(THR, 1)
    bench.write(THR, 2)
    assert bench.read(LSR) == 0x63
    assert bench.drain() == b"\x02"


@pytest.mark.parametrize(("mcr", "msr"), [(0x1, 0x20), (0x2, 0x10), (0x4, 0x40), (0x8, 0x80)])
def test_the_loop_connects_modem_outputs_to_inputs(bench, mcr, msr):
    bench.write(MCR, 0x10 | mcr)
    assert bench.read(MSR) & 0xF0 == msr


def test_linux_finds_a_16550a(bench):
    """autoconfig() of Linux's 8250_port.c, in short."""
    bench.write(IER, 0)
    assert bench.read(IER) == 0
    bench.write(IER, 0x0F)
    assert bench.read(IER) == 0x0F
    bench.write(IER, 0)
    bench.write(MCR, 0x10 | 0x0A)
    assert bench.read(MSR) & 0xF0 == 0x90
    bench.write(MCR, 0)
    bench.write(FCR, 1)
    assert bench.read(IIR) >> 6 == 3


def test_the_trailing_edge_of_ri_is_noticed_only(bench):
    bench.write(MCR, 0x10)
    bench.read(MSR)
    bench.write(MCR, 0x14)
    assert bench.read(MSR) == 0x40
    bench.write(MCR, 0x10)
    assert bench.read(MSR) == 0x04


def test_scratch_is_memory(bench):
    bench.write(SCR, 0xA5)
    assert bench.read(SCR) == 0xA5


def test_a_restored_uart_raises_its_line_again(bench):
    bench.write(FCR, 0x41)
    bench.write(IER, 3)
    bench.uart.receive(bytes(range(50)))
    bench.read(RBR)
    again = Bench(state=bench.uart.state)
    assert again.levels == [True]
    assert again.uart.state == bench.uart.state
    assert again.drain() == bench.drain() == bytes(range(1, 50))
    assert again.read(IIR) == bench.read(IIR) == 0xC2
