"""JSON documents that strangers wrote: bounded, and asked field by field for what they must be."""

import json

from auberge.image.oci.limits import LARGEST_JSON, OTHER
from auberge.refusal import Refusal

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Node:
    """A value in a document, and where it is: `index.json: manifests[0].digest`.

    A field that is null is one that is not there, as in Go, whose programs write these documents.
    """

    __slots__ = ("_path", "file", "value")

    def __init__(self, value: Json, file: str, path: str = "") -> None:
        self.value = value
        self.file = file
        self._path = path

    def __bool__(self) -> bool:
        return self.value is not None

    def get(self, name: str) -> "Node":
        """A field of this object; false if there is none."""
        return self.table().get(name) or Node(None, self.file, self._below(name))

    def table(self) -> dict[str, "Node"]:
        """The fields of this object, none if it is not there."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.refusal("is not an object")
        if any(not is_text(name) for name in self.value):
            raise self.refusal("has a name that is no text")
        return {
            name: Node(value, self.file, self._below(name)) for name, value in self.value.items()
        }

    def array(self) -> list["Node"]:
        """The elements of this array, none if it is not there."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.refusal("is not an array")
        return [
            Node(value, self.file, f"{self._path}[{number}]")
            for number, value in enumerate(self.value)
        ]

    def text(self, default: str | None = None) -> str:
        """This string, which no system call would misread."""
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            raise self.refusal("is not a string")
        if not is_text(self.value):
            raise self.refusal("is no text")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """The strings of this array."""
        return tuple(element.text() for element in self.array())

    def text_table(self) -> dict[str, str]:
        """The strings of this object, by name."""
        return {name: element.text() for name, element in self.table().items()}

    def number(self, largest: int) -> int:
        """This whole number, from 0 to `largest`."""
        # True is an int in Python
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.refusal("is not a whole number")
        if not 0 <= self.value <= largest:
            raise self.refusal(f"is not between 0 and {largest}")
        return self.value

    def refusal(self, why: str) -> Refusal:
        """What to raise about this value."""
        shown = json.dumps(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return Refusal(f"{self.file}: {self._path or 'document'}: {shown} {why}; {OTHER}")

    def _below(self, name: str) -> str:
        plain = name if name.isascii() and name.isprintable() and len(name) < 60 else "..."
        return f"{self._path}.{plain}" if self._path else plain


def is_text(value: str) -> bool:
    """Whether system calls and encoders take it: no NUL, and no half of a surrogate pair."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


NOTHING = Node(None, "")


def parse(data: bytes, file: str) -> Node:
    """The document in a file, as an object; `file` is what a refusal calls it."""
    if len(data) > LARGEST_JSON:
        raise Refusal(f"{file}: {len(data)} bytes of JSON, more than {LARGEST_JSON}; {OTHER}")
    try:
        value: Json = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else "not JSON"
        raise Refusal(f"{file}: {why}; {OTHER}") from error
    return Node(value, file)


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def write(value: Json) -> bytes:
    """A document whose bytes depend on nothing but its value: digests are made of it."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
