"""What is known of a container between commands: a folder for each, whole at any moment.

`ROOT/ID/state.json` is replaced as a whole, and written before anything is done that it tells of,
so that whatever is left by a runtime that was killed can be found and removed. `config.json` is the
configuration it was made from, `start.fifo` is there until `start`.
"""

import os

from auberge.container.light import NamedTuple, read_json, write_json
from auberge.container.processes import boot_id
from auberge.refusal import Refusal, reason

FORMAT = 1
LONGEST_ID = 1024
NEVER = -1
"""When no process has started."""
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class CgroupPlace(NamedTuple):
    """A cgroup of the container's, in one hierarchy (cgroups_layout.Node)."""

    version: int
    controllers: tuple[str, ...]
    mount: str
    path: str


class ResctrlPlace(NamedTuple):
    """The container's group in resctrl (config-linux.md, "IntelRdt"), and what of it is its own."""

    mount: str
    group: str
    monitor: str = ""  # a monitoring group of its own in there
    made: bool = False  # the group was not there before
    named: bool = False  # by closID: others may be in it, too
    group_is: str = ""  # which folder that was made: of another file system, or a later one of that
    monitor_is: str = ""  # name, it is not ours


class Record(NamedTuple):
    """state.json: the OCI state, and what the runtime needs to find all of a container."""

    id: str
    bundle: str
    created: str = ""  # RFC 3339
    pid: int = 0  # 0: no process yet
    start_time: int = 0  # of that process (proc_pid_stat(5), field 22): a number may be reused
    boot: str = ""  # of the host since which start: in another, it is no process of ours
    is_created: bool = False  # it waits for start, or has been started
    cgroups: tuple[CgroupPlace, ...] = ()
    owner: int = 0
    oci_version: str = "1.1.0"
    rootfs: str = ""
    annotations: dict[str, str] = {}
    unit: str = ""  # of systemd's, which has made the cgroups
    unit_of_user: bool = False  # of the user's systemd, not the host's
    resctrl: ResctrlPlace | None = None


def entrances(record: Record) -> tuple[str, ...]:
    """The files by which a process enters the container's groups of resctrl, if it has any that
    are still there: without, it is where all others are."""
    place = record.resctrl
    if place is None or not os.path.isdir(place.group):
        return ()
    paths = [place.group, *([place.monitor] if place.monitor else [])]
    return tuple([f"{path}/tasks" for path in paths])


def check_id(name: str) -> str:
    """The name itself; raises Refusal if it could not be a folder's, or a cgroup's."""
    if not name or len(name) > LONGEST_ID or name in (".", "..") or not _ALLOWED.issuperset(name):
        raise Refusal(f"container id {name!r}: not a name; write letters, digits and any of '_+-.'")
    return name


class Folder:
    """The folder of one container."""

    def __init__(self, root: str, name: str) -> None:
        self.id = check_id(name)
        self.path = os.path.join(root, name)
        self.fifo = os.path.join(self.path, "start.fifo")
        self.config = os.path.join(self.path, "config.json")
        self._saved: tuple[bytes, Record] | None = None  # state.json as we have written it

    def create(self) -> None:
        """Make it; raises Refusal if there is a container of that name."""
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            os.mkdir(self.path, 0o711)
        except FileExistsError:
            raise Refusal(
                f"container {self.id}: container with given ID already exists; "
                f"delete it, or choose another name"
            ) from None
        except OSError as error:
            raise Refusal(
                f"{self.path}: {reason(error)}; name a folder of yours with --root"
            ) from None

    def exists(self) -> bool:
        """Whether there is a container of that name."""
        return os.path.isdir(self.path)

    def save(self, record: Record) -> None:
        """Replace state.json, as a whole."""
        values = record._asdict() | {
            "format": FORMAT,
            "cgroups": [place._asdict() for place in record.cgroups],
            "resctrl": record.resctrl and record.resctrl._asdict(),
        }
        content = write_json(values).encode()
        self.write("state.json", content)
        self._saved = content, record

    def write(self, name: str, content: bytes) -> None:
        """Replace a file, as a whole; it is for this user alone, as there are variables in it."""
        beside = os.path.join(self.path, f".{name}.{os.getpid()}")
        with open(beside, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)
        os.rename(beside, os.path.join(self.path, name))

    def load(self) -> Record | None:
        """The record; None if the runtime ended before it wrote one. Raises Refusal."""
        try:
            with open(os.path.join(self.path, "state.json"), "rb") as file:
                content = file.read()
            if self._saved is not None and self._saved[0] == content:
                return self._saved[1]  # nobody else has written since: 0.4 ms less to import
            values = read_json(content)
        except FileNotFoundError:
            if self.exists():
                return None
            raise Refusal(
                f"container {self.id}: container does not exist; see `auberge-oci list`"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise Refusal(f"{self.path}/state.json: {error}; delete it with --force") from None
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise Refusal(
                f"{self.path}/state.json: of another version of Auberge; delete it with --force"
            )
        try:
            places = tuple(
                CgroupPlace(**{**place, "controllers": tuple(place["controllers"])})
                for place in values.pop("cgroups")
            )
            group = values.pop("resctrl", None)
            shares = None if group is None else ResctrlPlace(**group)
            record = Record(**values, cgroups=places, resctrl=shares)
            _check_kinds(record)
        except (TypeError, KeyError):
            raise Refusal(f"{self.path}/state.json: damaged; delete it with --force") from None
        if record.boot and record.boot != boot_id():
            record = record._replace(start_time=NEVER)
        return record

    def remove(self) -> None:
        """Remove it, whatever is in it."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        # state.json last: what is left when we are killed here can still be deleted
        for name in sorted(names, key=lambda name: name == "state.json"):
            try:
                os.unlink(os.path.join(self.path, name))
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            pass


def _check_kinds(record: Record) -> None:
    """Raise TypeError unless all in it, which was JSON, is of the kinds that its fields have."""
    _check_alike(record._replace(resctrl=None), Record("", ""))
    _check_alike(tuple(record.annotations.values()), ("",) * len(record.annotations))
    for place in record.cgroups:
        _check_alike(place, CgroupPlace(0, (), "", ""))
        _check_alike(place.controllers, ("",) * len(place.controllers))
    if record.resctrl is not None:
        _check_alike(record.resctrl, ResctrlPlace("", ""))


def _check_alike(values: tuple[object, ...], like: tuple[object, ...]) -> None:
    if [*map(type, values)] != [*map(type, like)]:
        raise TypeError


def names(root: str) -> list[str]:
    """All containers of a root folder."""
    try:
        found = os.listdir(root)
    except FileNotFoundError:
        return []
    return sorted(name for name in found if os.path.isdir(os.path.join(root, name)))
