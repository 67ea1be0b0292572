"""A container's cgroups, one in every hierarchy: made, filled, stopped and removed as one."""

import errno
import os
import time

from auberge.container.cgroups_files import Write, number, numbers, read, refusal, write
from auberge.container.cgroups_layout import Node
from auberge.container.light import TYPE_CHECKING, Iterable, Sequence
from auberge.container.processes import SIGKILL
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from auberge.container.cgroups_stats import Stats

PATIENCE = 10.0
"""Seconds for what the kernel does by and by: freezing, and the end of killed processes."""


class Cgroup:
    """The cgroups at `nodes`, which are all of its state."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)

    def node(self, controller: str) -> Node | None:
        """Where `controller` counts and limits; for "" the cgroup in v2."""
        for node in self.nodes:
            if controller in node.controllers or (not controller and node.version == 2):
                return node
        return None

    # -- making it ----------------------------------------------------------------------------

    def create(self, needed: Iterable[str] = (), ours: int = 0) -> "Cgroup":
        """Make it; answers with what could be made. Only the process `ours` may be in it.

        Without root, a hierarchy in which this user may not make cgroups is left out, unless one
        of the controllers in `needed` is there. Raises Refusal, and leaves nothing behind.
        """
        wanted = set(needed)
        made: list[Node] = []
        kept: list[Node] = []
        try:
            for node in self.nodes:
                try:
                    if _make(node):
                        made.append(node)
                except PermissionError as error:
                    if os.geteuid() == 0 or wanted & _names(node):
                        raise _undelegated(node, wanted & _names(node), error) from None
                    continue
                except OSError as error:
                    raise Refusal(
                        f"{node.path}: the cgroup cannot be made: {reason(error)}; choose another "
                        "linux.cgroupsPath"
                    ) from None
                kept.append(node)
                if node.version == 2:
                    _enable(node, wanted & _names(node))
            Cgroup([node for node in kept if node not in made]).check_empty(ours)
        except BaseException:
            Cgroup(made)._remove_all()
            raise
        return Cgroup(kept)

    def check_empty(self, ours: int = 0) -> None:
        """Raise Refusal if a process other than `ours` is in it or below it: that is somebody's,
        and is not to be ended with a container."""
        for node in self.nodes:
            pids = [pid for path in _tree(node.path) for pid in _pids(path) if pid != ours]
            if pids:
                raise Refusal(
                    f"{node.path}: the cgroup has {len(pids)} processes already ({pids[0]}, ...); "
                    "choose another linux.cgroupsPath"
                )

    def apply(self, writes: Sequence[Write]) -> None:
        """Set limits, of a new container or of one that runs; raises Refusal at the first that the
        kernel does not take."""
        later: list[tuple[Write, OSError]] = []
        for one in writes:
            later = [failed for failed in later if self._write(failed[0], None) is not None]
            error = self._write(one, None)
            if error is not None and one.again and error.errno in (errno.EINVAL, errno.EBUSY):
                later.append((one, error))
            elif error is not None:
                raise self._refusal(one, error)
        for one, _ in later:
            error = self._write(one, None)
            if error is not None:
                raise self._refusal(one, error)

    def _write(self, one: Write, error: OSError | None) -> OSError | None:
        """Try it, and what to do otherwise; None if it is done."""
        node = self.node(one.controller)
        if node is None:
            return error or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        path = node.file(one.file)
        if one.above and (number(read(node.file(one.above))) or 0) > int(one.text):
            return OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        try:
            write(path, one.text)
        except FileNotFoundError as missing:
            return missing if one.otherwise is None else self._write(one.otherwise, missing)
        except OSError as failure:
            return failure
        if one.kept and read(path).strip() != one.text:
            return OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return None

    def _refusal(self, one: Write, error: OSError) -> Refusal:
        node = self.node(one.controller)
        return refusal(one, node.file(one.file) if node else one.file, error)

    def add(self, pid: int) -> None:
        """Move a process, with all its threads, into it; 0 is the calling one."""
        for node in self.nodes:
            try:
                write(node.file("cgroup.procs"), str(pid))
            except OSError as error:
                raise Refusal(
                    f"{node.path}: process {pid} cannot be moved there: {reason(error)}; "
                    f"look at {node.path}/cgroup.type and at the limits above it"
                ) from None

    @property
    def clone_into(self) -> str | None:
        """The cgroup in v2, for CLONE_INTO_CGROUP (clone(2)): a process that starts there needs not
        be moved."""
        node = self.node("")
        return None if node is None else node.path

    def clone_into_beside(self, pid: int, proc: str = "/proc") -> str | None:
        """The same for one more process: where the container's first one is by now. It may have
        moved into a cgroup below, and then none can be above (cgroup-v2.rst, "No Internal Process
        Constraint")."""
        node = self.node("")
        if node is None:
            return None
        lines = read(f"{proc}/{pid}/cgroup").splitlines()
        below = next((line[3:] for line in lines if line.startswith("0::")), "")
        at = below.find(f"/{os.path.basename(node.path)}/")
        inner = "" if at < 0 else below[at + 1 + len(os.path.basename(node.path)) :]
        return node.path + inner if os.path.isdir(node.path + inner) else node.path

    @property
    def tasks(self) -> list[str]:
        """The files in v1 to which a new process, as long as it has one thread, writes `0` to be
        in the container's cgroups.

        A thread that moves itself does not take the lock against fork and exit that moving a
        process takes, and waits for no grace period of RCU: 0.2 ms for nine hierarchies where
        `add` takes 13 (*measured*). The processor's comes last: whoever is new to it waits.
        """
        nodes = sorted(self.nodes, key=lambda node: "cpu" in node.controllers)
        return [node.file("tasks") for node in nodes if node.version == 1]

    # -- what is in it ------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """All processes in it and in the cgroups below it, sorted."""
        for node in sorted(self.nodes, key=lambda node: -node.version):
            if os.path.isdir(node.path):
                return sorted({pid for path in _tree(node.path) for pid in _pids(path)})
        return []

    def stats(self) -> "Stats":
        """What it uses now."""
        from auberge.container.cgroups_stats import read_stats

        return read_stats(self.nodes)

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for lack of memory."""
        from auberge.container.cgroups_stats import oom_kills

        return oom_kills(self.nodes)

    # -- stopping it --------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop every process in it; returns when all have stopped. Raises Refusal."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """Have them go on."""
        self._set_frozen(False)

    @property
    def frozen(self) -> bool:
        """Whether all in it is stopped."""
        node = self._freezer()
        if node is None:
            return False
        if node.version == 2:
            return numbers(read(node.file("cgroup.events"))).get("frozen") == 1
        return read(node.file("freezer.state")).strip() == "FROZEN"

    def _freezer(self) -> Node | None:
        """v2's own if there is one: what it has frozen can be killed (cgroup-v2.rst)."""
        node = self.node("")
        if node is not None and os.path.exists(node.file("cgroup.freeze")):
            return node
        return self.node("freezer")

    def _set_frozen(self, frozen: bool) -> None:
        node = self._freezer()
        if node is None:
            raise Refusal(
                "pause: this host has neither cgroup v2 (Linux 5.2) nor the controller freezer; "
                "send SIGSTOP with kill instead"
            )
        try:
            if node.version == 2:
                self._freeze_v2(node, frozen)
            else:
                self._freeze_v1(node, frozen)
        except OSError as error:
            why = reason(error)
            raise Refusal(f"{node.path}: {why}; the container is gone, delete it") from None

    def _freeze_v2(self, node: Node, frozen: bool) -> None:
        fd = os.open(node.file("cgroup.events"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            from select import POLLERR, POLLPRI, poll

            changed = poll()
            changed.register(fd, POLLPRI | POLLERR)
            write(node.file("cgroup.freeze"), str(int(frozen)))
            deadline = time.monotonic() + PATIENCE
            while numbers(os.pread(fd, 4096, 0).decode()).get("frozen") != int(frozen):
                rest = deadline - time.monotonic()
                if rest <= 0:
                    self._not_frozen(node, frozen)
                changed.poll(rest * 1000)
        finally:
            os.close(fd)

    def _freeze_v1(self, node: Node, frozen: bool) -> None:
        # A process may be forked while the others freeze; writing again catches it.
        state = "FROZEN" if frozen else "THAWED"
        deadline = time.monotonic() + PATIENCE
        pause = 0.0001
        while True:
            write(node.file("freezer.state"), state)
            if read(node.file("freezer.state")).strip() == state:
                return
            if time.monotonic() > deadline:
                self._not_frozen(node, frozen)
            time.sleep(pause)
            pause = min(pause * 2, 0.01)

    def _not_frozen(self, node: Node, frozen: bool) -> None:
        write(node.file("cgroup.freeze" if node.version == 2 else "freezer.state"),
              "0" if node.version == 2 else "THAWED")  # fmt: skip
        raise Refusal(
            f"{node.path}: not {'frozen' if frozen else 'thawed'} after {PATIENCE:.0f} seconds; "
            "a process in it waits for a device or a file system, try again"
        )

    def kill(self, number: int = SIGKILL) -> None:
        """Send a signal to every process in it and below; with SIGKILL none can escape by
        forking. What was frozen before stays so, and hears other signals later."""
        if number == SIGKILL:
            node = self.node("")
            if node is not None and _try(node.file("cgroup.kill"), "1"):
                first = self.node("freezer")
                if first is not None:  # whoever has frozen it there: dying takes thawing
                    _try(first.file("freezer.state"), "THAWED")
                return
        freezer, paused = self._freezer(), self.frozen
        if freezer is not None:  # so that nothing is forked meanwhile
            try:
                self.freeze()
            except Refusal:
                pass
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        if freezer is not None and (number == SIGKILL or not paused):
            # What the freezer of v1 has frozen gets its signals when thawed.
            files = {1: ("freezer.state", "THAWED"), 2: ("cgroup.freeze", "0")}
            file, text = files[freezer.version]
            _try(freezer.file(file), text)

    # -- its end ------------------------------------------------------------------------------

    def delete(self) -> None:
        """Kill what is left in it, and remove it; nothing to do if it is gone. Raises Refusal."""
        deadline = time.monotonic() + PATIENCE
        pause = 0.0005
        while left := self._remove_all():
            if self.processes():
                self.kill()
            if time.monotonic() > deadline:
                pids = " ".join(str(pid) for pid in self.processes()[:10]) or "none"
                raise Refusal(
                    f"{left[0].path}: the cgroup stays busy (processes: {pids}); "
                    "try again when they have ended"
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def leave(self, seconds: float) -> None:
        """Remove it as soon as nothing is in it; whoever still is after so long stays there."""
        deadline = time.monotonic() + seconds
        pause = 0.0005
        while not self.remove() and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def remove(self) -> bool:
        """Remove it if nothing is in it; whether it is gone. Raises Refusal."""
        return not self._remove_all()

    def _remove_all(self) -> list[Node]:
        """Remove all that can be; those that are busy."""
        return [node for node in self.nodes if not _remove(node.path)]


def _make(node: Node) -> bool:
    """Make one, with what lies above it; whether it is new."""
    path, new = node.mount, False
    for part in node.path[len(node.mount) :].split("/")[1:]:
        path = f"{path}/{part}"
        new = _make_one(path, node)
    return new


def _make_one(path: str, node: Node) -> bool:
    try:
        os.mkdir(path, 0o755)
        new = True
    except FileExistsError:
        new = False
    if node.version == 1 and "cpuset" in node.controllers:
        # "cpuset.cpus" and "mems" are empty in a new one, and then it takes no process.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not read(f"{path}/{file}").strip():
                text = read(f"{os.path.dirname(path)}/{file}").strip()
                if text:
                    _try(f"{path}/{file}", text)
    return new


def _enable(node: Node, needed: set[str]) -> None:
    """Have every cgroup above `node` hand its controllers down to it (cgroup-v2.rst,
    "Enabling and Disabling"); raises Refusal if one that is needed does not arrive."""
    parts = node.path[len(node.mount) :].split("/")[1:-1]
    path = node.mount
    for part in ["", *parts]:
        path = f"{path}/{part}" if part else path
        have = read(f"{path}/cgroup.controllers").split()
        given = set(read(f"{path}/cgroup.subtree_control").split())
        for name in have:
            if name not in given:  # one by one: one that is refused must not cost the others
                _try(f"{path}/cgroup.subtree_control", f"+{name}")
    missing = sorted(needed - set(read(node.file("cgroup.controllers")).split()))
    if missing:
        raise Refusal(
            f"{node.path}: the cgroup does not get the controller {missing[0]}; have it delegated "
            "(systemd-run --user --scope -p Delegate=yes ...), or leave the limit out"
        )


def _undelegated(node: Node, needed: set[str], error: OSError) -> Refusal:
    wish = f"for limits of {', '.join(sorted(needed))} " if needed else ""
    why = reason(error)
    return Refusal(
        f"{node.path}: the cgroup {wish}cannot be made: {why}; be root, or have cgroup v2 "
        "delegated (systemd-run --user --scope -p Delegate=yes ...), or leave the limits out"
    )


def _names(node: Node) -> set[str]:
    """What may be needed of it: its controllers, and "" for v2 itself."""
    return set(node.controllers) | ({""} if node.version == 2 else set())


def _tree(path: str) -> list[str]:
    """A cgroup and all below it, what is below a cgroup before itself; however deep it is."""
    found = [path]
    for one in found:  # which grows meanwhile
        try:
            with os.scandir(one) as entries:
                found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            pass
    return found[::-1]


def _pids(path: str) -> list[int]:
    text = read(f"{path}/cgroup.procs").split()
    return [pid for word in text if (pid := number(word)) is not None and pid > 0]


def _remove(path: str) -> bool:
    """Remove a cgroup and those below it; whether it is gone."""
    try:
        os.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            why = reason(error)
            raise Refusal(f"{path}: the cgroup cannot be removed: {why}; be its owner") from None
    for below in _tree(path):
        try:
            os.rmdir(below)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _try(path: str, text: str) -> bool:
    """Write it if the kernel lets us."""
    try:
        write(path, text)
    except OSError:
        return False
    return True
