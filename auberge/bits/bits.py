"""Fixed-width bit vectors: one type for concrete values and for expressions over guest state.

Arithmetic wraps at the width, as in hardware. Values are signless; *operations* are signed or
unsigned. An operation on constants is a constant, so evaluating an instruction on a concrete
hart is ordinary constant folding: there is no second evaluator to keep in step.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

WIDEST = 256
MASK = [(1 << width) - 1 for width in range(WIDEST + 1)]

_Key = tuple[str, int, tuple["Bits", ...], int]
_interned: WeakValueDictionary[_Key, Bits] = WeakValueDictionary()


class Bits:
    """A `width`-bit vector: the constant `value`, or `op` applied to `args`.

    `param` is what an operation needs beside its arguments (the lowest bit of an extract), and
    the identity of a leaf. Expressions are interned: equal ones are the same object.
    """

    __slots__ = ("__weakref__", "args", "op", "param", "value", "width")
    op: str
    width: int
    args: tuple[Bits, ...]
    param: int
    value: int | None  # only a constant has one

    def __new__(cls, op: str, width: int, args: tuple[Bits, ...] = (), param: int = 0) -> Bits:
        key = (op, width, args, param)
        self = _interned.get(key)
        if self is None:
            self = _interned[key] = object.__new__(cls)
            self.op, self.width, self.args, self.param = key
            self.value = None
        return self

    # -- arithmetic: same width in, same width out ----------------------------------------------
    def __add__(self, y: Bits | int) -> Bits:
        return _binary("add", self, y)

    def __sub__(self, y: Bits | int) -> Bits:
        return _binary("sub", self, y)

    def __and__(self, y: Bits | int) -> Bits:
        return _binary("and", self, y)

    def __or__(self, y: Bits | int) -> Bits:
        return _binary("or", self, y)

    def __xor__(self, y: Bits | int) -> Bits:
        return _binary("xor", self, y)

    def __lshift__(self, y: Bits | int) -> Bits:
        return _binary("shl", self, y)

    def __invert__(self) -> Bits:
        return self ^ const(-1, self.width)

    def shr(self, y: Bits | int) -> Bits:
        """Logical shift right; the amount wraps modulo the width, as for `<<` and `sar`."""
        return _binary("lshr", self, y)

    def sar(self, y: Bits | int) -> Bits:
        """Arithmetic shift right."""
        return _binary("ashr", self, y)

    def mul(self, y: Bits | int) -> Bits:
        """The low half of the product."""
        return _binary("mul", self, y)

    def udiv(self, y: Bits | int) -> Bits:
        """Unsigned quotient; the author has made sure that `y` is not zero."""
        return _binary("udiv", self, y)

    def urem(self, y: Bits | int) -> Bits:
        """Unsigned remainder; the author has made sure that `y` is not zero."""
        return _binary("urem", self, y)

    def sdiv(self, y: Bits | int) -> Bits:
        """Signed quotient toward zero; `y` is not zero, and the quotient does not overflow."""
        return _binary("sdiv", self, y)

    def srem(self, y: Bits | int) -> Bits:
        """Signed remainder with the dividend's sign, under the conditions of `sdiv`."""
        return _binary("srem", self, y)

    # -- counting -------------------------------------------------------------------------------
    def clz(self) -> Bits:
        """Leading zeros; the width, if there is no one."""
        return _unary("clz", self)

    def ctz(self) -> Bits:
        """Trailing zeros; the width, if there is no one."""
        return _unary("ctz", self)

    def popcount(self) -> Bits:
        """How many bits are one."""
        return _unary("popcount", self)

    def bswap(self) -> Bits:
        """The bytes in opposite order; the width is a multiple of 16."""
        return _unary("bswap", self)

    # -- comparison: 1 bit out ------------------------------------------------------------------
    def eq(self, y: Bits | int) -> Bits:
        return _compare("eq", self, y)

    def ne(self, y: Bits | int) -> Bits:
        return ~_compare("eq", self, y)

    def ult(self, y: Bits | int) -> Bits:
        return _compare("ult", self, y)

    def slt(self, y: Bits | int) -> Bits:
        return _compare("slt", self, y)

    def ule(self, y: Bits | int) -> Bits:
        return ~_compare("ult", _like(y, self), self)

    def sle(self, y: Bits | int) -> Bits:
        return ~_compare("slt", _like(y, self), self)

    # -- width ----------------------------------------------------------------------------------
    def sext(self, width: int) -> Bits:
        """Widen to `width` bits, repeating the sign."""
        return _widen("sext", self, width)

    def zext(self, width: int) -> Bits:
        """Widen to `width` bits with zeros."""
        return _widen("zext", self, width)

    def __getitem__(self, hi_lo: slice[int, int, None] | int) -> Bits:
        """`x[hi:lo]`, both ends included, as in the manuals; `x[i]` is one bit."""
        if isinstance(hi_lo, int):
            hi = lo = hi_lo
        else:
            hi, lo = hi_lo.start, hi_lo.stop
        if not 0 <= lo <= hi < self.width:
            raise IndexError(f"[{hi}:{lo}] is outside a {self.width}-bit value")
        if self.value is not None:
            return const(self.value >> lo, hi - lo + 1)
        if hi - lo + 1 == self.width:
            return self
        if self.op == "extract":
            return Bits("extract", hi - lo + 1, self.args, self.param + lo)
        return Bits("extract", hi - lo + 1, (self,), lo)

    def insert(self, hi: int, lo: int, v: Bits) -> Bits:
        """This value with bits `hi:lo` replaced by `v`."""
        if v.width != hi - lo + 1:
            raise TypeError(f"{v.width} bits do not fit [{hi}:{lo}]")
        mask = MASK[hi - lo + 1] << lo
        return self & const(~mask, self.width) | v.zext(self.width) << lo

    # -- as a Python value ----------------------------------------------------------------------
    def __bool__(self) -> bool:
        if self.value is None:
            raise TypeError(
                f"{self} is not known until the guest runs; use select(cond, a, b), not 'if'"
            )
        return self.value != 0

    def __int__(self) -> int:
        if self.value is None:
            raise TypeError(f"{self} is not known until the guest runs; it has no value yet")
        return self.value

    def __eq__(self, y: object) -> bool:
        if self is y:
            return True
        if self.value is None or not isinstance(y, Bits):
            return False
        return self.value == y.value and self.width == y.width

    def __hash__(self) -> int:
        return object.__hash__(self) if self.value is None else hash((self.width, self.value))

    def __repr__(self) -> str:
        if self.value is not None:
            return f"{self.value:#x}:{self.width}"
        extra = f"@{self.param}" if self.param else ""
        return f"({self.op}{extra}:{self.width} {' '.join(map(repr, self.args))})"


def const(value: int, width: int) -> Bits:
    """The constant `value`, truncated to `width` bits. Not interned: there are millions."""
    self = object.__new__(Bits)
    self.op, self.width, self.args, self.param = "const", width, (), 0
    self.value = value & MASK[width]
    return self


def signed(v: int, width: int) -> int:
    """`v`, a `width`-bit pattern, read as two's complement."""
    return v - (1 << width) if v >> (width - 1) else v


def select(cond: Bits, a: Bits, b: Bits) -> Bits:
    """`a` where `cond`, else `b`: for values. Effects want `with h.when(cond):`."""
    if cond.width != 1:
        raise TypeError(f"select on {cond.width} bits; compare them first")
    if a.width != b.width:
        raise TypeError(
            f"select of {a.width}-bit and {b.width}-bit values; widen one with .sext() or .zext()"
        )
    if cond.value is not None:
        return a if cond.value else b
    return a if a == b else Bits("select", a.width, (cond, a, b))


def concat(*parts: Bits) -> Bits:
    """The parts side by side, most significant first."""
    width = sum(p.width for p in parts)
    if len(parts) == 1:
        return parts[0]
    if all(p.value is not None for p in parts):
        r = 0
        for p in parts:
            r = r << p.width | int(p)
        return const(r, width)
    return Bits("concat", width, parts)


def leaf(width: int, identity: int) -> Bits:
    """An unknown; two with one identity and width are the same."""
    return Bits("leaf", width, (), identity)


def _reversed(w: int, a: int) -> int:
    return int.from_bytes(a.to_bytes(w // 8, "little"), "big")


def _quotient(w: int, a: int, b: int) -> int:
    x, y = signed(a, w), signed(b, w)
    q = abs(x) // abs(y)
    return -q if (x < 0) != (y < 0) else q


# The meaning of every operation, on Python ints. The result is truncated to `w` bits.
BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda w, a, b: a + b,
    "sub": lambda w, a, b: a - b,
    "mul": lambda w, a, b: a * b,
    "and": lambda w, a, b: a & b,
    "or": lambda w, a, b: a | b,
    "xor": lambda w, a, b: a ^ b,
    "shl": lambda w, a, b: a << b % w,  # shift amounts wrap: stated once
    "lshr": lambda w, a, b: a >> b % w,
    "ashr": lambda w, a, b: signed(a, w) >> b % w,
    "udiv": lambda w, a, b: a // b,
    "urem": lambda w, a, b: a % b,
    "sdiv": _quotient,
    "srem": lambda w, a, b: signed(a, w) - _quotient(w, a, b) * signed(b, w),
}
UNARY: dict[str, Callable[[int, int], int]] = {
    "clz": lambda w, a: w - a.bit_length(),
    "ctz": lambda w, a: (a & -a).bit_length() - 1 if a else w,
    "popcount": lambda w, a: a.bit_count(),
    "bswap": _reversed,
}
TRUTH: dict[str, Callable[[int, int, int], bool]] = {
    "eq": lambda w, a, b: a == b,
    "ult": lambda w, a, b: a < b,
    "slt": lambda w, a, b: signed(a, w) < signed(b, w),
}
_ZERO_IS_NEUTRAL = {"add", "sub", "or", "xor", "shl", "lshr", "ashr"}
_DIVISIONS = {"udiv", "urem", "sdiv", "srem"}


def _like(y: Bits | int, x: Bits) -> Bits:
    return const(y, x.width) if isinstance(y, int) else y


def _mixed(op: str, a: Bits, b: Bits) -> TypeError:
    return TypeError(
        f"{op} of {a.width}-bit and {b.width}-bit values; widen one with .sext() or .zext()"
    )


def _binary(op: str, a: Bits, y: Bits | int) -> Bits:
    b = const(y, a.width) if y.__class__ is int else y
    assert b.__class__ is Bits
    w = a.width
    if w != b.width:
        raise _mixed(op, a, b)
    if b.value is not None:
        if a.value is not None:
            if not b.value and op in _DIVISIONS:
                return const(0, w)  # on the path that the author's select drops
            return const(BINARY[op](w, a.value, b.value), w)
        if b.value == 0:
            if op in _ZERO_IS_NEUTRAL:
                return a
            if op == "and":
                return b
        elif op == "and" and b.value == MASK[w]:
            return a
    elif a.value is not None and op in ("add", "or", "xor", "and"):
        return _binary(op, b, a)
    return Bits(op, w, (a, b))


def _unary(op: str, a: Bits) -> Bits:
    if a.value is not None:
        return const(UNARY[op](a.width, a.value), a.width)
    return Bits(op, a.width, (a,))


def _compare(op: str, a: Bits, y: Bits | int) -> Bits:
    b = const(y, a.width) if y.__class__ is int else y
    assert b.__class__ is Bits
    if a.width != b.width:
        raise _mixed(op, a, b)
    if a.value is not None and b.value is not None:
        return const(TRUTH[op](a.width, a.value, b.value), 1)
    if a is b:
        return const(op == "eq", 1)
    return Bits(op, 1, (a, b))


def _widen(op: str, a: Bits, width: int) -> Bits:
    if width < a.width:
        raise TypeError(f"{op} of {a.width} bits to {width}; narrow with [hi:lo]")
    if width == a.width:
        return a
    if a.value is not None:
        return const(signed(a.value, a.width) if op == "sext" else a.value, width)
    return Bits(op, width, (a,))
