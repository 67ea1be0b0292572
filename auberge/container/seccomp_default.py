"""The seccomp profile of containers that `auberge run` makes: what a program in one may ask for.

A list of what is allowed, by what it is for. The rule of the choice: a call is allowed if all it
reaches belongs to the process itself or to a namespace, a cgroup or a file descriptor that the
container has anyway. What reaches the whole host (its clock, modules, swap, quotas), what is
outside of namespaces (keyrings, AF_VSOCK), what makes namespaces or mounts, and the widest surfaces
of the kernel that few programs need (bpf, io_uring, perf, userfaultfd) is left out.

Calls that are left out by decision answer EPERM, as to someone without the right to. Others, which
nobody could decide about yet, answer ENOSYS: the C library then falls back to older ones.
"""

from errno import ENOSYS, EPERM

from auberge.container.config import Seccomp, SeccompSyscall, SyscallArg

FILES = """
    access faccessat faccessat2 chdir fchdir chmod fchmod fchmodat fchmodat2 chown chown32 fchown
    fchown32 fchownat lchown lchown32 creat open openat openat2 close close_range dup dup2 dup3
    fcntl fcntl64 flock read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2
    lseek _llseek truncate truncate64 ftruncate ftruncate64 fallocate fadvise64 fadvise64_64
    arm_fadvise64_64 readahead sync syncfs fsync fdatasync sync_file_range sync_file_range2 sendfile
    sendfile64 copy_file_range splice tee vmsplice stat stat64 fstat fstat64 fstatat64 newfstatat
    lstat lstat64 oldstat oldfstat oldlstat statx statfs statfs64 fstatfs fstatfs64 statmount
    listmount getcwd getdents getdents64 readdir link linkat symlink symlinkat readlink readlinkat
    rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir mknod mknodat umask utime utimes
    utimensat utimensat_time64 futimesat name_to_handle_at chroot getxattr lgetxattr fgetxattr
    getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr listxattrat
    removexattr lremovexattr fremovexattr removexattrat file_getattr file_setattr cachestat
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch memfd_create
"""
"""Paths are looked up in the container's root, and node numbers are limited by its cgroup."""

MEMORY = """
    brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock
    munlockall map_shadow_stack mseal pkey_alloc pkey_free pkey_mprotect remap_file_pages
    memfd_secret membarrier get_mempolicy set_mempolicy mbind set_mempolicy_home_node
    process_madvise process_mrelease
"""
"""A process's own memory, or that of one it may trace."""

PROCESSES = """
    execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid
    getpgrp setpgid getsid setsid kill tkill tgkill pidfd_open pidfd_getfd pidfd_send_signal
    set_tid_address set_robust_list get_robust_list set_thread_area get_thread_area arch_prctl
    prctl rseq restart_syscall ptrace process_vm_readv process_vm_writev kcmp futex futex_time64
    futex_waitv futex_wake futex_wait futex_requeue modify_ldt riscv_flush_icache riscv_hwprobe
    cacheflush set_tls breakpoint uretprobe rt_sigreturn sigreturn
"""
"""Other processes are those of the container's pid namespace. Since Linux 4.8 a tracer cannot
change what a filter decides on."""

SIGNALS = """
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal signalfd signalfd4
    sigpending sigprocmask sigsuspend pause
"""

IDENTITY = """
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32
    getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32
    setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid
    setfsgid32 setgroups setgroups32 capget capset
"""
"""Numbers of the container's user namespace; capabilities can only be given up."""

TIME = """
    time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
    clock_nanosleep_time64 nanosleep times alarm getitimer setitimer timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 adjtimex clock_adjtime
    clock_adjtime64
"""
"""To read clocks and to wait; what adjusts the host's clock needs CAP_SYS_TIME."""

SCHEDULING = """
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
    sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getcpu getpriority
    setpriority nice ioprio_get ioprio_set
"""
"""Within the limits of the cgroup; more urgent than others only with CAP_SYS_NICE."""

WAITING = """
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 pipe
    pipe2 io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
"""

MESSAGES = """
    ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl
    shmdt shmget mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64
"""
"""Of the container's ipc namespace."""

NETWORK = """
    socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt
    recv recvfrom recvmsg recvmmsg recvmmsg_time64 send sendto sendmsg sendmmsg shutdown
"""
"""On sockets, whose kinds are below."""

LIMITS = """
    getrlimit setrlimit ugetrlimit prlimit64 getrusage sysinfo uname olduname oldolduname getrandom
"""

CONFINEMENT = """
    seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr
    lsm_set_self_attr lsm_list_modules
"""
"""A process may always confine itself further."""

REFUSED = """
    acct add_key bpf clock_settime clock_settime64 create_module delete_module fanotify_init
    fanotify_mark finit_module fsconfig fsmount fsopen fspick init_module io_uring_setup
    io_uring_enter io_uring_register ioperm iopl kexec_file_load kexec_load keyctl lookup_dcookie
    migrate_pages mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree
    open_tree_attr perf_event_open pivot_root quotactl quotactl_fd reboot request_key setdomainname
    sethostname setns settimeofday stime swapoff swapon syslog umount umount2 unshare userfaultfd
    uselib ustat vhangup vm86 vm86old
"""
"""See above; open_by_handle_at finds files beyond any root. clone3 is in no list: its flags are in
memory, which a filter cannot read."""

ALLOWED = (
    FILES, MEMORY, PROCESSES, SIGNALS, IDENTITY, TIME, SCHEDULING, WAITING, MESSAGES, NETWORK,
    LIMITS, CONFINEMENT,
)  # fmt: skip

# linux/sched.h: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACES = 0x80 | 0x2_0000 | 0x7E00_0000

_SOCKETS = {
    "AF_UNIX": 1,
    "AF_INET": 2,
    "AF_INET6": 10,
    "AF_NETLINK": 16,  # what it changes needs capabilities in the network namespace
    "AF_PACKET": 17,  # with CAP_NET_RAW
}
"""bits/socket.h. The others are not in a network namespace (AF_VSOCK, AF_ALG) or out of use, and
were where many of the kernel's holes have been."""

_PERSONALITIES = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
"""sys/personality.h: PER_LINUX, PER_LINUX32, each with UNAME26, and the question what it is; not
ADDR_NO_RANDOMIZE and its like."""

_TIOCSTI = 0x5412
"""asm-generic/ioctls.h: to type on a terminal, which may be someone else's."""

_WORD = 0xFFFF_FFFF


def _is(index: int, value: int, mask: int = _WORD) -> SyscallArg:
    """The kernel looks at the lower half of an `int`, and so must a filter: with the upper half
    compared, it would be enough to set a bit there (CVE-2019-10063)."""
    return SyscallArg(index, mask, "SCMP_CMP_MASKED_EQ", value)


def _is_not(index: int, value: int) -> tuple[SyscallArg, ...]:
    """Some bit is another. Of conditions on the same argument, one must hold."""
    return tuple(_is(index, (value & 1 << bit) ^ 1 << bit, 1 << bit) for bit in range(32))


def default_profile(machine: str) -> Seccomp:
    """The profile for a host of that architecture (uname(2))."""
    # clone(2), "C library/kernel differences": s390 has the flags in the second argument
    flags = 1 if machine == "s390x" else 0
    rules = [
        SeccompSyscall(
            tuple(name for group in ALLOWED for name in group.split()), "SCMP_ACT_ALLOW"
        ),
        SeccompSyscall(("clone",), "SCMP_ACT_ALLOW", None, (_is(flags, 0, _NAMESPACES),)),
        *(
            SeccompSyscall(("socket",), "SCMP_ACT_ALLOW", None, (_is(0, family),))
            for family in _SOCKETS.values()
        ),
        *(
            SeccompSyscall(("personality",), "SCMP_ACT_ALLOW", None, (_is(0, domain),))
            for domain in _PERSONALITIES
        ),
        SeccompSyscall(("ioctl",), "SCMP_ACT_ALLOW", None, _is_not(1, _TIOCSTI)),
        SeccompSyscall(tuple(REFUSED.split()), "SCMP_ACT_ERRNO", EPERM),
    ]
    return Seccomp("SCMP_ACT_ERRNO", ENOSYS, _ARCHITECTURES.get(machine, ()), syscalls=tuple(rules))


_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X",),
}
"""The host's own, and the one of 32 bits that its processor also executes."""
