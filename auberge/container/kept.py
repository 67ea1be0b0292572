"""What a bundle was found to mean, kept on disk until it is run again.

Reading, checking and planning a configuration, and making hundreds of rows of it, takes longer than
the kernel takes for the container. So the configuration as we hold it and the mold of its program
are in one of a few files, with all that they depend on: the text of config.json, our own sources,
the options, the host's cgroups, this boot of the kernel. Only what is the very same is used; what
the plan has asked of the host's folders is asked again. A file is this user's alone, whole (its
checksum says so), or ignored.
"""

from __future__ import annotations

import marshal
import os

from auberge.container import config as classes
from auberge.container.carry import Program
from auberge.container.config import Config
from auberge.container.light import TYPE_CHECKING, Callable, NamedTuple, checksum
from auberge.container.processes import boot_id
from auberge.container.stub import cache_folder, read_private
from auberge.container.talk import Descriptors, Late, Mold, session_keyring

if TYPE_CHECKING:
    from auberge.container.cgroups_layout import Layout
    from auberge.container.steps import Operation

MAGIC = b"oci-plan"
FORMAT = 2
FILES = 64  # which of them is a matter of the bundle: they never get more
LARGEST = 1 << 20  # bytes of one
HEAD = len(MAGIC) + 8


class Found(NamedTuple):
    """What a file has said."""

    mold: Mold
    texts: tuple[bytes | None, ...]  # personal strings after those of cgroups; None: the keyring's
    counts: tuple[int, bool]  # how many cgroups of v1, and whether there is one of v2
    descriptors: tuple[object, ...]


class Kept:
    """What is kept of one bundle, if anything is."""

    def __init__(
        self, data: bytes, bundle: str, name: str, pivot: bool, keyring: bool,
        owned: tuple[int, ...], layout: Layout,
    ) -> None:  # fmt: skip
        hierarchies = tuple([tuple(h) for h in layout.hierarchies])
        choices = (os.geteuid(), bundle, pivot, keyring, owned)
        self._key = _dumped((_sources(), _boot(), choices, hierarchies, data))
        number = checksum(os.fsencode(bundle) + b"\0" + data)[0] % FILES
        self._path = os.path.join(cache_folder(), f"plan-{number:02x}")
        self._name = name
        self._found: Found | None = None

    def config(self, home: Callable[[Config], str | None]) -> Config | None:
        """The configuration, if this very bundle was kept; `home` says what HOME is set to."""
        content = read_private(self._path, LARGEST)
        if content is None or content[:HEAD] != _head(content[HEAD:]):
            return None
        try:
            about, values = marshal.loads(memoryview(content)[HEAD:])
        except (ValueError, EOFError, TypeError):  # of another version of Python
            return None
        if about != (FORMAT, self._key):
            return None
        config, image, late, data, numbers, texts, counts, descriptors, asked, was_home = values
        found = _decoded(config)
        if any(os.path.isdir(path) is not was for path, was in asked):
            return None
        if not isinstance(found, Config) or home(found) != was_home:
            return None
        mold = Mold(image, tuple([Late(*one) for one in late]), data, numbers)
        self._found = Found(mold, texts, counts, descriptors)
        return found

    def program(
        self, tasks: tuple[str, ...], unified: str | None, descriptors: Descriptors,
        operations: Callable[[tuple[str, ...], str | None], tuple[Operation, ...]],
    ) -> Program | None:  # fmt: skip
        """The program, if what was kept is of the form that these cgroups need."""
        found = self._found
        if found is None or tuple(descriptors) != found.descriptors:
            return None
        if found.counts != (len(tasks), unified is not None):
            return None
        texts = [os.fsencode(path) for path in (*tasks, *([unified] if unified else []))]
        keyring = session_keyring(self._name).encode()
        texts += [keyring if text is None else text for text in found.texts]
        if not found.mold.fits(texts):
            return None
        return Program(
            found.mold.filled(texts), found.mold.numbers, lambda: operations(tasks, unified)
        )

    def keep(
        self, config: Config, home: str | None, mold: Mold, operations: tuple[Operation, ...],
        descriptors: Descriptors,
    ) -> None:  # fmt: skip
        """Keep it, unless the plan depends on more than the key and the folders it asked for."""
        from auberge.container.copy_up import CopyUp
        from auberge.container.mold import PERSONAL
        from auberge.container.mounts import Bind, Isolate
        from auberge.container.steps import NewKeyring, OpenCgroups

        kinds = {space.type for space in config.linux.namespaces}
        named = "cgroup" in kinds or all(m.type not in ("cgroup", "cgroup2") for m in config.mounts)
        asked: list[tuple[str, bool]] = []
        texts: list[bytes | None] = []
        counts = (0, False)
        if "user" in kinds or not named:  # nodes are the host's, cgroups this container's
            return
        for operation in operations:
            if isinstance(operation, Bind):
                asked.append((operation.source, operation.directory))
            if isinstance(operation, OpenCgroups):
                counts = (len(operation.tasks), operation.unified is not None)
            elif isinstance(operation, NewKeyring):
                texts.append(None)
            elif isinstance(operation, PERSONAL):
                texts += [text.encode("utf-8", "surrogateescape") for text in operation.personal()]
            elif isinstance(operation, CopyUp) or (
                isinstance(operation, Isolate) and operation.parent is not None
            ):
                return
        late = tuple([tuple(one) for one in mold.late])
        values = (
            _encoded(config), mold.image, late, mold.data, mold.numbers, tuple(texts), counts,
            tuple(descriptors), tuple(asked), home,
        )  # fmt: skip
        body = _dumped(((FORMAT, self._key), values))
        if len(body) > LARGEST - HEAD:
            return
        from auberge.engine import cache

        path = os.path.join(cache.folder(), os.path.basename(self._path))
        cache.keep(path, _head(body) + body)


def _dumped(values: tuple[object, ...]) -> bytes:
    return marshal.dumps(values)  # type: ignore[arg-type]


def _head(body: bytes) -> bytes:
    return MAGIC + checksum(body)


def _sources() -> tuple[tuple[str, int, int], ...]:
    """This room's sources: their names and sizes, and when they were written."""
    found = []
    with os.scandir(os.path.dirname(os.path.abspath(__file__))) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                status = entry.stat()
                found.append((entry.name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _boot() -> str:
    """This kernel, as long as it runs: what it can do, and how it was told to behave."""
    try:
        return boot_id()
    except OSError:
        return ""


def _encoded(value: object) -> object:
    """A configuration as marshal can write it: a structure is a list of its class and its parts."""
    if isinstance(value, tuple):
        parts = tuple([_encoded(part) for part in value])
        return parts if type(value) is tuple else [type(value).__name__, parts]
    if isinstance(value, dict):
        return {key: _encoded(part) for key, part in value.items()}
    return value


def _decoded(value: object) -> object:
    if isinstance(value, list):
        name, parts = value
        return tuple.__new__(vars(classes)[name], [_decoded(part) for part in parts])
    if isinstance(value, tuple):
        return tuple([_decoded(part) for part in value])
    if isinstance(value, dict):
        return {key: _decoded(part) for key, part in value.items()}
    return value
