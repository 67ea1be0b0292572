"""A scripted engine: a guest that is a generator of exits."""

import threading

from auberge.engine.choose import choose
from auberge.engine.exits import MmioRead, MmioWrite, Spent, Stopped
from auberge.machine.machine import Configuration, Machine, Outside

FOREVER = object()
"""Yielded by a script: compute until someone stops you."""


class FakeEngine:
    """Runs `script(hart)`: each value it yields is an exit, what `yield` gives is the answer."""

    def __init__(self, hart, script):
        self.hart = hart
        self.answers = []
        self.runs = 0
        self._stop = threading.Event()
        self._script = script(hart)
        self._answer = None

    def run(self, budget):
        self.runs += 1
        for request in ("request_sfence", "request_fence_i"):
            self.hart[request] = 0
        if self._stop.is_set():
            self._stop.clear()
            return Stopped()
        try:
            exit_ = self._script.send(self._answer)
        except StopIteration:
            exit_ = FOREVER
        self._answer = None
        if exit_ is FOREVER:
            self._stop.wait()
            self._stop.clear()
            return Stopped()
        return exit_

    def resume(self, value):
        self.answers.append(value)
        self._answer = value

    def debug(self, breakpoints, watches):
        self.debugged = breakpoints, watches

    def request_stop(self):
        self._stop.set()

    def statistics(self):
        return {"instructions": self.runs, "tlb_misses": 2}


class FakeKind:
    """Makes an engine with each hart's script; reboots begin the scripts again."""

    name = "fake"
    isa_string = "rv64imafdc_zicboz_zicsr_sstc"

    def __init__(self, *scripts):
        self.scripts = scripts
        self.engines = []

    def hart(self, hartid):
        return choose("reference").hart(hartid)

    def engine(self, hart, ram, clock):
        engine = FakeEngine(hart, self.scripts[hart["mhartid"]])
        self.engines.append(engine)
        return engine


def image(size=4096, text_offset=0x200000, flags=0, image_size=None, body=b""):
    """A raw Image, by its header alone."""
    from auberge.machine.kernel import IMAGE_HEADER

    header = IMAGE_HEADER.pack(
        0, 0, text_offset, size if image_size is None else image_size, flags, 2, 0, 0,
        b"RISCV\0\0\0", b"RSC\x05", 0,
    )  # fmt: skip
    return (header + body).ljust(size, b"\0")


def machine(tmp_path, *scripts, sink=None, wall_ns=lambda: 10**18, memory=16 << 20, **options):
    """A machine whose harts follow `scripts`, and its FakeKind."""
    kernel = tmp_path / "Image"
    kernel.write_bytes(image())
    kind = FakeKind(*scripts)
    printed = bytearray()
    outside = Outside(sink or printed.extend, bytes, wall_ns)
    configuration = Configuration(str(kernel), memory=memory, cpus=len(scripts), **options)
    made = Machine(configuration, kind, outside)
    made.printed = printed
    return made, kind


def printing(text, then=()):
    """A script that prints by the UART, and goes on with the exits `then`."""

    def script(hart):
        for byte in text:
            yield MmioWrite(0x1000_0000, 1, byte)
        yield from then

    return script


__all__ = ["FOREVER", "MmioRead", "MmioWrite", "Spent", "Stopped"]
