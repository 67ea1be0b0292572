"""Operations on processes: each is printed by its fields and carried out by its rows.

They are in the order of a start: descriptors, namespaces, identity, privileges, the program.
"""

import os
import struct

from auberge.container import kernel as k
from auberge.container.clauses import CAPABILITIES, rlimit_number
from auberge.container.config import Hook, Personality, Rlimit
from auberge.container.light import NamedTuple, Protocol
from auberge.container.stage import O_CLOEXEC, O_DIRECTORY, O_PATH, Stage
from auberge.container.table import Label, Slot
from auberge.container.talk import CLONED, CREATED, READY


class Operation(Protocol):
    """One step of a plan; a NamedTuple, so that it can be printed and compared."""

    def rows(self, stage: Stage) -> None:
        """Append the rows that carry it out."""


class Seal(NamedTuple):
    """Let no descriptor but the first `kept` reach a program; the preserved ones stay."""

    def rows(self, stage: Stage) -> None:
        """close_range(2) marks whatever the runtime's own program has left open."""
        first = stage.descriptors.tell_at
        stage.table.call("close_range", first, 0xFFFF_FFFF, k.CLOSE_RANGE_CLOEXEC)


class Hide(NamedTuple):
    """Nobody without privileges over the host may look into this process (PR_SET_DUMPABLE)."""

    def rows(self, stage: Stage) -> None:
        """prctl(2): /proc/PID belongs to root, ptrace(2) is refused."""
        stage.table.call("prctl", k.PR_SET_DUMPABLE, 0, 0, 0, 0)


class Join(NamedTuple):
    """Enter namespaces that exist, each a type and a path of the runtime's (setns(2))."""

    spaces: tuple[tuple[str, str], ...]

    def rows(self, stage: Stage) -> None:
        """All are opened first: inside the first, the paths of the others may lead elsewhere."""
        table = stage.table
        files = [
            table.keep("openat", k.AT_FDCWD, table.text(path), O_CLOEXEC, 0)
            for _, path in self.spaces
        ]
        for (kind, _), file in zip(self.spaces, files, strict=True):
            table.call("setns", file, k.NAMESPACES[kind])
        stage.close(*files)


class OpenCgroups(NamedTuple):
    """Cgroups that the process to be cloned is in from its start: it moves itself (`Cgroup.tasks`),
    or is born there (`Cgroup.clone_into`). Groups of resctrl it enters later (`EnterGroups`)."""

    tasks: tuple[str, ...]
    unified: str | None
    resctrl: tuple[str, ...] = ()

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return (len(self.tasks), len(self.resctrl), self.unified is None)

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        tasks = (*self.tasks, *self.resctrl)
        return tasks if self.unified is None else (*tasks, self.unified)

    def rows(self, stage: Stage) -> None:
        """While their paths and our rights are still the host's: the kernel asks who opened."""
        table = stage.table
        flags = os.O_WRONLY | O_CLOEXEC
        for paths, files in ((self.tasks, stage.tasks), (self.resctrl, stage.resctrl)):
            for path in paths:
                files.append(table.keep("openat", k.AT_FDCWD, table.personal(path), flags, 0))
        if self.unified is not None:
            flags = O_PATH | O_DIRECTORY | O_CLOEXEC
            unified = table.personal(self.unified)
            stage.unified = table.keep("openat", k.AT_FDCWD, unified, flags, 0)


class Clone(NamedTuple):
    """The container's first process, in new namespaces and a cgroup; a child of the runtime."""

    namespaces: tuple[str, ...]

    def rows(self, stage: Stage) -> None:
        """clone3(2) with CLONE_PARENT; who called it tells the child's number, and ends."""
        flags = sum(k.NAMESPACES[name] for name in self.namespaces)
        child = Label()
        pid = stage.clone(flags | k.CLONE_PARENT, child, 0, cgroup=stage.unified)
        stage.tell(CLONED, pid)
        stage.table.call("exit_group", 0)
        stage.table.place(child)
        for tasks in stage.tasks:
            stage.table.call("write", tasks, stage.table.text("0"), 1)
        stage.close(*stage.tasks, *([stage.unified] if stage.unified is not None else []))


class EnterGroups(NamedTuple):
    """Be in the groups of resctrl that were opened before, with all that will be forked."""

    def rows(self, stage: Stage) -> None:
        """Its one thread writes 0, which is who writes (resctrl.rst, "tasks"); the group for
        allocation before the one for monitoring, which must be inside it."""
        for tasks in stage.resctrl:
            stage.table.call("write", tasks, stage.table.text("0"), 1)
        stage.close(*stage.resctrl)


class AwaitRuntime(NamedTuple):
    """Wait until the runtime has done its part: id maps, cgroups, network, hooks."""

    def rows(self, stage: Stage) -> None:
        """Tell, and wait."""
        stage.tell(READY)
        stage.wait()


class BecomeRoot(NamedTuple):
    """Be root of the new user namespace, with no groups if they can be dropped."""

    groups: bool

    def rows(self, stage: Stage) -> None:
        """setgroups(2) is denied where a user mapped but himself (user_namespaces(7))."""
        if self.groups:
            stage.table.call("setgroups", 0, 0)
        stage.table.call("setresgid", 0, 0, 0)
        stage.table.call("setresuid", 0, 0, 0)


class Unshare(NamedTuple):
    """A new namespace that is made late: a cgroup namespace begins at the cgroup we are in."""

    type: str

    def rows(self, stage: Stage) -> None:
        """unshare(2); a time namespace is entered by the exec to come (time_namespaces(7))."""
        stage.table.call("unshare", k.NAMESPACES[self.type])


class SetClocks(NamedTuple):
    """Offsets of the new time namespace, before anybody is in it."""

    offsets: tuple[tuple[str, int, int], ...]

    def rows(self, stage: Stage) -> None:
        """One write, a line for each clock (time_namespaces(7))."""
        lines = "".join(f"{clock} {s} {ns}\n" for clock, s, ns in self.offsets)
        stage.write(k.AT_FDCWD, "/proc/self/timens_offsets", lines)


class NewSession(NamedTuple):
    """A session of its own, without a controlling terminal."""

    def rows(self, stage: Stage) -> None:
        """setsid(2)."""
        stage.table.call("setsid")


class NewKeyring(NamedTuple):
    """A session keyring of its own, so that the runtime's keys are out of reach (keyrings(7))."""

    name: str

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return ()

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        return (self.name,)

    def rows(self, stage: Stage) -> None:
        """If it fails, the container does: it would keep the runtime's."""
        name = stage.table.personal(self.name)
        stage.table.call("keyctl", k.KEYCTL_JOIN_SESSION_KEYRING, name)


class SetHostname(NamedTuple):
    """sethostname(2)."""

    name: str

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return ()

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        return (self.name,)

    def rows(self, stage: Stage) -> None:
        """In the new UTS namespace."""
        name = stage.table.personal(self.name)
        stage.table.call("sethostname", name, Slot(name - 8))


class SetDomainname(NamedTuple):
    """setdomainname(2)."""

    name: str

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return ()

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        return (self.name,)

    def rows(self, stage: Stage) -> None:
        """In the new UTS namespace."""
        name = stage.table.personal(self.name)
        stage.table.call("setdomainname", name, Slot(name - 8))


class RunHook(NamedTuple):
    """A hook in the container's namespaces; if it fails, so does the container."""

    when: str
    hook: Hook

    def rows(self, stage: Stage) -> None:
        """As a child of the container's first process."""
        hook = self.hook
        stage.run(hook.path, hook.args or (hook.path,), hook.env, hook.timeout)


class LimitResources(NamedTuple):
    """setrlimit(2) of all limits."""

    limits: tuple[Rlimit, ...]

    def rows(self, stage: Stage) -> None:
        """The runtime has raised what needs its privileges."""
        for limit in self.limits:
            number = rlimit_number(limit.type)
            stage.table.call("prlimit64", 0, number, stage.table.words(limit.soft, limit.hard), 0)


PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


class Personate(NamedTuple):
    """personality(2)."""

    personality: Personality

    def rows(self, stage: Stage) -> None:
        """The domain alone; the specification has no flags yet."""
        stage.table.call("personality", PERSONALITIES[self.personality.domain])


class Confine(NamedTuple):
    """The label under which a Linux Security Module runs the program (apparmor(7), selinux(8))."""

    file: str
    label: str

    def rows(self, stage: Stage) -> None:
        """In effect from the exec to come."""
        stage.write(k.AT_FDCWD, f"/proc/thread-self/attr/{self.file}", self.label)


class NoNewPrivileges(NamedTuple):
    """PR_SET_NO_NEW_PRIVS."""

    def rows(self, stage: Stage) -> None:
        """prctl(2)."""
        stage.table.call("prctl", k.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class BecomeUser(NamedTuple):
    """User, groups and capabilities of the program; sets are bit masks (capabilities(7))."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    set_groups: bool
    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    last: int  # the highest capability that this kernel knows

    def rows(self, stage: Stage) -> None:
        """Bounding first, which takes CAP_SETPCAP; capabilities are kept over the new user id."""
        table = stage.table
        for number in range(self.last + 1):
            if not self.bounding >> number & 1:
                table.call("prctl", k.PR_CAPBSET_DROP, number, 0, 0, 0)
        table.call("prctl", k.PR_SET_KEEPCAPS, 1, 0, 0, 0)
        if self.set_groups:
            groups = table.data(struct.pack(f"<{len(self.groups)}I", *self.groups))
            table.call("setgroups", len(self.groups), groups)
        table.call("setresgid", self.gid, self.gid, self.gid)
        table.call("setresuid", self.uid, self.uid, self.uid)
        table.call("prctl", k.PR_SET_KEEPCAPS, 0, 0, 0, 0)
        header = table.data(struct.pack("<Ii", k.LINUX_CAPABILITY_VERSION_3, 0))
        sets = (self.effective, self.permitted, self.inheritable)
        low, high = ([s >> shift & 0xFFFF_FFFF for s in sets] for shift in (0, 32))
        table.call("capset", header, table.data(struct.pack("<6I", *low, *high)))
        table.call("prctl", k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        for number in range(self.last + 1):
            if self.ambient >> number & 1:
                table.call("prctl", k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_RAISE, number, 0, 0)


def mask(names: tuple[str, ...]) -> int:
    """Capabilities as bits."""
    return sum(1 << CAPABILITIES.index(name.removeprefix("CAP_")) for name in set(names))


class SetUmask(NamedTuple):
    """umask(2)."""

    umask: int

    def rows(self, stage: Stage) -> None:
        """It cannot fail, and answers with the old one."""
        stage.table.call("umask", self.umask)


class OwnStreams(NamedTuple):
    """The user owns the standard streams it is given, so that it can open /dev/stdout again."""

    streams: tuple[int, ...]
    uid: int

    def rows(self, stage: Stage) -> None:
        """What cannot be owned (EPERM, EROFS) is left as it is."""
        for stream in self.streams:
            stage.table.attempt("fchown", stream, self.uid, 0xFFFF_FFFF)


class EnterFolder(NamedTuple):
    """The working directory, made if it is missing; never by a descriptor of the host's."""

    path: str

    def rows(self, stage: Stage) -> None:
        """Magic links such as /proc/self/fd/7 are not followed (openat2(2))."""
        folder = stage.open_inside(self.path, O_PATH | O_DIRECTORY)
        stage.table.call("fchdir", folder)
        stage.close(folder)


class MakeFolder(NamedTuple):
    """The working directory, if it is missing."""

    path: str

    def rows(self, stage: Stage) -> None:
        """As root, before the user is another."""
        stage.close(stage.place(self.path))


class FindProgram(NamedTuple):
    """The first of these paths that can be executed."""

    paths: tuple[str, ...]

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return (len(self.paths),)

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        return self.paths

    def rows(self, stage: Stage) -> None:
        """faccessat2(2), with the rights that the program will have (AT_EACCESS is 0x200)."""
        table = stage.table
        found = Label()
        for path in self.paths[:-1]:
            after = Label()
            name = table.personal(path)
            table.call("faccessat2", k.AT_FDCWD, name, 1, 0x200, error=after)
            table.call("choose", name, store=stage.program, next=found)
            table.place(after)
        name = table.personal(self.paths[-1])
        table.call("faccessat2", k.AT_FDCWD, name, 1, 0x200)
        table.call("choose", name, store=stage.program)
        table.place(found)


class AwaitStart(NamedTuple):
    """Created: tell, have it written down, and wait for `start` to write to the FIFO."""

    def rows(self, stage: Stage) -> None:
        """Without a FIFO, the runtime's word is the start."""
        stage.tell(CREATED)
        stage.wait()
        if stage.descriptors.start:
            byte = stage.table.data(bytes(8))
            stage.table.call("read", stage.descriptors.start_at, byte, 1)


class Execute(NamedTuple):
    """Become the program (execve(2)); from here on, it is the container's."""

    args: tuple[str, ...]
    env: tuple[str, ...]

    def form(self) -> tuple[object, ...]:
        """What of it the table depends on."""
        return len(self.args), len(self.env)

    def personal(self) -> tuple[str, ...]:
        """Strings of one container's, in the order of the rows."""
        return (*self.args, *self.env)

    def rows(self, stage: Stage) -> None:
        """All descriptors but the standard and the preserved ones are closed by it."""
        table = stage.table
        args, env = (
            table.words(*[table.personal(text) for text in texts], 0)
            for texts in (self.args, self.env)
        )
        table.call("execve", stage.program, args, env)
