"""Properties of a unit that a configuration asks for by itself: `org.systemd.property.NAME`.

The convention of runc (docs/systemd.md, "Auxiliary properties") and crun: the value is a GVariant
in text format (GLib, "GVariant Text Format"), a name that ends with `Sec` takes seconds.
"""

from auberge.container.light import Mapping, NamedTuple
from auberge.container.systemd_properties import Property
from auberge.refusal import Refusal

KEY = "org.systemd.property."
OURS = ("Description", "Slice", "Delegate", "PIDs")
"""What the runtime says itself: by these it finds its unit again, and what is in it is killed."""
LONGEST = 4096  # characters of a value
LONGEST_TYPE = 64  # characters of a type
DEEPEST = 8  # arrays and tuples in one another
_WORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u",
    "int64": "x", "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_RANGES = {
    "y": (0, 8), "n": (-1 << 15, 15), "q": (0, 16), "i": (-1 << 31, 31), "u": (0, 32),
    "x": (-1 << 63, 63), "t": (0, 64),
}  # fmt: skip
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ESCAPES = {"n": "\n", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "r": "\r", "v": "\v"}


def asked(annotations: Mapping[str, str]) -> list[Property]:
    """The properties that annotations ask for; raises Refusal for those that are none."""
    return [_property(key, text) for key, text in annotations.items() if key.startswith(KEY)]


def _property(key: str, text: str) -> Property:
    name = key[len(KEY) :]
    where = f"config.json: $.annotations[{key!r}]"
    if len(name) < 3 or not _LETTERS.issuperset(name):
        raise Refusal(f"{where}: {name!r} is no name of a property; write letters, three or more")
    if name in OURS:
        raise Refusal(f"{where}: {name} is set by the runtime; take it out")
    try:
        signature, value = parse(text)
        if name.endswith("Sec") and name[-4:-3].islower():
            name, signature, value = f"{name[:-3]}USec", "t", _microseconds(value)
    except ValueError as error:
        raise Refusal(
            f"{where}: {text[:80]!r} is no value: {error}; write as true, 'text' or uint64 7"
        ) from None
    return Property(name, signature, value)


def _microseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 43:
        raise ValueError("no number of seconds")
    return round(value * 1_000_000)


class _Value(NamedTuple):
    signature: str
    value: object


def parse(text: str) -> tuple[str, object]:
    """The D-Bus signature and the value of a GVariant text: booleans, numbers, strings, arrays and
    tuples of them; raises ValueError."""
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters")
    reader = _Reader(text)
    found = reader.value("", 0)
    if reader.rest():
        raise ValueError(f"there is more after its end: {reader.rest()[:20]!r}")
    return found.signature, found.value


class _Reader:
    """What is left to read of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def rest(self) -> str:
        """What is not read yet, after white space."""
        while self._at < len(self._text) and self._text[self._at] in " \t\n":
            self._at += 1
        return self._text[self._at :]

    def _takes(self, text: str) -> bool:
        if not self.rest().startswith(text):
            return False
        self._at += len(text)
        return True

    def _word(self) -> str:
        rest = self.rest()
        end = 0
        while end < len(rest) and (rest[end].isalnum() or rest[end] in "+-."):
            end += 1
        self._at += end
        return rest[:end]

    def value(self, wanted: str, depth: int) -> _Value:
        """The next one, of the type `wanted` if that is not empty."""
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
        if self._takes("@"):
            return self.value(self._signature(wanted), depth + 1)
        if self._takes("["):
            return self._array(wanted, depth)
        if self._takes("("):
            return self._tuple(wanted, depth)
        if self.rest()[:1] in ("'", '"'):
            return _Value(_one_of(wanted, "s", "sog"), self._string())
        word = self._word()
        if word in _WORDS:
            return self.value(_one_of(wanted, _WORDS[word], _WORDS[word]), depth + 1)
        if word in ("true", "false"):
            return _Value(_one_of(wanted, "b", "b"), word == "true")
        return _number(word, wanted)

    def _signature(self, wanted: str) -> str:
        rest = self.rest()
        end = 0
        while end < min(len(rest), LONGEST_TYPE) and rest[end] in "abynqiuxtdsog()":
            end += 1
        self._at += end
        found = rest[:end]
        if not found or _first_type(found) != found or wanted not in ("", found):
            raise ValueError(f"{found!r} is no type here")
        return found

    def _array(self, wanted: str, depth: int) -> _Value:
        if wanted and not wanted.startswith("a"):
            raise ValueError("an array where none can be")
        inner = wanted[1:]
        values: list[object] = []
        while not self._takes("]"):
            if values and not self._takes(","):
                raise ValueError("an array without its end")
            found = self.value(inner, depth + 1)
            inner = found.signature
            values.append(found.value)
        if not inner:
            raise ValueError("an empty array without its type; write as @as []")
        return _Value(f"a{inner}", bytes_or_list(inner, values))

    def _tuple(self, wanted: str, depth: int) -> _Value:
        if wanted and not wanted.startswith("("):
            raise ValueError("a tuple where none can be")
        inner = wanted[1:-1]
        found: list[_Value] = []
        while not self._takes(")"):
            if found and not self._takes(","):
                raise ValueError("a tuple without its end")
            if found and self._takes(")"):
                break
            kind = _first_type(inner) if inner else ""
            if wanted and not kind:
                raise ValueError("a tuple of too many")
            inner = inner[len(kind) :]
            found.append(self.value(kind, depth + 1))
        if not found or inner:
            raise ValueError("a tuple of too few")
        kinds = "".join([one.signature for one in found])
        return _Value(f"({kinds})", tuple([one.value for one in found]))

    def _string(self) -> str:
        quote, made = self.rest()[0], ""
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != quote:
            letter = self._text[self._at]
            self._at += 1
            if letter == "\\":
                if self._at == len(self._text):
                    break
                letter = self._text[self._at]
                if letter in "uU":
                    raise ValueError("an escape by number; write the character")
                letter = _ESCAPES.get(letter, letter)
                self._at += 1
            made += letter
        if self._at >= len(self._text):
            raise ValueError("a string without its end")
        self._at += 1
        made.encode()  # raises ValueError for what no text of D-Bus has
        return made


def bytes_or_list(inner: str, values: list[object]) -> object:
    """An array as it is sent: one of bytes is `bytes`."""
    return bytes([v for v in values if isinstance(v, int)]) if inner == "y" else values


def _one_of(wanted: str, otherwise: str, possible: str) -> str:
    if wanted and (len(wanted) > 1 or wanted not in possible):
        raise ValueError(f"it is not of the type {wanted!r}")
    return wanted or otherwise


def _number(word: str, wanted: str) -> _Value:
    signature = _one_of(wanted, "i", "ynqiuxtd") if wanted else ""
    sign, digits = word[:1] in ("+", "-"), word.lstrip("+-")
    if not digits or not digits.isascii() or len(word) - len(digits) > sign:
        raise ValueError(f"{word[:20]!r} is no value that is known")
    if signature != "d":
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" and digits != "0" else 10
        try:
            number = int(digits, base) * (-1 if word[0] == "-" else 1)
        except ValueError:
            if signature or base != 10:
                raise ValueError(f"{word[:20]!r} is no whole number") from None
        else:
            signature = signature or "i"
            low, bits = _RANGES[signature]
            if not low <= number < 1 << bits:
                raise ValueError(f"{number} does not fit; write its type, as uint64 {number}")
            return _Value(signature, number)
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{word[:20]!r} is no value that is known") from None
    if value - value != 0:  # infinite, or no number
        raise ValueError(f"{word[:20]!r} is no number")
    return _Value("d", value)


def _first_type(signature: str) -> str:
    """The first complete type of a signature; empty if there is none."""
    if signature[:1] == "a":
        inner = _first_type(signature[1:])
        return f"a{inner}" if inner else ""
    if signature[:1] != "(":
        return signature[:1] if signature[:1] in tuple("bynqiuxtdsog") else ""
    at = 1
    while signature[at : at + 1] not in ("", ")"):
        inner = _first_type(signature[at:])
        if not inner:
            return ""
        at += len(inner)
    return signature[: at + 1] if at > 1 and signature[at : at + 1] == ")" else ""
