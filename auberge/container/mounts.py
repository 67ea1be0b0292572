"""Operations on mounts, all by descriptors: no path of a container is looked up twice.

A mount is made or copied attached to nothing, given its attributes, and moved to a place that was
opened inside the container's root (openat2(2) with RESOLVE_IN_ROOT): symbolic links of an image
cannot lead outside, and exchanging one meanwhile changes nothing.
"""

from auberge.container import kernel as k
from auberge.container.light import NamedTuple
from auberge.container.mount_options import Options
from auberge.container.stage import O_CLOEXEC, O_DIRECTORY, O_PATH, Stage
from auberge.container.table import Label, Slot


class Isolate(NamedTuple):
    """What is mounted in here is not seen outside (mount_namespaces(7))."""

    propagation: int
    parent: str | None  # the mount that holds the root, if it must be made private for itself

    def rows(self, stage: Stage) -> None:
        """Slaves unless the root is to be shared: unmounting on the host reaches the container."""
        table = stage.table
        root, nothing = table.text("/"), table.text("")
        table.call("mount", nothing, root, nothing, self.propagation, 0)
        if self.parent is not None:
            table.call("mount", nothing, table.text(self.parent), nothing, k.MS_PRIVATE, 0)


class MountRoot(NamedTuple):
    """The container's root: a folder of the host's, as a mount of its own."""

    path: str
    early: bool = False  # whether TakeMount has copied it before there were namespaces

    def rows(self, stage: Stage) -> None:
        """A copy of what is mounted there, laid over something, as pivot_root(2) wants a mount.

        In a user namespace, the folders that lead to it may be closed; the root never is.
        """
        table = stage.table
        if self.early:
            mount, place = stage.taken[self.path, "/"].pop(0), "/"
        else:
            mount, place = stage.copy_of(table.text(self.path), deep=True), self.path
        flags = O_PATH | O_DIRECTORY | O_CLOEXEC
        target = table.keep("openat", k.AT_FDCWD, table.text(place), flags, 0)
        stage.move(mount, target)
        stage.close(target)
        table.call("choose", mount, store=stage.root)


class MountOverlay(NamedTuple):
    """The container's root: layers, and over them what it changes (Linux's overlayfs.rst)."""

    lower: tuple[str, ...]
    upper: str
    work: str
    at: str
    options: tuple[str, ...] = ()  # others of overlayfs

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return ()

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        below = f"lowerdir={':'.join(self.lower)}"
        data = ",".join((below, f"upperdir={self.upper}", f"workdir={self.work}", *self.options))
        return (self.at, data)

    def rows(self, stage: Stage) -> None:
        """Mounted in the container's own namespace: it ends with it, whatever happens.

        By mount(2), whose options are a page; fsconfig(2) takes 255 bytes of layers.
        """
        table = stage.table
        name = table.text("overlay")
        at, data = [table.personal(text) for text in self.personal()]
        table.call("mount", name, at, name, 0, data)
        flags = O_PATH | O_DIRECTORY | O_CLOEXEC
        table.call("openat", k.AT_FDCWD, at, flags, 0, store=stage.root)


class OpenNull(NamedTuple):
    """The host's /dev/null, opened before anything of the container's could be in its place."""

    def rows(self, stage: Stage) -> None:
        """Masking a file with what only looks like /dev/null would leave it readable."""
        path = stage.table.text("/dev/null")
        stage.table.call("openat", k.AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, store=stage.null)


class MountFileSystem(NamedTuple):
    """A new file system at a path of the container's."""

    type: str
    source: str
    destination: str
    options: Options

    def rows(self, stage: Stage) -> None:
        """A tmpfs becomes read-only at the end: places in it have yet to be made."""
        o = self.options
        late = k.MOUNT_ATTR_RDONLY if self.type == "tmpfs" else 0
        mount = new_file_system(
            stage, self.type, self.source, o.flags, o.data, (o.set | o.set_below) & ~late
        )
        stage.attach(mount, self.destination)
        finish(stage, mount, o)
        stage.close(mount)


class TakeMount(NamedTuple):
    """Copy a mount of the host's while we are root there, for a user namespace to come."""

    source: str
    destination: str
    deep: bool
    propagation: int  # as of all that `Isolate` finds, which this is not among

    def rows(self, stage: Stage) -> None:
        """`Bind` puts it in its place. It is no peer of the host's: what is mounted on it inside
        would be mounted outside."""
        mount = stage.copy_of(stage.table.text(self.source), self.deep)
        stage.change(mount, propagation=self.propagation & ~k.MS_REC, deep=True)
        stage.taken.setdefault((self.source, self.destination), []).append(mount)


class MapIds(NamedTuple):
    """Other owners for the files of the mount that was just taken, as its user namespace has it."""

    where: str  # in config.json
    source: str
    destination: str
    number: int  # which of the user namespaces that the runtime has made
    deep: bool
    uids: str
    gids: str

    def rows(self, stage: Stage) -> None:
        """While nobody can see it, which the kernel asks for (mount_setattr(2))."""
        users = stage.descriptors.users_at + self.number
        mount = stage.taken[self.source, self.destination][-1]
        stage.change(mount, k.MOUNT_ATTR_IDMAP, deep=self.deep, users=users)


class Bind(NamedTuple):
    """A file or folder of the host's at a path of the container's."""

    source: str
    destination: str
    directory: bool
    options: Options
    early: bool  # whether TakeMount has copied it before there were namespaces

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return (self.source if self.early else "", *self[1:])

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        return () if self.early else (self.source,)

    def rows(self, stage: Stage) -> None:
        """Its attributes are set before anybody can see it."""
        o = self.options
        if self.early:
            mount = stage.taken[self.source, self.destination].pop(0)
        else:
            mount = stage.copy_of(stage.table.personal(self.source), o.deep)
        if o.set or o.clear:
            stage.change(mount, o.set, o.clear)
        if o.set_below or o.clear_below:
            stage.change(mount, o.set_below, o.clear_below, deep=True)
        stage.attach(mount, self.destination, self.directory)
        finish(stage, mount, o)
        stage.close(mount)


class Remount(NamedTuple):
    """Other attributes for what is mounted at a path of the container's already."""

    destination: str
    options: Options

    def rows(self, stage: Stage) -> None:
        """Of the mount; what the file system itself was mounted with stays."""
        o = self.options
        mount = stage.open_inside(self.destination, O_PATH)
        stage.change(mount, o.set, o.clear)
        finish(stage, mount, o)
        stage.close(mount)


class MakeReadOnly(NamedTuple):
    """A mount of the container's becomes read-only, with none below it."""

    path: str

    def rows(self, stage: Stage) -> None:
        """The root, and each tmpfs that is to be so."""
        if self.path == "/":
            stage.change(stage.root, k.MOUNT_ATTR_RDONLY)
            return
        mount = stage.open_inside(self.path, O_PATH)
        stage.change(mount, k.MOUNT_ATTR_RDONLY)
        stage.close(mount)


class MakeDevice(NamedTuple):
    """A device node, of mknod(2)."""

    path: str
    mode: int  # with its type
    major: int
    minor: int
    uid: int
    gid: int

    def rows(self, stage: Stage) -> None:
        """What is there already stays: an image's own node, or a bind mount."""
        table = stage.table
        folder, name = _parent(stage, self.path)
        done = Label()
        number = self.minor & 0xFF | self.major << 8 | (self.minor & ~0xFF) << 12
        table.call("mknodat", folder, name, self.mode, number, error=done)
        if self.uid or self.gid:
            node = table.keep("openat", folder, name, O_PATH | O_CLOEXEC | 0o400000, 0)
            table.call("fchownat", node, table.text(""), self.uid, self.gid, k.AT_EMPTY_PATH)
            stage.close(node)
        table.place(done)
        stage.close(folder)


class MakeLink(NamedTuple):
    """A symbolic link."""

    path: str
    target: str

    def rows(self, stage: Stage) -> None:
        """What is there already stays."""
        folder, name = _parent(stage, self.path)
        stage.table.attempt("symlinkat", stage.table.text(self.target), folder, name)
        stage.close(folder)


class Mask(NamedTuple):
    """A path of the container's that nobody can read: an empty file, or an empty folder."""

    path: str

    def rows(self, stage: Stage) -> None:
        """What is not there needs no mask. Opened once, so that it cannot be exchanged."""
        table = stage.table
        done, other = Label(), Label()
        folder = stage.open_inside(self.path, O_PATH | O_DIRECTORY, error=other)
        first = Label()
        table.unless(stage.empty, first)
        copy = stage.copy_of_open(stage.empty)
        stage.move(copy, folder)
        stage.close(copy, folder)
        table.go(done)
        table.place(first)
        data = (("size", "0"), ("nr_inodes", "1"), ("mode", "0555"))
        flags = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV
        empty = new_file_system(stage, "tmpfs", "tmpfs", (), data, flags | k.MOUNT_ATTR_NOEXEC)
        stage.move(empty, folder)
        stage.close(folder)
        table.call("choose", empty, store=stage.empty)  # all folders share one that stays empty
        table.go(done)
        table.place(other)
        file = stage.open_inside(self.path, O_PATH, error=done)
        null = stage.copy_of_open(stage.null)
        stage.move(null, file)
        stage.close(null, file)
        table.place(done)


class Protect(NamedTuple):
    """A path of the container's that nobody can write, nor what is below it."""

    path: str

    def rows(self, stage: Stage) -> None:
        """A read-only copy of it over itself, by the same descriptor."""
        done = Label()
        there = stage.open_inside(self.path, O_PATH, error=done)
        copy = stage.copy_of_open(there, deep=True)
        stage.change(copy, k.MOUNT_ATTR_RDONLY, deep=True)
        stage.move(copy, there)
        stage.close(copy, there)
        stage.table.place(done)


class SetSysctl(NamedTuple):
    """A parameter of the kernel that belongs to one of the container's namespaces (sysctl(8))."""

    name: str
    value: str

    def rows(self, stage: Stage) -> None:
        """Through a /proc that is mounted nowhere: the container's might be something else."""
        proc = new_file_system(stage, "proc", "proc", (), (), 0)
        path = "sys/" + self.name.replace(".", "/")
        strict = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_XDEV
        stage.write(proc, path, self.value, resolve=strict)
        stage.close(proc)


class Pivot(NamedTuple):
    """The container's root becomes `/`, and the host's is gone (pivot_root(2))."""

    way: str  # pivot, move (--no-pivot), or chroot without a mount namespace

    def rows(self, stage: Stage) -> None:
        """pivot_root(".", "."), of its manual page: the old root lies over the new."""
        table = stage.table
        here, root, nothing = table.text("."), table.text("/"), table.text("")
        if self.way == "pivot":
            flags = O_PATH | O_DIRECTORY | O_CLOEXEC
            old = table.keep("openat", k.AT_FDCWD, root, flags, 0)
            table.call("fchdir", stage.root)
            table.call("pivot_root", here, here)
            table.call("fchdir", old)
            table.call("mount", nothing, here, nothing, k.MS_SLAVE | k.MS_REC, 0)
            table.call("umount2", here, k.MNT_DETACH)
            stage.close(old)
        else:
            table.call("fchdir", stage.root)
            if self.way == "move":
                table.call("mount", here, root, nothing, k.MS_MOVE, 0)
            table.call("chroot", here)
        table.call("chdir", root)
        # what is open of the host's, or leads to it, is closed before anything else runs
        stage.close(stage.root, stage.null)
        table.attempt("close", stage.empty)
        stage.root = table.slot(k.AT_FDCWD)


class Propagate(NamedTuple):
    """linux.rootfsPropagation, of the root once it is `/`."""

    propagation: int

    def rows(self, stage: Stage) -> None:
        """mount(2)."""
        nothing = stage.table.text("")
        stage.table.call("mount", nothing, stage.table.text("/"), nothing, self.propagation, 0)


def new_file_system(
    stage: Stage, type: str, source: str, flags: tuple[str, ...],
    data: tuple[tuple[str, str | None], ...], attributes: int,
) -> Slot:  # fmt: skip
    """A new file system, mounted nowhere (fsopen(2), fsconfig(2), fsmount(2))."""
    table = stage.table
    context = table.keep("fsopen", table.text(type), k.FSOPEN_CLOEXEC)
    source_key, string = table.text("source"), k.FSCONFIG_SET_STRING
    table.call("fsconfig", context, string, source_key, table.text(source or type), 0)
    for key, value in (*((flag, None) for flag in flags), *data):
        name = table.text(key)
        if value is None:
            table.call("fsconfig", context, k.FSCONFIG_SET_FLAG, name, 0, 0)
        else:
            table.call("fsconfig", context, k.FSCONFIG_SET_STRING, name, table.text(value), 0)
    table.call("fsconfig", context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
    mount = table.keep("fsmount", context, k.FSMOUNT_CLOEXEC, attributes)
    stage.close(context)
    return mount


def finish(stage: Stage, mount: Slot, options: Options) -> None:
    """The propagation of a mount, once it is in its place."""
    for propagation, below in options.propagations:
        stage.change(mount, propagation=propagation, deep=below)


def _parent(stage: Stage, path: str) -> tuple[Slot, int]:
    above, _, name = path.rstrip("/").rpartition("/")
    return stage.place(above or "/"), stage.table.text(name)
