"""What the options of a mount mean (config.md, "Linux mount options", and mount(8)).

An option is an attribute of the mount, of the mount and all below it (`rro`), a propagation, a
flag of the file system, one of a few words of the specification's, or else data for the file
system itself.
"""

from auberge.container.kernel import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from auberge.container.light import NamedTuple, Sequence

# What to set and what to clear (mount_setattr(2)); the kinds of atime are one field.
ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, 0), "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0), "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0), "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0), "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME), "atime": (0, MOUNT_ATTR__ATIME),
    "relatime": (0, MOUNT_ATTR__ATIME), "norelatime": (0, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (0, MOUNT_ATTR__ATIME),
}  # fmt: skip
PROPAGATIONS = {
    "private": MS_PRIVATE, "shared": MS_SHARED, "slave": MS_SLAVE, "unbindable": MS_UNBINDABLE
}  # fmt: skip
SUPER = ("sync", "dirsync", "lazytime", "mand", "silent")  # flags of the file system
NOTHING = ("defaults", "async", "nolazytime", "nomand", "loud", "nodirsync")


class Options(NamedTuple):
    """What the options of one mount say, taken together."""

    bind: bool = False
    deep: bool = False  # rbind
    remount: bool = False
    set: int = 0
    clear: int = 0
    set_below: int = 0
    clear_below: int = 0
    propagations: tuple[tuple[int, bool], ...] = ()  # and whether of all below
    flags: tuple[str, ...] = ()
    data: tuple[tuple[str, str | None], ...] = ()
    idmap: bool = False
    idmap_below: bool = False
    copy_up: bool = False


_known: dict[tuple[str, ...], Options] = {}
MOST = 256  # of them: containers of one program mostly have the same mounts


def parse(options: Sequence[str]) -> Options:
    """The options, a later one over an earlier."""
    words = tuple(options)
    found = _known.get(words)
    if found is None:
        found = Options()
        for option in words:
            found = _with(found, option)
        if len(_known) < MOST:
            _known[words] = found
    return found


def _with(o: Options, option: str) -> Options:
    if option in ("bind", "rbind"):
        return o._replace(bind=True, deep=option == "rbind")
    if option in ("idmap", "ridmap"):
        return o._replace(idmap=True, idmap_below=option == "ridmap")
    if option == "remount":
        return o._replace(remount=True)
    if option == "tmpcopyup":
        return o._replace(copy_up=True)
    if option in NOTHING or not option:
        return o
    if option in SUPER:
        return o._replace(flags=(*o.flags, option))
    if option in ATTRIBUTES:
        add, take = ATTRIBUTES[option]
        return o._replace(set=o.set & ~take | add, clear=o.clear & ~add | take)
    below = option.removeprefix("r")
    if option in PROPAGATIONS:
        return o._replace(propagations=(*o.propagations, (PROPAGATIONS[option], False)))
    if below in PROPAGATIONS and option != below:
        return o._replace(propagations=(*o.propagations, (PROPAGATIONS[below], True)))
    if below in ATTRIBUTES and option != below:
        add, take = ATTRIBUTES[below]
        return o._replace(
            set_below=o.set_below & ~take | add, clear_below=o.clear_below & ~add | take
        )
    key, equals, value = option.partition("=")
    return o._replace(data=(*o.data, (key, value if equals else None)))
