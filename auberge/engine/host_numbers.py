"""Floating point in a region: registers are numbers of the host's, operations its own, inline."""

from __future__ import annotations

from auberge.bits.bits import Bits, const, select
from auberge.bits.rounding import NV
from auberge.engine.explore import Shape
from auberge.engine.fpu import EXACT, TYPES, constrained, declaration, declaration_of_comparison
from auberge.engine.llvm_text import MEMORY, RARE, STATE
from auberge.engine.lowering import FFLAGS, FRM, Context, no_product
from auberge.engine.manner import Steady
from auberge.engine.ways_out import WaysOut
from auberge.isa.hart import LOAD, STORE, ZERO


class HostNumbers(WaysOut):
    """What is traced keeps numbers as such from one instruction to the next."""

    def __init__(self, context: Context, shape: Shape, steady: Steady, entry: int) -> None:
        super().__init__(context, shape, steady, entry)
        self.needs: set[str] = set()  # declarations
        self.numbers: dict[Bits, str] = {}  # what is known as a number of the host's, too

    def number(self, width: int, v: str) -> Bits:
        """The bits of a number of the host's."""
        new = self.leaf(width, self.op(f"bitcast {TYPES[width][0]} {v} to i{width}"))
        self.numbers[new] = v
        return new

    def as_number(self, v: Bits) -> str:
        """The number of the host's with these bits."""
        if v in self.numbers:
            return self.numbers[v]
        return self.op(f"bitcast i{v.width} {self.low(v)} to {TYPES[v.width][0]}")

    def load(self, va: Bits, size: int) -> Bits:
        if size != 8 or self.step.manner.files != {"f"}:
            return super().load(va, size)
        host = self.reach(va, LOAD, size)
        return self.number(64, self.op(f"load volatile double, ptr {host}, align 1, {MEMORY}"))

    def store(self, va: Bits, size: int, v: Bits) -> None:
        if v.width != 64 or v not in self.numbers:
            super().store(va, size, v)
            return
        host, value = self.reach(va, STORE, size), self.numbers[v]
        self.do(f"store volatile double {value}, ptr {host}, align 1, {MEMORY}")
        self.wrote = True

    def host_op(self, op: str, fmt: int, rm: str, *operands: Bits) -> Bits:
        """The host's own operation, inline; its flags stay in the host's register."""
        if rm != str(self.steady[FRM, 63, 0]):
            raise TypeError(f"{self.step.form.insn.name} rounds as regions do not")
        if op == "narrow":  # LLVM 20's code generator fails where it combines this with others
            value = self.low(operands[0])
            return self.leaf(
                fmt, self.op(f"call i{fmt} {self.shared('fpu_narrow_32')}(i64 {value})")
            )
        intrinsic, types, strict = constrained(op, fmt)
        values = [
            self.low(v) if t == "i64" else self.as_number(v)
            for v, t in zip(operands, types, strict=True)
        ]
        t = TYPES[fmt][0]
        args = ", ".join(f"{t} {v}" for t, v in zip(types, values, strict=True))
        name = f"@llvm.experimental.constrained.{intrinsic}"
        z = self.op(f"call {t} {name}({args}, {strict}) strictfp")
        self.needs.add(declaration(op, fmt))
        if op != "from_i64":
            z = self.canonical(z, op, fmt, operands)
        return self.number(fmt, z)

    def canonical(self, z: str, op: str, fmt: int, operands: tuple[Bits, ...]) -> str:
        """A result, or the one NaN that there is (20.3): by a branch, which nobody waits for."""
        t = TYPES[fmt][0]
        self.needs.add(declaration_of_comparison(fmt))
        is_nan = self.op(
            f"call i1 @llvm.experimental.constrained.fcmp.f{fmt}"
            f'({t} {z}, {t} {z}, metadata !"uno", {EXACT}) strictfp'
        )
        other, done = self.labels("other", "done")
        before, memo = self.block, dict(self.memo)
        self.do(f"br i1 {is_nan}, label %{other}, label %{done}, {RARE}")
        self.start(other)
        if op == "fma":
            flags = select(no_product(fmt, *operands[:2]), const(NV, 64), ZERO)
            self.put("fflags", self.low(self.read(FFLAGS) | flags))
            del self.now[FFLAGS]
        # From the state, since code has no data of its own.
        nan = self.op(f"load {t}, ptr {self.at(f'nan_{fmt}')}, {STATE}")
        self.do(f"br label %{done}")
        self.start(done)
        self.memo = memo
        return self.op(f"phi {t} [ {z}, %{before} ], [ {nan}, %{other} ]")

    def flag_no_product(self, fmt: int, a: Bits, b: Bits) -> None:
        """Left to where the result is seen to be a NaN."""
