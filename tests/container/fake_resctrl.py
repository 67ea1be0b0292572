"""A resctrl for hosts that have none: a file system of the kernel's rules, through FUSE.

    python -m tests.container.fake_resctrl MOUNTPOINT JOURNAL

Two sockets with an L3 cache of 11 ways each, four classes, bandwidth in steps of 10 %: the example
of config-linux.md, "IntelRdt". The rules are those of Linux 6.18 (fs/resctrl), as far as a runtime
meets them: what a group begins with, which values are refused with which words, who may be in a
group for monitoring. A task that nobody has moved is where its parent is. JOURNAL has a line of
JSON for each change: what was done, in which group, and by which program.
"""

import ctypes
import errno
import json
import os
import stat
import struct
import sys

HEADER = struct.Struct("<IIQQIIIHH")
LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, RMDIR = 1, 2, 3, 4, 9, 11
OPEN, READ, WRITE, STATFS, RELEASE, FLUSH, INIT = 14, 15, 16, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 27, 28, 29, 36, 38, 42
DIRECT_IO = 1  # sizes are not known before a file is read
WHOLE = {"L3": "7ff", "MB": "100"}  # the share that a new group has of each cache
CLASSES = 4
INFO = {
    "L3": {"cbm_mask": "7ff\n", "min_cbm_bits": "2\n", "num_closids": f"{CLASSES}\n"},
    "MB": {
        "bandwidth_gran": "10\n", "delay_linear": "1\n", "min_bandwidth": "10\n",
        "num_closids": f"{CLASSES}\n",
    },
    "L3_MON": {
        "mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n", "num_rmids": "16\n"
    },
}  # fmt: skip
COUNTED = {
    "mon_L3_00": {"llc_occupancy": "2883584\n", "mbm_total_bytes": "91684864\n",
                  "mbm_local_bytes": "62914560\n"},
    "mon_L3_01": {"llc_occupancy": "65536\n", "mbm_total_bytes": "Unavailable\n",
                  "mbm_local_bytes": "Unavailable\n"},
}  # fmt: skip


class Refused(Exception):
    """An error number, and what last_cmd_status says."""

    def __init__(self, number, status=""):
        super().__init__(number)
        self.number, self.status = number, status


class Node:
    """A file of fixed text, or a folder of others."""

    def __init__(self, content, parent=None, name=""):
        self.text = content if isinstance(content, str) else None
        self.children = {}
        self.parent, self.name, self.number = parent, name, 0
        for key, value in {} if self.text is not None else content.items():
            self.children[key] = Node(value, self, key)


class Group(Node):
    """A folder that tasks are in; `above` is the group that a monitoring group is in."""

    def __init__(self, parent, name, above=None, more=None):
        files = {"cpus": "0\n", "mode": "shareable\n", "tasks": "", "mon_data": COUNTED}
        super().__init__(files | (more or {}), parent, name)
        self.above = above
        self.shares = {name: {0: value, 1: value} for name, value in WHOLE.items()}
        if above is None:
            self.children["schemata"] = Node("", self, "schemata")
            self.children["mon_groups"] = Node({}, self, "mon_groups")


class Resctrl:
    """The file system; every answer is bytes, or raises Refused."""

    def __init__(self, journal):
        self.journal = journal
        self.root = Group(None, "", more={"info": INFO | {"last_cmd_status": "ok\n"}})
        self.nodes = {1: self.root}
        self.members = {}  # pid and start time -> group, of tasks that were moved

    def number(self, node):
        """Its inode; one is never given twice."""
        if node is self.root:
            return 1
        if not node.number:
            node.number = max(self.nodes) + 1
            self.nodes[node.number] = node
        return node.number

    def note(self, what, group, pid, **more):
        """A line of the journal."""
        path, at = [], group
        while at is not None and at is not self.root:
            path.insert(0, at.name)
            at = at.parent
        entry = {"what": what, "group": "/".join(path), "pid": pid, "exe": program(pid), **more}
        self.journal.write(json.dumps(entry) + "\n")
        self.journal.flush()

    # -- what the kernel does -------------------------------------------------------------------

    def make(self, parent, name, pid):
        """mkdir(2)."""
        if name in parent.children:
            raise Refused(errno.EEXIST)
        if parent is self.root:
            if sum(isinstance(one, Group) for one in parent.children.values()) + 1 >= CLASSES:
                raise Refused(errno.ENOSPC, "Out of CLOSIDs")
            made = Group(parent, name)
        elif parent.name == "mon_groups":
            made = Group(parent, name, above=parent.parent)
        else:
            raise Refused(errno.EPERM)
        parent.children[name] = made
        self.note("mkdir", made, pid)
        return made

    def remove(self, parent, name, pid):
        """rmdir(2): its tasks are the group's above it."""
        group = parent.children.get(name)
        if group is None:
            raise Refused(errno.ENOENT)
        if not isinstance(group, Group):
            raise Refused(errno.EPERM)
        self.note("rmdir", group, pid)
        del parent.children[name]
        for task, where in self.members.items():
            if where in (group, *group.children.get("mon_groups", Node({})).children.values()):
                self.members[task] = group.above or self.root

    def write(self, node, text, pid):
        """A write to a file."""
        group = node.parent
        if node.name == "tasks":
            self.move(group, text.strip(), pid)
        elif node.name == "schemata":
            self.share(group, text, pid)
        elif node.name == "mode":
            node.text = text
        else:
            raise Refused(errno.EPERM)

    def move(self, group, text, pid):
        """A task comes, with all that it will fork; 0 is who writes."""
        moved = int(text) or pid
        if group.children["mode"].text.startswith("pseudo-lock"):
            raise Refused(errno.EINVAL, "Pseudo-locking in progress")
        if group.above is not None and self.of(moved) not in (
            group.above, *group.above.children["mon_groups"].children.values()
        ):  # fmt: skip
            raise Refused(errno.EINVAL, "Can't move task to different control group")
        self.members[identity(moved)] = group
        self.note("tasks", group, moved, wrote=text)

    def share(self, group, text, pid):
        """New shares, all or none."""
        if not text.endswith("\n"):
            raise Refused(errno.EINVAL)
        shares = {name: dict(values) for name, values in group.shares.items()}
        for line in text[:-1].split("\n"):
            name, colon, rest = line.partition(":")
            if not colon:
                raise Refused(errno.EINVAL, "Missing ':'")
            if name not in shares:
                raise Refused(errno.EINVAL, f"Unknown or unsupported resource name '{name}'")
            for part in filter(None, rest.split(";")):
                domain, equals, value = part.partition("=")
                if not equals or not domain.isdecimal():
                    raise Refused(errno.EINVAL, "Missing '=' or non-numeric domain")
                if int(domain) not in shares[name]:
                    raise Refused(errno.EINVAL)
                shares[name][int(domain)] = mask(value) if name == "L3" else percent(value)
        group.shares = shares
        self.note("schemata", group, pid, wrote=text)

    def of(self, pid):
        """The group that a task is in: its own, or that of the first one above it that has any."""
        while pid > 1:
            if identity(pid) in self.members:
                return self.members[identity(pid)]
            pid = int((status(pid) or "0 0").split()[1])
        return self.root

    def read(self, node):
        """What a file says now."""
        group = node.parent
        if node.name == "tasks":
            tasks = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            groups = [(task, self.of(task)) for task in tasks if status(task)]
            return "".join(f"{t}\n" for t, g in groups if group in (g, getattr(g, "above", None)))
        if node.name == "schemata":
            return "".join(
                f"{name:>6}:{';'.join(f'{d}={v}' for d, v in values.items())}\n"
                for name, values in group.shares.items()
            )
        return node.text

    # -- what FUSE asks -------------------------------------------------------------------------

    def attributes(self, node):
        """struct fuse_attr."""
        mode = stat.S_IFREG | 0o644 if node.text is not None else stat.S_IFDIR | 0o755
        return struct.pack("<6Q10I", self.number(node), 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0,
                           4096, 0)  # fmt: skip

    def entry(self, node):
        """struct fuse_entry_out, to be forgotten at once."""
        return struct.pack("<4QII", self.number(node), 0, 0, 0, 0, 0) + self.attributes(node)

    def answer(self, opcode, node, pid, body):
        """The answer to one request."""
        if opcode in (MKDIR, RMDIR, WRITE):
            self.root.children["info"].children["last_cmd_status"].text = "ok\n"
        if opcode == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 65536, 1, 0, 0, 0)
        if opcode == LOOKUP:
            found = node.children.get(os.fsdecode(body[:-1]))
            if found is None:
                raise Refused(errno.ENOENT)
            return self.entry(found)
        if opcode in (GETATTR, SETATTR):
            return bytes(16) + self.attributes(node)
        if opcode == MKDIR:
            return self.entry(self.make(node, os.fsdecode(body[8:-1]), pid))
        if opcode == RMDIR:
            self.remove(node, os.fsdecode(body[:-1]), pid)
            return b""
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode in (READ, READDIR):
            offset, size = struct.unpack_from("<8xQI", body)
            if opcode == READ:
                return self.read(node).encode()[offset : offset + size]
            return self.names(node, offset, size)
        if opcode == WRITE:
            (size,) = struct.unpack_from("<16xI", body)
            self.write(node, body[40 : 40 + size].decode(), pid)
            return struct.pack("<II", size, 0)
        if opcode == STATFS:
            return bytes(80)
        if opcode in (RELEASE, RELEASEDIR, FLUSH):
            return b""
        raise Refused(errno.ENOSYS)

    def names(self, node, offset, size):
        """struct fuse_dirent of each."""
        found = b""
        for at, (name, child) in enumerate(list(node.children.items())[offset:], offset + 1):
            raw = os.fsencode(name)
            kind = 4 if child.text is None else 8
            entry = struct.pack("<QQII", self.number(child), at, len(raw), kind) + raw
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def serve(self, fd):
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(fd, 1 << 17)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return  # ENODEV
            size, opcode, unique, node, _, _, pid, _, _ = HEADER.unpack_from(request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            number, found = 0, b""
            try:
                found = self.answer(opcode, self.nodes.get(node), pid, request[HEADER.size : size])
            except Refused as refused:
                number = refused.number
                if refused.status:
                    said = self.root.children["info"].children["last_cmd_status"]
                    said.text = refused.status + "\n"
            try:
                os.write(fd, struct.pack("<IiQ", 16 + len(found), -number, unique) + found)
            except OSError as error:
                if error.errno != errno.ENOENT:  # who asked was killed
                    raise
            if opcode == DESTROY:
                return


def mask(text):
    """A share of the cache: at least two ways side by side."""
    value = int(text, 16)
    if not value or value > 0x7FF:
        raise Refused(errno.EINVAL, "Mask out of range")
    if f"{value:b}".strip("0").count("0"):
        raise Refused(errno.EINVAL, f"The mask {value:x} has non-consecutive 1-bits")
    if value.bit_count() < 2:
        raise Refused(errno.EINVAL, "Need at least 2 bits in the mask")
    return f"{value:x}"


def percent(text):
    """A share of the bandwidth, in steps."""
    if not 10 <= int(text) <= 100:
        raise Refused(errno.EINVAL, f"MB value {int(text)} out of range [10,100]")
    return f"{-(-int(text) // 10) * 10}"


def status(pid):
    """State, parent and what follows of proc_pid_stat(5); empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].strip()
    except OSError:
        return ""


def identity(pid):
    """A process, not only its number."""
    return pid, tuple(status(pid).split()[19:20])


def program(pid):
    """The program that a process runs."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def main(point, journal):
    """Mount it, say so, and serve it."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = (
        f"fd={fd},rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions".encode()
    )
    if libc.mount(b"resctrl", os.fsencode(point), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    with open(journal, "w") as file:
        print("mounted", flush=True)
        Resctrl(file).serve(fd)


if __name__ == "__main__":
    main(*sys.argv[1:])
