"""Guests that outlive a command: a folder for each, in a format that another monitor can adopt.

    guests/NAME/guest.json    what the guest is, and how it fares: its Record, replaced as a whole
    guests/NAME/log.json      what it wrote, if someone keeps that: see log.py
    guests/NAME/...           what its isolation keeps: a root file system, the runtime's record
    guests/.new-PID-TICKS-N   a folder that is being made, by the process PID that began at TICKS
    guests/.gone-PID-TICKS-N  a folder that is being removed

`guests` is beside the images (AUBERGE_CACHE_DIR), whose layers guests hold, and its user's alone. A
folder has its name as soon as it has its record, by one rename, and loses both by another. Only a
guest's supervisor writes its record. What a kill leaves is found by what the record says: a
process is itself if it has that number, began at that tick, and the host has not started again.
"""

import os

from auberge.container import processes
from auberge.container.light import Iterator, NamedTuple, read_json, write_json
from auberge.container.own_folder import check_ours
from auberge.refusal import Refusal, reason

FORMAT = 1
RECORD = "guest.json"
LONGEST_RECORD = 1 << 20
SHORT = 12
"""Hexadecimal digits of an id that are shown."""
CREATED, RUNNING, EXITED = "created", "running", "exited"
STATUSES = (CREATED, RUNNING, EXITED)
NEW, GONE = ".new-", ".gone-"


class Process(NamedTuple):
    """A process of this host since it was started: numbers are used again."""

    pid: int = 0
    ticks: int = 0  # when it began (proc_pid_stat(5), field 22)
    boot: str = ""  # the host's start (processes.boot_id)

    @property
    def lives(self) -> bool:
        """Whether that very process has not ended."""
        if not self.pid or self.boot != processes.boot_id():
            return False
        return processes.is_alive(self.pid, self.ticks)


class Record(NamedTuple):
    """guest.json. Times are RFC 3339 in UTC, and empty for what has not happened."""

    id: str  # 64 hexadecimal digits
    name: str
    isolation: str  # container or machine
    image: str
    command: tuple[str, ...]
    labels: dict[str, str] = {}
    ports: tuple[str, ...] = ()  # as -p says them
    created: str = ""
    started: str = ""
    finished: str = ""
    status: str = CREATED  # what the supervisor wrote last: created, running or exited
    exit_code: int | None = None  # None: it has not ended, or nobody saw how
    oom_killed: bool = False
    error: str = ""  # why it could not be started, or what went wrong at its end
    process: Process = Process()  # its first
    supervisor: Process = Process()  # whoever waits for its end
    socket: str = ""  # where the supervisor answers; empty if nobody does
    terminal: bool = False
    interactive: bool = False
    remove: bool = False  # with its end
    stop_signal: str = "SIGTERM"
    options: dict[str, object] = {}  # what its isolation wants to know again

    @property
    def supervised(self) -> bool:
        """Whether its supervisor lives."""
        return self.supervisor.lives

    @property
    def lives(self) -> bool:
        """Whether it is on its way, or runs; also without its supervisor."""
        if self.status == EXITED:
            return False
        return self.process.lives or self.supervised


def process(pid: int) -> Process:
    """That process, as a record names it."""
    return Process(pid, processes.start_time(pid), processes.boot_id())


def now() -> str:
    """The time, as RFC 3339 in UTC."""
    import time

    stamp = time.time_ns()
    seconds, rest = divmod(stamp, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def fresh_id() -> str:
    """An id that no other guest has."""
    return os.urandom(32).hex()


def fresh_name(image: str) -> str:
    """A name that no guest has: what the image is called, and four digits or more."""
    base = "".join(c for c in image.partition(":")[0].rpartition("/")[2] if c.isalnum()) or "guest"
    for digits in (4, 4, 4, 4, 8, 8, 16):
        name = f"{base[:40]}-{os.urandom(8).hex()[:digits]}"
        if not os.path.lexists(os.path.join(root(), name)):
            return name
    raise Refusal(f"{root()}: full of guests; remove some with `auberge rm`")


def root() -> str:
    """The folder of all guests, made if it is not there; raises Refusal unless it is ours alone."""
    from auberge.image.store import cache_directory

    path = os.path.join(cache_directory(), "guests")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        check_ours(path)
    except OSError as error:
        why = reason(error)
        raise Refusal(f"{path}: {why}; set AUBERGE_CACHE_DIR to a folder of yours") from None
    return path


class Folder:
    """The folder of one guest, by its path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(path)

    def at(self, *parts: str) -> str:
        """A path in it."""
        return os.path.join(self.path, *parts)

    def load(self) -> Record:
        """Its record; raises Refusal if there is none, or it is damaged."""
        try:
            with open(self.at(RECORD), "rb") as file:
                data = file.read(LONGEST_RECORD + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise Refusal(f"{self.name}: no such guest; see `auberge ps --all`") from None
        except OSError as error:
            raise self._damaged(reason(error)) from None
        try:
            values = read_json(data) if len(data) <= LONGEST_RECORD else None
        except (ValueError, RecursionError):
            raise self._damaged("not JSON") from None
        record = parse(values)
        if isinstance(record, str):
            raise self._damaged(record)
        if record.name != self.name:
            raise self._damaged(f"the record of {record.name!r}")
        return record

    def _damaged(self, why: str) -> Refusal:
        return Refusal(f"{self.at(RECORD)}: {why}; remove it with `auberge rm -f {self.name}`")

    def save(self, record: Record) -> None:
        """Replace the record, as a whole. Raises Refusal.

        It is not synced: after a power failure it may be damaged, and says so.
        """
        save(self.path, record)

    def remove(self) -> None:
        """Give the name up, and remove all that is here; nothing to do if it is gone.

        Raises Refusal if something is mounted here.
        """
        from auberge.image.oci.beneath import remove_tree

        mounted = mounts_below(self.path)
        if mounted:  # it may be a folder of the user's
            raise Refusal(f"{mounted[0]}: still mounted; umount it first, then try again")
        gone = os.path.join(os.path.dirname(self.path), _temporary(GONE))
        try:
            os.rename(self.path, gone)
        except FileNotFoundError:
            return
        remove_tree(gone)


def save(path: str, record: Record) -> None:
    """The same, in a folder that has no name yet."""
    values = record._asdict() | {
        "format": FORMAT,
        "process": record.process._asdict(),
        "supervisor": record.supervisor._asdict(),
    }
    beside = os.path.join(path, f".{RECORD}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(write_json(values).encode())
        os.rename(beside, os.path.join(path, RECORD))
    except OSError as error:
        raise Refusal(f"{path}: {reason(error)}; free some space there") from None


def create(record: Record) -> Folder:
    """A new guest's folder; raises Refusal if another guest has its name."""
    from auberge.monitor.names import check_name, is_taken

    name = check_name(record.name)
    taken = Refusal(
        f"{name}: a guest has that name; remove it with `auberge rm {name}`, or choose another"
    )
    if is_taken(name):
        raise taken
    place = root()
    sweep(place)
    temporary = os.path.join(place, _temporary(NEW))
    os.mkdir(temporary, 0o700)
    try:
        save(temporary, record)
        os.rename(temporary, os.path.join(place, name))  # onto a folder with a record it cannot be
    except BaseException as error:
        for file in os.listdir(temporary):
            os.unlink(os.path.join(temporary, file))
        os.rmdir(temporary)
        if isinstance(error, OSError):
            raise taken from None
        raise
    return Folder(os.path.join(place, name))


def mounts_below(path: str) -> list[str]:
    """What is mounted in a folder, in our mount namespace."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = [line.split()[4] for line in file]
    beginning = os.fsencode(path) + b"/"
    unescaped = [point.decode("unicode_escape").encode("latin-1") for point in points]
    return [os.fsdecode(point) for point in unescaped if point.startswith(beginning)]


def sweep(place: str) -> None:
    """Remove what processes that were killed have left of folders."""
    from auberge.image.oci.beneath import remove_tree

    for name in os.listdir(place):
        if not name.startswith((NEW, GONE)):
            continue
        words = name.split("-")
        if len(words) == 4 and words[1].isdecimal() and words[2].isdecimal():
            if processes.is_alive(int(words[1]), int(words[2])):
                continue
        try:
            remove_tree(os.path.join(place, name))
        except PermissionError:  # of ids that were taken from this user; others try again
            pass


def _temporary(prefix: str) -> str:
    pid = os.getpid()
    return f"{prefix}{pid}-{processes.start_time(pid)}-{os.urandom(4).hex()}"


# -- finding them ---------------------------------------------------------------------------------


def folders() -> Iterator[Folder]:
    """All guests' folders, sorted by name."""
    place = root()
    for name in sorted(os.listdir(place)):
        if not name.startswith("."):
            yield Folder(os.path.join(place, name))


def find(word: str) -> Folder:
    """The guest that a user means by its name, or by how its id alone begins; raises Refusal."""
    place = root()
    if word and "/" not in word and not word.startswith(".") and "\0" not in word:
        folder = Folder(os.path.join(place, word))
        if os.path.lexists(folder.path):
            return folder
        if set(word) <= set("0123456789abcdef"):
            found = [folder for folder in folders() if _has_id(folder, word)]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(folder.name for folder in found)
                raise Refusal(f"{word}: the ids of several guests begin so: {names}; write more")
    raise Refusal(f"{word}: no such guest; see `auberge ps --all`")


def _has_id(folder: Folder, beginning: str) -> bool:
    try:
        return folder.load().id.startswith(beginning)
    except Refusal:
        return False


# -- what a record must be like -------------------------------------------------------------------


def parse(values: object) -> Record | str:
    """The record that a JSON value is, or what is wrong with it."""
    if not isinstance(values, dict):
        return "not an object"
    if values.get("format") != FORMAT:
        return "of another version of Auberge"
    given = {key: value for key, value in values.items() if key != "format"}
    missing = [field for field in Record._fields if field not in given]
    if missing or len(given) != len(Record._fields):
        return "its fields are not those of a guest"
    for field, value in given.items():
        if not _fits(field, value):
            return f"{field} is not what it should be"
    for field in ("command", "ports"):
        given[field] = tuple(given[field])
    for field in ("process", "supervisor"):
        given[field] = Process(**given[field])
    return Record(**given)


def _fits(field: str, value: object) -> bool:
    if field in ("command", "ports"):
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    if field in ("labels", "options"):
        return isinstance(value, dict) and (
            field == "options" or all(isinstance(part, str) for part in value.values())
        )
    if field in ("process", "supervisor"):
        return (
            isinstance(value, dict)
            and sorted(value) == ["boot", "pid", "ticks"]
            and isinstance(value["boot"], str)
            and all(_number(value[key], 0) for key in ("pid", "ticks"))
        )
    if field in ("oom_killed", "terminal", "interactive", "remove"):
        return isinstance(value, bool)
    if field == "exit_code":
        return value is None or _number(value, 0)
    if field == "status":
        return value in STATUSES
    if field == "id":
        return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    return isinstance(value, str)


def _number(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 63
