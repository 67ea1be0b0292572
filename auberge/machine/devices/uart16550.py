"""The 16550A UART: eight byte-wide registers, a 16-byte receive FIFO, and a wire at each end."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from auberge.machine.device import Line, Property

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR = 3
MCR = 4
LSR = 5
MSR = 6
SCR = 7

IER_RX = 0x01
IER_THRE = 0x02
IER_LINE = 0x04
IER_MODEM = 0x08

IIR_NONE = 0x01
IIR_MODEM = 0x00
IIR_THRE = 0x02
IIR_RX = 0x04
IIR_LINE = 0x06
IIR_TIMEOUT = 0x0C
IIR_FIFOS = 0xC0

FCR_ENABLE = 0x01
FCR_CLEAR_RX = 0x02

LCR_DLAB = 0x80

MCR_LOOP = 0x10

LSR_READY = 0x01
LSR_OVERRUN = 0x02
LSR_EMPTY = 0x60  # THRE and TEMT: what is written is on the wire at once

MSR_CTS_DSR_DCD = 0xB0

FIFO_DEPTH = 16
WIRE = 0x10000  # bytes that may wait outside the FIFO

_TRIGGERS = (1, 4, 8, 14)
_BYTES = tuple(bytes([value]) for value in range(256))


class UartState(NamedTuple):
    """The registers by name, the FIFO, and what waits on the wire to enter it."""

    divisor: int = 12
    ier: int = 0
    fcr: int = 0
    lcr: int = 0
    mcr: int = 0
    lsr: int = LSR_EMPTY
    msr: int = MSR_CTS_DSR_DCD
    scr: int = 0
    thre: bool = False
    fifo: bytes = b""
    wire: bytes = b""
    refused: bool = False


RESET = UartState()


class Uart16550:
    """An ns16550a whose transmitter takes no time and whose receiver loses no byte of the wire.

    Source: National Semiconductor PC16550D data sheet, section 8. Transmitted bytes go to `sink`
    one by one. The character timeout of 8.4.3 has passed as soon as the FIFO holds anything: a
    virtual line is idle after every byte.
    """

    __slots__ = (
        "_irq", "_sink", "_on_space", "_divisor", "_ier", "_fcr", "_lcr", "_mcr", "_lsr", "_msr",
        "_scr", "_thre", "_fifo", "_wire", "_refused", "_level", "_plain",
    )  # fmt: skip

    size = 0x100
    widths = frozenset({1})
    compatible = "ns16550a"

    def __init__(
        self,
        irq: Line,
        sink: Callable[[bytes], None],
        on_space: Callable[[], None] = lambda: None,
        state: UartState = RESET,
    ) -> None:
        self._irq = irq
        self._sink = sink
        self._on_space = on_space
        self._divisor = state.divisor
        self._ier = state.ier
        self._fcr = state.fcr
        self._lcr = state.lcr
        self._mcr = state.mcr
        self._lsr = state.lsr
        self._msr = state.msr
        self._scr = state.scr
        self._thre = state.thre
        self._fifo = bytearray(state.fifo)
        self._wire = bytearray(state.wire)
        self._refused = state.refused
        self._level = False
        self._plain = False  # THR is THR: neither the divisor latch nor the loop is selected
        self._settle()

    @property
    def state(self) -> UartState:
        return UartState(
            self._divisor,
            self._ier,
            self._fcr,
            self._lcr,
            self._mcr,
            self._lsr,
            self._msr,
            self._scr,
            self._thre,
            bytes(self._fifo),
            bytes(self._wire),
            self._refused,
        )

    def properties(self) -> Mapping[str, Property]:
        return {"clock-frequency": 3686400}

    def receive(self, data: bytes) -> int:
        """Put `data` on the wire; say how many bytes were taken.

        When that is fewer than given, `on_space` is called once there is room again, and the rest
        may be offered then; from inside `on_space` itself, `receive` must not be called.
        """
        taken = min(len(data), WIRE - len(self._wire))
        self._wire += data[:taken]
        self._refused = taken < len(data)
        self._fill()
        self._update()
        return taken

    def read(self, offset: int, width: int) -> int:
        if offset == LSR:
            lsr = self._lsr
            if lsr & LSR_OVERRUN:
                self._lsr = lsr & ~LSR_OVERRUN
                self._update()
            return lsr
        if offset == RBR:
            return self._read_rbr()
        if offset == IER:
            return self._divisor >> 8 if self._lcr & LCR_DLAB else self._ier
        if offset == IIR:
            source = self._source()
            if source == IIR_THRE:
                self._thre = False
                self._update()
            return source | (IIR_FIFOS if self._fcr & FCR_ENABLE else 0)
        if offset == LCR:
            return self._lcr
        if offset == MCR:
            return self._mcr
        if offset == MSR:
            msr = self._msr
            self._msr = msr & 0xF0
            self._update()
            return msr
        if offset == SCR:
            return self._scr
        return 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset == THR:
            if self._plain:
                self._sink(_BYTES[value])
                if self._ier & IER_THRE:
                    self._thre = True
                    self._update()
            elif self._lcr & LCR_DLAB:
                self._divisor = self._divisor & 0xFF00 | value
            else:
                self._loop_back(value)
        elif offset == IER:
            if self._lcr & LCR_DLAB:
                self._divisor = self._divisor & 0xFF | value << 8
                return
            # Enabling the interrupt while THR is empty raises it; THR is always empty.
            if value & ~self._ier & IER_THRE:
                self._thre = True
            self._ier = value & 0x0F
            self._update()
        elif offset == FCR:
            # 8.4.1: changing bit 0 clears both FIFOs; the other bits count only while it is one.
            if (value ^ self._fcr) & FCR_ENABLE or value & FCR_CLEAR_RX:
                self._fifo.clear()
            self._fcr = value & 0xC9 if value & FCR_ENABLE else 0
            self._settle()
        elif offset == LCR:
            self._lcr = value
            self._settle()
        elif offset == MCR:
            self._mcr = value & 0x1F
            self._set_modem()
            self._settle()
        elif offset == SCR:
            self._scr = value

    def _read_rbr(self) -> int:
        if self._lcr & LCR_DLAB:
            return self._divisor & 0xFF
        if not self._fifo:
            return 0
        value = self._fifo.pop(0)
        self._fill()
        self._update()
        return value

    def _loop_back(self, value: int) -> None:
        depth = FIFO_DEPTH if self._fcr & FCR_ENABLE else 1
        if len(self._fifo) < depth:
            self._fifo.append(value)
        else:
            # 8.6.3, bit 1: a full FIFO keeps what it has; without FIFOs the old character is
            # destroyed.
            self._lsr |= LSR_OVERRUN
            if depth == 1:
                self._fifo[0] = value
        self._thre = True
        self._lsr |= LSR_READY
        self._update()

    def _set_modem(self) -> None:
        # 8.6.7: in the loop, the four outputs RTS, DTR, OUT1, OUT2 are CTS, DSR, RI, DCD.
        if self._mcr & MCR_LOOP:
            rts_dtr = self._mcr << 5 & 0x20 | self._mcr << 3 & 0x10
            lines = rts_dtr | self._mcr << 4 & 0xC0
        else:
            lines = MSR_CTS_DSR_DCD
        changed = (self._msr ^ lines) >> 4 & 0x0B
        if self._msr & ~lines & 0x40:
            changed |= 0x04  # 8.6.8, bit 2: only the trailing edge of RI counts
        self._msr = lines | self._msr & 0x0F | changed

    def _fill(self) -> None:
        """Let the wire fill the FIFO, unless the loop has cut the wire off."""
        if self._wire and not self._mcr & MCR_LOOP:
            depth = FIFO_DEPTH if self._fcr & FCR_ENABLE else 1
            room = depth - len(self._fifo)
            if room > 0:
                self._fifo += self._wire[:room]
                del self._wire[:room]
                if self._refused and len(self._wire) <= WIRE // 2:
                    self._refused = False
                    self._on_space()
        if self._fifo:
            self._lsr |= LSR_READY
        else:
            self._lsr &= ~LSR_READY

    def _settle(self) -> None:
        self._plain = not (self._lcr & LCR_DLAB or self._mcr & MCR_LOOP)
        self._fill()
        self._update()

    def _source(self) -> int:
        """Table III: the enabled interrupt of highest priority."""
        ier = self._ier
        if ier & IER_LINE and self._lsr & LSR_OVERRUN:
            return IIR_LINE
        if ier & IER_RX and self._fifo:
            if not self._fcr & FCR_ENABLE or len(self._fifo) >= _TRIGGERS[self._fcr >> 6]:
                return IIR_RX
            return IIR_TIMEOUT
        if ier & IER_THRE and self._thre:
            return IIR_THRE
        if ier & IER_MODEM and self._msr & 0x0F:
            return IIR_MODEM
        return IIR_NONE

    def _update(self) -> None:
        level = self._source() != IIR_NONE
        if level != self._level:
            self._level = level
            self._irq(level)
