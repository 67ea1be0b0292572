"""The unit that systemd makes of a container: its name, and where its cgroup is.

As in runc (docs/systemd.md, "systemd unit name and placement"): `linux.cgroupsPath` is
`SLICE:PREFIX:NAME`, and the unit is the scope PREFIX-NAME in that slice.
"""

from auberge.container.light import NamedTuple
from auberge.refusal import Refusal

PREFIX = "auberge"
LONGEST = 255
"""Characters of a unit's name (systemd.unit(5), "Description")."""
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\")
_WHERE = "config.json: $.linux.cgroupsPath"


class Unit(NamedTuple):
    """A transient scope."""

    name: str
    slice: str
    path: str  # its cgroup, below that of its manager: /a.slice/a-b.slice/x.scope


def unit_of(path: str | None, container: str, of_user: bool) -> Unit:
    """The unit of a container whose configuration has that `linux.cgroupsPath`; raises Refusal."""
    slice_name, prefix, name = "", PREFIX, container
    if path:
        parts = path.split(":")
        if len(parts) != 3:
            raise Refusal(
                f"{_WHERE}: {path!r} is not what --systemd-cgroup takes; write SLICE:PREFIX:NAME"
            )
        slice_name, prefix, name = parts
    slice_name = slice_name or ("user.slice" if of_user else "system.slice")
    if slice_name == "-":  # systemd.special(7): the root slice
        slice_name = "-.slice"
    if name.endswith(".slice"):
        raise Refusal(f"{_WHERE}: {name!r} is a slice; name a scope, without '.slice'")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not name or not _ALLOWED.issuperset(unit) or len(unit) > LONGEST:
        where = _WHERE if path else f"container id {container!r}"
        raise Refusal(
            f"{where}: {unit!r} is no name of a unit; write up to {LONGEST} letters, digits and "
            "any of ':-_.'"
        )
    return Unit(unit, slice_name, f"{_slice_path(slice_name)}/{unit}")


def _slice_path(name: str) -> str:
    """The cgroup of a slice: a dash is a level (systemd.slice(5)), `/a.slice/a-b.slice`."""
    if name == "-.slice":
        return ""
    words = name.removesuffix(".slice").split("-")
    if not name.endswith(".slice") or not all(words) or len(name) > LONGEST:
        raise Refusal(f"{_WHERE}: {name!r} is no slice; write as system.slice or a-b.slice")
    if not _ALLOWED.issuperset(name):
        raise Refusal(
            f"{_WHERE}: {name!r} is no name of a slice; write letters, digits and any of ':-_.'"
        )
    return "".join(f"/{'-'.join(words[: at + 1])}.slice" for at in range(len(words)))
