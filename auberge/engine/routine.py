"""Texts that instructions share, as native functions of their own."""

from __future__ import annotations

from collections.abc import Callable

from auberge.bits.bits import Bits
from auberge.engine import exits
from auberge.engine.llvm_text import EXITS
from auberge.engine.lowering import Context, Trace, arguments
from auberge.isa.spec import Cell


class Routine(Trace):
    """A text shared by all that call it: a native function that answers or fails."""

    def __init__(
        self, context: Context, name: str, text: Callable[..., None], *known: object
    ) -> None:
        super().__init__(context)
        names = arguments(text)
        names = names[: len(names) - len(known)]
        text(self, *(self.leaf(64, f"%a{n}") for n in range(len(names))), *known)
        if not self.ended:
            self.retire()
        params = ", ".join(("ptr noalias %st", *(f"i64 %a{n}" for n in range(len(names)))))
        self.text = "\n".join(
            [
                f"define internal preserve_mostcc {{ i64, i64 }} @{name}({params}) noinline #0 {{",
                "entry:",
                *self.lines,
                "unreachable",
                "}\n",
            ]
        )

    def instruction_word(self) -> Bits:
        return self.read(Cell("word"))

    def retire(self) -> None:
        self.commit()
        self.end("ret { i64, i64 } zeroinitializer")

    def answer(self, v: Bits) -> None:
        value = self.low(v)
        self.commit()
        pair = self.op(f"insertvalue {{ i64, i64 }} zeroinitializer, i64 {value}, 0")
        self.end(f"ret {{ i64, i64 }} {pair}")

    def fail(self, status: str) -> None:
        pair = self.op(f"insertvalue {{ i64, i64 }} zeroinitializer, i64 {status}, 1")
        self.end(f"ret {{ i64, i64 }} {pair}")

    def device(self, va: Bits, pa: Bits, size: int, value: Bits | None) -> None:
        self.put("tval", self.low(va))
        self.put("exit_address", self.low(pa))
        self.put("exit_width", str(size))
        if value is not None:
            self.put("exit_value", self.low(value.zext(64)))
        self.put("exit", str(exits.MMIO_READ if value is None else exits.MMIO_WRITE))
        self.fail(str(EXITS))

    def watchpoint(self, va: Bits, size: int, kinds: int) -> None:
        self.put("exit_address", self.low(va))
        self.put("exit_width", str(size))
        self.put("exit_value", str(kinds))
        self.put("exit", str(exits.WATCHPOINT))
        self.fail(str(EXITS))
