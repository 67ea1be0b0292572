"""Which cgroup hierarchies this host has mounted, and where a container's cgroups go in them.

Three layouts are in use (cgroups(7)): v1, a hierarchy for each controller; v2, one for all; and
hybrid, where v1 has the controllers and v2 is mounted beside it. A controller is in one of them.
"""

import os

from auberge.container.light import NamedTuple
from auberge.refusal import Refusal


class Hierarchy(NamedTuple):
    """A tree of cgroups as it is mounted."""

    version: int
    controllers: tuple[str, ...]  # in v1 also a named hierarchy without any: `name=systemd`
    mount: str
    own: str  # the cgroup of this process, as a path below `mount`: `/` or `/a/b`


class Node(NamedTuple):
    """A container's cgroup in one hierarchy: a directory that may not exist yet."""

    version: int
    controllers: tuple[str, ...]
    mount: str
    path: str

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.path}/{name}"


class Layout(NamedTuple):
    """All hierarchies that are mounted, those of v1 first."""

    hierarchies: tuple[Hierarchy, ...]

    @property
    def kind(self) -> str:
        """`v1`, `hybrid`, `v2`, or `none`."""
        first = [h for h in self.hierarchies if h.version == 1 and is_controlling(h.controllers)]
        second = any(h.version == 2 for h in self.hierarchies)
        return ("hybrid" if second else "v1") if first else ("v2" if second else "none")

    def place(self, path: str | None, container: str) -> tuple[Node, ...]:
        """Where the cgroups of a container are whose configuration says `path`
        (`linux.cgroupsPath`).

        "an absolute path: the runtime MUST take the path to be relative to the cgroups mount
        point; a relative path: MAY interpret relative to a runtime-determined location" (OCI,
        "Cgroups Path"). Ours is this process's own cgroup in v1, and the one above that in v2,
        where a cgroup with processes cannot have children with controllers (cgroup-v2.rst, "No
        Internal Process Constraint").
        """
        parts = [part for part in (path or container).split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Refusal(
                f"config.json: $.linux.cgroupsPath: {path!r} leads upwards; write it without '..'"
            )
        if not parts:
            raise Refusal(
                f"config.json: $.linux.cgroupsPath: {path!r} is the root; name a cgroup in it"
            )
        absolute = path is not None and path.startswith("/")
        return tuple(
            Node(h.version, h.controllers, h.mount, _join(h, absolute, parts))
            for h in self.hierarchies
        )


def _join(hierarchy: Hierarchy, absolute: bool, parts: list[str]) -> str:
    own = [part for part in hierarchy.own.split("/") if part]
    if absolute:
        own = []
    elif hierarchy.version == 2:
        own = own[:-1]
    return "/".join([hierarchy.mount, *own, *parts])


def is_controlling(controllers: tuple[str, ...]) -> bool:
    """Whether a hierarchy of v1 has a controller, not just a name."""
    return any(not name.startswith("name=") for name in controllers)


def read_layout(process: str = "self") -> Layout:
    """The layout that the kernel tells the calling process about, with the place of `process` in
    it."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = file.read()
    with open(f"/proc/{process}/cgroup", "rb") as file:
        cgroups = file.read()
    asked = (mounts, cgroups)
    known = _last.get(asked)
    if known is None or any(
        h.version == 2 and _enabled(h.mount) != h.controllers for h in known.hierarchies
    ):
        known = find_layout(os.fsdecode(mounts), os.fsdecode(cgroups))
        _last.clear()  # mounts change rarely, and then for good; what v2 has, whenever it is told
        _last[asked] = known
    return known


_last: dict[tuple[bytes, bytes], Layout] = {}


def find_layout(mountinfo: str, cgroups: str, root: str = "") -> Layout:
    """The layout according to the text of /proc/PID/mountinfo and /proc/PID/cgroup
    (proc_pid_mountinfo(5), cgroups(7) "/proc files"); `root` goes before every mount point, for a
    host's files that are kept elsewhere."""
    own = _own_cgroups(cgroups)
    found: dict[tuple[str, ...], Hierarchy] = {}
    shown: dict[tuple[str, ...], str] = {}
    for line in mountinfo.splitlines():
        fields, _, kind = line.partition(" - ")
        words, after = fields.split(" "), kind.split(" ")
        if len(words) < 5 or len(after) < 3 or after[0] not in ("cgroup", "cgroup2"):
            continue
        mount = root + unescape(words[4])
        controllers = () if after[0] == "cgroup2" else _known(after[2], own)
        if controllers not in own:
            continue  # not ours: mounted in another cgroup namespace, or gone
        # The same hierarchy may be mounted several times; the widest view of it is the best.
        if controllers in shown and len(shown[controllers]) <= len(words[3]):
            continue
        shown[controllers] = words[3]
        version = 1 if controllers else 2
        usable = controllers or _enabled(mount)
        relative = _below(own[controllers], unescape(words[3]))
        found[controllers] = Hierarchy(version, usable, mount, relative)
    return Layout(tuple(sorted(found.values(), key=lambda h: h.version)))


def _own_cgroups(cgroups: str) -> dict[tuple[str, ...], str]:
    """The path of each hierarchy by its controllers; v2 is the one without any."""
    own: dict[tuple[str, ...], str] = {}
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" or names:
            own[tuple(sorted(names.split(","))) if names else ()] = path
    return own


def _known(options: str, own: dict[tuple[str, ...], str]) -> tuple[str, ...]:
    """The controllers among a mount's options; the others are `rw`, `xattr` and the like."""
    words = set(options.split(","))
    return next((names for names in own if names and words.issuperset(names)), ("",))


def _enabled(mount: str) -> tuple[str, ...]:
    """The controllers that v2 has here."""
    try:
        with open(f"{mount}/cgroup.controllers", "rb") as file:
            return tuple(file.read().decode().split())
    except OSError:
        return ()


def _below(own: str, shown: str) -> str:
    """`own` as seen in a mount that shows the hierarchy from `shown` on."""
    shown = shown.rstrip("/")
    if own == shown or not own.startswith(shown + "/"):
        return "/"
    return own[len(shown) :]


def unescape(text: str) -> str:
    """A path of mountinfo, which writes space, tab, newline and backslash as `\\040` and so on."""
    head, *rest = text.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
