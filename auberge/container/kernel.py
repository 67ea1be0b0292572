"""Linux's own numbers: system calls by architecture, and constants of the headers named.

The only calls into the kernel that need privileges are rows of a table (table.py), made of these.
"""

_X86_64 = {
    "read": 0, "close": 3, "ioctl": 16, "sendmsg": 46, "execve": 59,
    "wait4": 61, "kill": 62, "fcntl": 72, "chdir": 80, "fchdir": 81, "fchmod": 91, "fchown": 93,
    "umask": 95, "setsid": 112, "setgroups": 116, "setresuid": 117, "setresgid": 119,
    "capset": 126, "personality": 135, "pivot_root": 155, "prctl": 157, "chroot": 161,
    "mount": 165, "umount2": 166, "sethostname": 170, "setdomainname": 171, "write": 1,
    "sched_setaffinity": 203, "exit_group": 231, "keyctl": 250, "ioprio_set": 251, "openat": 257,
    "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263, "symlinkat": 266,
    "ppoll": 271, "unshare": 272, "dup3": 292, "prlimit64": 302, "setns": 308,
    "sched_setattr": 314, "seccomp": 317, "pipe2": 293,
}  # fmt: skip
_AARCH64 = {
    "dup3": 24, "fcntl": 25, "ioctl": 29, "ioprio_set": 30, "mknodat": 33, "mkdirat": 34,
    "unlinkat": 35, "symlinkat": 36, "umount2": 39, "mount": 40, "pivot_root": 41, "chdir": 49,
    "fchdir": 50, "chroot": 51, "fchmod": 52, "fchownat": 54, "fchown": 55, "openat": 56,
    "close": 57, "read": 63, "write": 64, "ppoll": 73, "capset": 91, "personality": 92,
    "exit_group": 94, "unshare": 97, "sched_setaffinity": 122, "kill": 129, "setresuid": 147,
    "setresgid": 149, "setsid": 157, "setgroups": 159, "sethostname": 161,
    "setdomainname": 162, "umask": 166, "prctl": 167, "pipe2": 59,
    "sendmsg": 211, "keyctl": 219, "execve": 221, "wait4": 260,
    "prlimit64": 261, "setns": 268, "sched_setattr": 274, "seccomp": 277,
}  # fmt: skip
_BOTH = {  # since Linux 5.0, numbers are the same everywhere
    "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "pidfd_open": 434, "clone3": 435, "close_range": 436, "openat2": 437,
    "faccessat2": 439, "mount_setattr": 442,
}  # fmt: skip
SYSCALLS = {"x86_64": _X86_64 | _BOTH, "aarch64": _AARCH64 | _BOTH}
"""Numbers of system calls (asm/unistd.h), by the machine's name as uname(2) has it."""

# linux/sched.h
CLONE_NEWTIME, CLONE_PIDFD, CLONE_PARENT, CLONE_NEWNS = 0x80, 0x1000, 0x8000, 0x20000
CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x0200_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
CLONE_INTO_CGROUP = 0x2_0000_0000
NAMESPACES = {
    "user": CLONE_NEWUSER, "cgroup": CLONE_NEWCGROUP, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET, "pid": CLONE_NEWPID, "time": CLONE_NEWTIME, "mount": CLONE_NEWNS,
}  # fmt: skip
"""The types of namespaces in the order in which they can be joined."""
NAMESPACE_FILES = {
    "user": "user", "cgroup": "cgroup", "ipc": "ipc", "uts": "uts", "network": "net",
    "pid": "pid", "time": "time", "mount": "mnt",
}  # fmt: skip
"""What they are called in /proc/PID/ns."""

# fcntl.h, linux/openat2.h
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x8000, 0x100
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x08, 0x10

# linux/mount.h
MS_MOVE, MS_REC = 8192, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, 0o2000000
MOVE_BY_FD = 0x04 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC = 1, 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME = 0x70, 0x10, 0x20
MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x80, 0x10_0000, 0x20_0000

# linux/prctl.h, linux/capability.h, linux/seccomp.h, linux/keyctl.h, linux/close_range.h
PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 8, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
LINUX_CAPABILITY_VERSION_3 = 0x2008_0522
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 2, 4
SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 8, 16
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32
KEYCTL_JOIN_SESSION_KEYRING = 1
CLOSE_RANGE_CLOEXEC = 4
MSG_NOSIGNAL = 0x4000

# asm-generic/ioctls.h
TIOCSCTTY, TIOCSWINSZ, TIOCSPTLCK, TIOCGPTPEER = 0x540E, 0x5414, 0x4004_5431, 0x5441
