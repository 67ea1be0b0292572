"""config.json read and checked against the types of config.py: every error names path and fix."""

from auberge.container.config import LONGEST
from auberge.container.light import TYPE_CHECKING, Callable, read_json, special
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")

CAPITALS = {
    "id": "ID", "io": "IO", "iops": "IOPS", "tcp": "TCP", "oom": "OOM", "cpu": "CPU",
    "cmt": "CMT", "mbm": "MBM",
}  # fmt: skip
MISSING = {
    "$.process.args": "give at least one argument",
    "$.process.cwd": "write an absolute path, such as '/'",
    "$.ociVersion": "write '1.1.0'",
    "$.root.path": "write the path of the root file system, such as 'rootfs'",
}
KINDS = {str: "a string", bool: "true or false", int: "a whole number"}

Reader = Callable[[object, str], object]
if TYPE_CHECKING:
    from types import GenericAlias, UnionType
else:
    UnionType, GenericAlias = type(int | None), type(tuple[int])


class Wrong(Exception):
    """What is wrong with a value, and where: `$.process.cwd: ...; ...`."""


def parse(data: bytes, kind: "type[_T]", name: str) -> "_T":
    """JSON text as a `kind`, a class of config.py; `name` is what errors call the text."""
    if len(data) > LONGEST:
        raise Refusal(f"{name}: more than {LONGEST} bytes; a config.json has far fewer")
    try:
        value = read_json(data)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{name}: not JSON ({error}); write JSON as of RFC 8259") from None
    return convert(value, kind, name)


def convert(value: object, kind: "type[_T]", name: str) -> "_T":
    """What json has read, as a `kind`."""
    try:
        result = _reader(kind)(value, "$")
    except Wrong as wrong:
        raise Refusal(f"{name}: {wrong}") from None
    assert isinstance(result, kind)
    return result


def property_name(field: str) -> str:
    """The property that a field stands for: `no_new_privileges` is `noNewPrivileges`."""
    first, *others = field.rstrip("_").split("_")
    return first + "".join(CAPITALS.get(word) or word.capitalize() for word in others)


_readers: dict[object, Reader] = {}


def _reader(kind: object) -> Reader:
    """What reads a value of that type, made once for each."""
    try:
        return _readers[kind]
    except KeyError:
        found = _readers[kind] = _make(kind)
        return found


def _make(kind: object) -> Reader:
    name, arguments = special(kind)
    if name == "Annotated":
        return _checked(_reader(arguments[0]), arguments[1:])
    if name == "Literal":
        return _one_of(arguments)
    if name == "Optional":
        return _reader(arguments[0])
    if isinstance(kind, UnionType):  # X | None: null is told apart by the object's reader
        return _reader(kind.__args__[0])
    if isinstance(kind, GenericAlias):
        inner = kind.__args__
        return _array(_reader(inner[0])) if kind.__origin__ is tuple else _map(_reader(inner[1]))
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _object(kind)
    assert kind in (str, bool, int)
    return _plain(kind)


def _plain(kind: type) -> Reader:
    def read(value: object, path: str) -> object:
        if type(value) is kind:
            return value
        raise Wrong(f"{path}: {_shown(value)} is not {KINDS[kind]}; write {KINDS[kind]}")

    return read


def _checked(reader: Reader, checks: tuple[object, ...]) -> Reader:
    def read(value: object, path: str) -> object:
        result = reader(value, path)
        for check in checks:
            assert callable(check)
            complaint = check(result)
            if complaint is not None:
                raise Wrong(f"{path}: {complaint}")
        return result

    return read


def _one_of(words: tuple[object, ...]) -> Reader:
    def read(value: object, path: str) -> object:
        if isinstance(value, str) and value in words:
            return value
        choice = ", ".join(str(word) for word in words if word)
        raise Wrong(f"{path}: {_shown(value)} is not known; write one of {choice}")

    return read


def _array(item: Reader) -> Reader:
    def read(value: object, path: str) -> object:
        if not isinstance(value, list):
            raise Wrong(f"{path}: {_shown(value)} is not an array; write it in [ ]")
        return tuple([item(part, f"{path}[{at}]") for at, part in enumerate(value)])

    return read


def _map(item: Reader) -> Reader:
    def read(value: object, path: str) -> object:
        if not isinstance(value, dict):
            raise Wrong(f"{path}: {_shown(value)} is not an object; write it in {{ }}")
        return {key: item(part, f"{path}[{key!r}]") for key, part in value.items()}

    return read


def _object(kind: type[tuple[object, ...]]) -> Reader:
    hints: dict[str, object] = kind.__annotations__
    defaults: dict[str, object] = vars(kind)["_field_defaults"]
    fields = [(name, property_name(name), _reader(hint)) for name, hint in hints.items()]

    def read(value: object, path: str) -> object:
        if not isinstance(value, dict):
            raise Wrong(f"{path}: {_shown(value)} is not an object; write it in {{ }}")
        found: list[object] = []
        for name, key, reader in fields:
            part = value.get(key)
            if part is not None:  # "null" is what Go's encoder writes for nothing
                found.append(reader(part, f"{path}.{key}"))
            elif name in defaults:
                found.append(defaults[name])
            else:
                where = f"{path}.{key}"
                raise Wrong(f"{where}: missing; {MISSING.get(where, 'it has to be there')}")
        return tuple.__new__(kind, found)

    return read


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
