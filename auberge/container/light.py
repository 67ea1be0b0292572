"""What `typing`, `collections.abc` and `json` offer, without what importing them costs.

`auberge-oci` runs for some 30 ms, of which these would take the half: `typing` and `json` import
`re`, `enum` and more, and each class of `typing.NamedTuple` is compiled from text. To type checkers
the names below are the originals; at run time they are as little as is needed.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable as Callable
    from collections.abc import Collection as Collection
    from collections.abc import Iterable as Iterable
    from collections.abc import Iterator as Iterator
    from collections.abc import Mapping as Mapping
    from collections.abc import Sequence as Sequence
    from collections.abc import Sized as Sized
    from typing import Annotated as Annotated
    from typing import Literal as Literal
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:
    from _collections_abc import (  # noqa: F401
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
        Sized,
    )
    from _operator import itemgetter

    class _Special:
        """A type with a meaning of its own: `Annotated[int, check]`, `Literal["a", "b"]`."""

        __slots__ = ("name", "arguments")

        def __init__(self, name, arguments=()):
            self.name, self.arguments = name, arguments

        def __getitem__(self, arguments):
            return _Special(self.name, arguments if type(arguments) is tuple else (arguments,))

        def __or__(self, other):
            return _Special("Optional", (self,))

    Annotated = _Special("Annotated")
    Literal = _Special("Literal")

    class Protocol:
        """Only types know it."""

    class _Maker(type):
        """Makes classes whose base is NamedTuple plain subclasses of tuple."""

        def __new__(cls, name, bases, space):
            if not bases:
                return type.__new__(cls, name, bases, space)
            fields = tuple(space.get("__annotations__", ()))
            defaults = {field: space[field] for field in fields if field in space}
            for at, field in enumerate(fields):
                space[field] = property(itemgetter(at))
            space.update(
                __slots__=(), _fields=fields, _field_defaults=defaults, __match_args__=fields
            )
            for method in _METHODS:
                space.setdefault(method.__name__, method)
            return type.__new__(type, name, (tuple,), space)

    class NamedTuple(metaclass=_Maker):
        """A tuple whose parts have names."""

    def __new__(cls, *values, **named):
        fields = cls._fields
        if named or len(values) != len(fields):
            if len(values) > len(fields):
                raise TypeError(f"{cls.__name__} has {len(fields)} fields, not {len(values)}")
            defaults, rest = cls._field_defaults, fields[len(values) :]
            try:
                values += tuple([named.pop(f) if f in named else defaults[f] for f in rest])
            except KeyError as error:
                raise TypeError(f"{cls.__name__} needs {error}") from None
            if named:
                raise TypeError(f"{cls.__name__} has no {', '.join(named)}")
        return tuple.__new__(cls, values)

    def __repr__(self):
        parts = ", ".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({parts})"

    def __getnewargs__(self):
        return tuple(self)

    def _asdict(self):
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **named):
        result = tuple.__new__(
            type(self), [named.pop(f, v) for f, v in zip(self._fields, self, strict=True)]
        )
        if named:
            raise ValueError(f"{type(self).__name__} has no {', '.join(named)}")
        return result

    @classmethod
    def _make(cls, values):
        return cls(*values)

    _METHODS = (__new__, __repr__, __getnewargs__, _asdict, _replace)


def special(kind: object) -> tuple[str, tuple[object, ...]]:
    """Annotated, Literal or Optional, and its arguments; else an empty name."""
    name = vars(type(kind)).get("name")
    if name is None:
        return "", ()
    found: tuple[str, tuple[object, ...]] = (
        name.__get__(kind), vars(type(kind))["arguments"].__get__(kind)
    )  # fmt: skip
    return found


def read_json(data: bytes) -> object:
    """The value of a JSON text; raises ValueError."""
    import _json

    text = data.decode().removeprefix("\ufeff")
    start = len(text) - len(text.lstrip(" \t\n\r"))
    try:
        value, end = _json.make_scanner(_Scan())(text, start)  # type: ignore[arg-type]
    except StopIteration as stop:
        raise ValueError(f"a value is missing at character {stop.value}") from None
    if text[end:].strip(" \t\n\r"):
        raise ValueError(f"there is more after its end, at character {end}")
    found: object = value
    return found


class _Scan:
    """What the scanner of json.JSONDecoder asks for."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(text: str) -> object:
        """NaN and Infinity."""
        raise ValueError(f"{text} is no number of JSON")


def checksum(data: bytes) -> bytes:
    """Eight bytes that tell damaged data (SipHash-1-3, as CPython has it for its own files)."""
    from _imp import source_hash  # `zlib` would take 0.4 ms to import

    return source_hash(0, data)


def write_json(value: object) -> str:
    """A value as JSON text."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        parts = [f"{_quoted(str(key))}: {write_json(part)}" for key, part in value.items()]
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join([write_json(part) for part in value]) + "]"
    assert isinstance(value, int)
    return str(value)


def _quoted(text: str) -> str:
    # what is written as it is needs no module for it, which would take 0.3 ms to import
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from _json import encode_basestring_ascii

    return str(encode_basestring_ascii(text))
