"""Constant expressions of the assembler: `(end - start) >> 2 & 0xff`, `'a' + 1`, `%lo(table)`."""

from __future__ import annotations

from collections.abc import Callable

from auberge.bits.bits import MASK, signed

# Lowest first, as in C; all are left-associative.
PRECEDENCE = {"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, '"': 34, "'": 39, "a": 7, "b": 8, "f": 12}


class Unknown(Exception):
    """A symbol has no value yet."""


class Malformed(Exception):
    """The text is not an expression; the message says where."""


def is_symbol(text: str) -> bool:
    """Whether `text` may name a symbol: letters, digits, `_`, `.`, `$`, no digit first."""
    plain = text.replace(".", "_").replace("$", "_")
    return plain.isidentifier() and plain.isascii()


def unescape(text: str) -> bytes:
    """The bytes of a string's inside, its escapes resolved; raises Malformed."""
    out, i = bytearray(), 0
    while i < len(text):
        char = text[i]
        i += 1
        if char != "\\":
            out += char.encode()
        elif text[i : i + 1] == "x":
            digits = text[i + 1 : i + 3]
            if len(digits) != 2 or digits.strip("0123456789abcdefABCDEF"):
                raise Malformed(f"'\\x{digits}' is not an escape; write two hexadecimal digits")
            out.append(int(digits, 16))
            i += 3
        elif text[i : i + 1] in ESCAPES:
            out.append(ESCAPES[text[i]])
            i += 1
        else:
            raise Malformed(f"'\\{text[i : i + 1]}' is not an escape")
    return bytes(out)


def tokens(text: str) -> list[str]:
    """Numbers, names (`%hi` among them), character constants and operators, in order."""
    found, i = [], 0
    while i < len(text):
        start, char = i, text[i]
        i += 1
        if char.isspace():
            continue
        if char == "'":
            end = text.find("'", i + 1 + (text[i : i + 1] == "\\"))
            if end < 0:
                raise Malformed(f"a character constant does not end: {text[start:]}")
            i = end + 1
        elif char.isalnum() or char in "_.$" or (char == "%" and text[i : i + 1].isalpha()):
            while i < len(text) and (text[i].isalnum() or text[i] in "_.$"):
                i += 1
        elif text[start : i + 1] in ("<<", ">>"):
            i += 1
        elif char not in "+-*/%&|^~()":
            raise Malformed(f"{char!r} has no meaning in an expression")
        found.append(text[start:i])
    return found


def number(token: str) -> int | None:
    """The value of a literal in any base, or None."""
    try:
        if len(token) > 1 and token[0] == "0" and token[1:].isdigit():
            return int(token, 8)
        return int(token, 0) if token[0].isdigit() and "_" not in token else None
    except ValueError:
        return None


class Expression:
    """One evaluation of `text`; `lookup` gives a symbol's value, `functions` those of `%hi(x)`.

    Values are unbounded integers; whoever encodes one checks that it fits. Raises Unknown through
    `lookup`, and Malformed.
    """

    DEEPEST = 64

    def __init__(
        self,
        text: str,
        lookup: Callable[[str], int],
        functions: dict[str, Callable[[int], int]],
    ) -> None:
        self.text, self.lookup, self.functions = text, lookup, functions
        self.tokens, self.at, self.depth = tokens(text), 0, 0

    def value(self) -> int:
        """The value of the whole text."""
        result = self._binary(1)
        if self.at < len(self.tokens):
            raise Malformed(f"{self.tokens[self.at]!r} is not expected in {self.text!r}")
        return result

    def _next(self) -> str:
        if self.at == len(self.tokens):
            raise Malformed(f"{self.text!r} ends where a value is expected")
        self.at += 1
        return self.tokens[self.at - 1]

    def _binary(self, lowest: int) -> int:
        left = self._unary()
        while self.at < len(self.tokens):
            operator = self.tokens[self.at]
            precedence = PRECEDENCE.get(operator, 0)
            if precedence < lowest:
                break
            self.at += 1
            left = self._apply(operator, left, self._binary(precedence + 1))
        return left

    def _apply(self, operator: str, a: int, b: int) -> int:
        match operator:
            case "|":
                return a | b
            case "^":
                return a ^ b
            case "&":
                return a & b
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case "<<" | ">>" if not 0 <= b < 64:
                raise Malformed(f"shift amount {b} is not in 0..63")
            case "<<":
                return a << b
            case ">>":
                return a >> b
        if b == 0:
            raise Malformed(f"division by zero in {self.text!r}")
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return quotient if operator == "/" else a - b * quotient

    def _unary(self) -> int:
        self.depth += 1
        if self.depth > self.DEEPEST:
            raise Malformed(f"the expression is nested more than {self.DEEPEST} deep")
        result = self._primary(self._next())
        self.depth -= 1
        return result

    def _primary(self, token: str) -> int:
        match token:
            case "-":
                return -self._unary()
            case "+":
                return self._unary()
            case "~":
                return ~self._unary()
            case "(":
                return self._closed()
        if token[0] == "'":
            character = unescape(token[1:-1])
            if len(character) != 1:
                raise Malformed(f"{token} is not one character")
            return character[0]
        if token[0] == "%" and len(token) > 1:
            if token not in self.functions:
                raise Malformed(f"{token} is not known; write one of {', '.join(self.functions)}")
            if self._next() != "(":
                raise Malformed(f"write {token}(...)")
            return self.functions[token](self._closed())
        literal = number(token)
        if literal is not None:
            return literal
        if token == "." or is_symbol(token) or is_local(token):
            return self.lookup(token)
        raise Malformed(f"{token!r} is not a number, a symbol or an operator")

    def _closed(self) -> int:
        result = self._binary(1)
        if self.at == len(self.tokens) or self._next() != ")":
            raise Malformed(f"a parenthesis is not closed in {self.text!r}")
        return result


def is_local(token: str) -> bool:
    """Whether `token` refers to a numeric label: `1f`, `2b`."""
    return token[:-1].isdigit() and token[-1] in "fb"


def high(value: int) -> int:
    """%hi: the 20 bits for lui or auipc such that adding `low(value)` gives `value`."""
    return value + 0x800 >> 12 & 0xFFFFF


def low(value: int) -> int:
    """%lo: the signed low 12 bits."""
    return signed(value & MASK[12], 12)
