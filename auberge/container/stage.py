"""What operations make their rows with: the table, what it tells the runtime, paths inside."""

from __future__ import annotations

import struct

from auberge.container import kernel as k
from auberge.container.light import Sequence
from auberge.container.processes import SIGCHLD, SIGKILL
from auberge.container.table import Label, Slot, Table
from auberge.container.talk import FAILED, LONGEST_STATE, MESSAGE, Descriptors

FAILURE = 125  # the exit status of a child that could not become the container
IN_ROOT = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS
O_PATH, O_DIRECTORY, O_CLOEXEC, O_CREAT, O_EXCL = 0o10000000, 0o200000, 0o2000000, 0o100, 0o200
O_NOFOLLOW = 0o400000
ECANCELED, ETIMEDOUT = 125, 110
POLLIN = 1


class Stage:
    """A table in the making, with what the operations of a container have in common."""

    def __init__(self, machine: str, descriptors: Descriptors, hooks: bool = False) -> None:
        self.table = Table(machine)
        self.descriptors = descriptors
        self.root = self.table.slot(k.AT_FDCWD)  # the container's root: a descriptor
        self.null = self.table.slot(-1 & (1 << 64) - 1)  # the host's /dev/null
        self.empty = self.table.slot()  # an empty folder of the container's, once one is mounted
        self.taken: dict[tuple[str, str], list[Slot]] = {}  # copies of mounts, by source and place
        self.listener = self.table.slot()  # where a filter asks: a descriptor
        self.program = self.table.slot()  # the address of the path that can be executed
        self.tasks: list[Slot] = []  # files of cgroup v1 that the child to be cloned writes to
        self.resctrl: list[Slot] = []  # the same of groups of resctrl
        self.unified: Slot | None = None  # the cgroup in v2 that it is cloned into
        self._report, self._leave = Label(), Label()
        self._longest = LONGEST_STATE if hooks else 8  # nobody else reads the state
        self._state = self.table.data(bytes(self._longest))
        self._state_size = self.table.slot()

    def finish(self) -> tuple[bytes, bytes]:
        """The rows and data, ended by what happens after a failure."""
        table = self.table
        table.place(self._report)
        table.call("write", self.descriptors.tell_at, FAILED, MESSAGE, error=self._leave)
        table.place(self._leave)
        table.call("exit_group", FAILURE)
        return table.finish(self._report)

    def tell(self, what: int, number: Slot | None = None) -> None:
        """Tell the runtime."""
        message = self.table.words(what, 0)
        if number is not None:
            self.table.call("choose", number, store=Slot(message + 8))
        self.table.call("write", self.descriptors.tell_at, message, MESSAGE, error=self._leave)

    def send(self, socket: int, file: Slot, text: bytes) -> None:
        """One message with a descriptor (unix(7), SCM_RIGHTS): struct msghdr of 56 bytes."""
        table = self.table
        control = table.words(20, 1 | 1 << 32, 0)  # cmsg_len, SOL_SOCKET and SCM_RIGHTS, descriptor
        table.call("choose", file, store=Slot(control + 16))
        vector = table.words(table.data(text), len(text))
        message = table.words(0, 0, vector, 1, control, 24, 0)
        table.call("sendmsg", socket, message, k.MSG_NOSIGNAL)

    def wait(self) -> None:
        """Wait until the runtime says go on; without it, leave."""
        self.table.call(
            "read", self.descriptors.go_at, self._state, self._longest,
            store=self._state_size, zero=self._leave, error=self._leave,
        )  # fmt: skip

    def fail(self, errno: int) -> None:
        """Fail as if the kernel had said so."""
        self.table.call("choose", -errno)

    def close(self, *slots: Slot) -> None:
        """Close descriptors."""
        for slot in slots:
            self.table.call("close", slot)

    # -- paths inside -------------------------------------------------------------------------

    def open_inside(
        self, path: str, flags: int, error: Label | None = None, resolve: int = IN_ROOT
    ) -> Slot:
        """Open a path of the container's, whose symbolic links end inside (openat2(2))."""
        how = self.table.words(flags | O_CLOEXEC, 0, resolve)
        return self.table.keep("openat2", self.root, self.table.text(path), how, 24, error=error)

    def place(self, path: str, directory: bool = True, mode: int = 0o755) -> Slot:
        """Open what is at a path of the container's; made, with what leads to it, if missing."""
        table = self.table
        result = table.slot()
        missing, done = Label(), Label()
        flags = O_PATH | O_CLOEXEC | (O_DIRECTORY if directory else 0)
        how = table.words(flags, 0, IN_ROOT)
        table.call(
            "openat2", self.root, table.text(path), how, 24, store=result, error=missing, next=done
        )
        table.place(missing)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        above = self.root
        for at, part in enumerate(parts):
            name = table.text(part)
            here = "/" + "/".join(parts[: at + 1])
            if at < len(parts) - 1:
                table.attempt("mkdirat", above, name, mode)
                new = self.open_inside(here, O_PATH | O_DIRECTORY)
            else:
                self._make(above, name, directory, mode)
                new = result
                table.call("openat2", self.root, table.text(here), how, 24, store=new)
            if above is not self.root:
                self.close(above)
            above = new
        table.place(done)
        return result

    def _make(self, folder: Slot, name: int, directory: bool, mode: int) -> None:
        """A folder, which may be there by now, or an empty file, which must not."""
        if directory:
            self.table.attempt("mkdirat", folder, name, mode)
            return
        flags = O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        self.close(self.table.keep("openat", folder, name, flags, mode & 0o666))

    def write(self, at: Slot | int, path: str, content: str, resolve: int | None = None) -> None:
        """Write a file, in one piece."""
        table = self.table
        raw = content.encode("utf-8", "surrogateescape")
        if resolve is None:
            file = table.keep("openat", at, table.text(path), 1 | O_CLOEXEC, 0)
        else:
            how = table.words(1 | O_CLOEXEC, 0, resolve)
            file = table.keep("openat2", at, table.text(path), how, 24)
        table.call("write", file, table.data(raw), len(raw))
        self.close(file)

    def attach(self, mount: Slot, path: str, directory: bool = True) -> None:
        """Attach a mount at a path of the container's."""
        target = self.place(path, directory)
        self.move(mount, target)
        self.close(target)

    def move(self, mount: Slot, target: Slot) -> None:
        """Attach a mount to what an open descriptor is of."""
        nothing = self.table.text("")
        self.table.call("move_mount", mount, nothing, target, nothing, k.MOVE_BY_FD)

    def change(
        self, mount: Slot, add: int = 0, take: int = 0, propagation: int = 0, deep: bool = False,
        users: int = 0,
    ) -> None:  # fmt: skip
        """Change the attributes of a mount, with `deep` of all below it (mount_setattr(2))."""
        attributes = self.table.words(add, take, propagation, users)
        flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if deep else 0)
        self.table.call("mount_setattr", mount, self.table.text(""), flags, attributes, 32)

    def copy_of(self, source: int, deep: bool) -> Slot:
        """A copy of the mount at a path (its address) of the host's, attached nowhere
        (open_tree(2))."""
        flags = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | (k.AT_RECURSIVE if deep else 0)
        return self.table.keep("open_tree", k.AT_FDCWD, source, flags)

    def copy_of_open(self, file: Slot, deep: bool = False) -> Slot:
        """The same, of what an open descriptor is of."""
        flags = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | k.AT_EMPTY_PATH
        flags |= k.AT_RECURSIVE if deep else 0
        return self.table.keep("open_tree", file, self.table.text(""), flags)

    # -- processes ----------------------------------------------------------------------------

    def clone(
        self, flags: int, child: Label, signal: int, pidfd: int = 0, cgroup: Slot | None = None
    ) -> Slot:
        """A child that goes on at `child`, with a copy of this memory (clone3(2))."""
        flags |= k.CLONE_INTO_CGROUP if cgroup is not None else 0
        arguments = self.table.words(flags, pidfd, 0, 0, signal, 0, 0, 0, 0, 0, 0)
        if cgroup is not None:  # the last of struct clone_args
            self.table.call("choose", cgroup, store=Slot(arguments + 80))
        return self.table.keep("clone3", arguments, 88, zero=child)

    def strings(self, texts: Sequence[str]) -> int:
        """The address of an array of strings that ends with a null pointer."""
        return self.table.words(*map(self.table.text, texts), 0)

    def run(self, path: str, args: Sequence[str], env: Sequence[str], timeout: int | None) -> None:
        """Run a program that reads the state, and wait for it; a failure of it is ours."""
        table = self.table
        ends = table.words(0, 0)  # two descriptors of 32 bits, which is all that calls look at
        inlet, outlet = Slot(ends), Slot(ends + 4)
        table.call("pipe2", ends, O_CLOEXEC)
        poll = table.data(struct.pack("<ihhQ", -1, POLLIN, 0, 0))
        pidfd, status = Slot(poll), table.slot()
        child, over, good = Label(), Label(), Label()
        pid = self.clone(k.CLONE_PIDFD, child, SIGCHLD, pidfd=poll)
        self.close(inlet)
        table.call("write", outlet, self._state, self._state_size)
        self.close(outlet)
        until = table.words(timeout, 0) if timeout is not None else 0
        table.call("ppoll", poll, 1, until, 0, 8, zero=over)
        table.call("wait4", pid, status.address, 0, 0)
        self.close(pidfd)
        table.unless(status, good)
        self.fail(ECANCELED)
        table.place(over)
        table.call("kill", pid, SIGKILL)
        self.fail(ETIMEDOUT)
        table.place(child)
        failed = Label()
        table.call("dup3", inlet, 0, 0)
        table.call("execve", table.text(path), self.strings(args), self.strings(env), error=failed)
        table.place(failed)
        table.call("exit_group", FAILURE)
        table.place(good)
