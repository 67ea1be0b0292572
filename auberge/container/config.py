"""config.json of the OCI runtime specification 1.1 for Linux, as NamedTuples.

A class is an object of the specification, a field one of its properties: `no_new_privileges` is
`noNewPrivileges` (config_file.py reads them). What a property must be like is said in its type. The
sections named are those of the specification's config.md and config-linux.md.
"""

from auberge.container.clauses import (
    I32,
    I64,
    U16,
    U32,
    U64,
    Id,
    absolute,
    bandwidth_schema,
    cache_schema,
    capability,
    class_of_service,
    namespace_path,
    not_empty,
    positive,
    program,
    rlimit_name,
    without_nul,
)
from auberge.container.light import Annotated, Literal, NamedTuple

LONGEST = 16 << 20  # bytes of a config.json; real ones have some 10 KiB
Text = Annotated[str, without_nul]
AbsolutePath = Annotated[str, without_nul, absolute]
Program = Annotated[str, without_nul, program]
Capability = Annotated[str, capability]
NamespaceType = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]


class ConsoleSize(NamedTuple):
    """config.md, "Process": the terminal's size in characters."""

    height: U16
    width: U16


class Rlimit(NamedTuple):
    """config.md, "POSIX process": one resource limit (getrlimit(2))."""

    type: Annotated[str, rlimit_name]
    soft: U64
    hard: U64


class Capabilities(NamedTuple):
    """config.md, "Linux Process": the five sets of capabilities(7)."""

    bounding: tuple[Capability, ...] = ()
    effective: tuple[Capability, ...] = ()
    inheritable: tuple[Capability, ...] = ()
    permitted: tuple[Capability, ...] = ()
    ambient: tuple[Capability, ...] = ()


class IOPriority(NamedTuple):
    """config.md, "Linux Process": ioprio_set(2)."""

    class_: Literal["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]
    priority: I32 = 0


class Scheduler(NamedTuple):
    """config.md, "Linux Process": sched_setattr(2)."""

    policy: Literal[
        "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
        "SCHED_DEADLINE",
    ]  # fmt: skip
    nice: I32 = 0
    priority: I32 = 0
    flags: tuple[
        Literal[
            "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ],
        ...,
    ] = ()  # fmt: skip
    runtime: U64 = 0
    deadline: U64 = 0
    period: U64 = 0


class ExecCPUAffinity(NamedTuple):
    """config.md of 1.2, "Linux Process": where `exec` runs before and after it joins the cgroup."""

    initial: Text | None = None
    final: Text | None = None


class User(NamedTuple):
    """config.md, "POSIX-platform User"."""

    uid: Id = 0
    gid: Id = 0
    umask: U32 | None = None
    additional_gids: tuple[Id, ...] = ()


class Process(NamedTuple):
    """config.md, "Process", with "POSIX process" and "Linux Process"."""

    cwd: AbsolutePath
    args: Annotated[tuple[Text, ...], not_empty]
    terminal: bool = False
    console_size: ConsoleSize | None = None
    env: tuple[Text, ...] = ()
    rlimits: tuple[Rlimit, ...] = ()
    apparmor_profile: Text | None = None
    capabilities: Capabilities | None = None
    no_new_privileges: bool = False
    oom_score_adj: I32 | None = None
    scheduler: Scheduler | None = None
    selinux_label: Text | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None
    user: User = User()


class Root(NamedTuple):
    """config.md, "Root"; a relative path is taken from the bundle."""

    path: Annotated[str, without_nul, program]
    readonly: bool = False


class IdMapping(NamedTuple):
    """config-linux.md, "User namespace mappings": as in user_namespaces(7)."""

    container_id: U32
    host_id: U32
    size: U32


class Mount(NamedTuple):
    """config.md, "Mounts"; what the options mean is said in mount_options.py."""

    destination: Program
    source: Text | None = None
    options: tuple[Text, ...] = ()
    type: Text | None = None
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Hook(NamedTuple):
    """config.md, "POSIX-platform Hooks": one program to run."""

    path: AbsolutePath
    args: tuple[Text, ...] = ()
    env: tuple[Text, ...] = ()
    timeout: Annotated[int, positive] | None = None


class Hooks(NamedTuple):
    """config.md, "POSIX-platform Hooks": which programs run when."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Namespace(NamedTuple):
    """config-linux.md, "Namespaces": a new one, or with a path one that exists."""

    type: NamespaceType
    path: Annotated[str, without_nul, namespace_path] | None = None


class TimeOffset(NamedTuple):
    """config-linux.md, "Offset for Time Namespace"."""

    secs: I64 = 0
    nanosecs: U32 = 0


class TimeOffsets(NamedTuple):
    """config-linux.md, "Offset for Time Namespace": by clock."""

    monotonic: TimeOffset | None = None
    boottime: TimeOffset | None = None


class Device(NamedTuple):
    """config-linux.md, "Devices": a node that must be there."""

    type: Literal["c", "b", "u", "p"]
    path: AbsolutePath
    major: I64 | None = None
    minor: I64 | None = None
    file_mode: U32 | None = None
    uid: Id | None = None
    gid: Id | None = None


class DeviceRule(NamedTuple):
    """config-linux.md, "Allowed Device list"; None stands for every number."""

    allow: bool
    type: Literal["a", "c", "b"] | None = None
    major: I64 | None = None
    minor: I64 | None = None
    access: Text | None = None


class Memory(NamedTuple):
    """config-linux.md, "Memory": bytes; -1 is unlimited."""

    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    kernel: I64 | None = None
    kernel_tcp: I64 | None = None
    swappiness: U64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class CPU(NamedTuple):
    """config-linux.md, "CPU"."""

    shares: U64 | None = None
    quota: I64 | None = None
    burst: U64 | None = None
    period: U64 | None = None
    realtime_runtime: I64 | None = None
    realtime_period: U64 | None = None
    cpus: Text | None = None
    mems: Text | None = None
    idle: I64 | None = None


class WeightDevice(NamedTuple):
    """config-linux.md, "Block IO": the weight of one device."""

    major: I64
    minor: I64
    weight: U16 | None = None
    leaf_weight: U16 | None = None


class ThrottleDevice(NamedTuple):
    """config-linux.md, "Block IO": the rate of one device, a second."""

    major: I64
    minor: I64
    rate: U64


class BlockIO(NamedTuple):
    """config-linux.md, "Block IO"."""

    weight: U16 | None = None
    leaf_weight: U16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(NamedTuple):
    """config-linux.md, "Huge page limits": page_size as in `2MB`."""

    page_size: Text
    limit: U64


class InterfacePriority(NamedTuple):
    """config-linux.md, "Network": one line of net_prio.ifpriomap."""

    name: Text
    priority: U32


class Network(NamedTuple):
    """config-linux.md, "Network": class and priorities, of cgroup v1."""

    class_id: U32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Pids(NamedTuple):
    """config-linux.md, "PIDs"; 0 and less is unlimited."""

    limit: I64


class Rdma(NamedTuple):
    """config-linux.md, "RDMA": of one device."""

    hca_handles: U32 | None = None
    hca_objects: U32 | None = None


class Resources(NamedTuple):
    """config-linux.md, "Control groups": what a container may use; None is left as it is."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: CPU | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    pids: Pids | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, Text] = {}


class SyscallArg(NamedTuple):
    """config-linux.md, "Seccomp": a condition on one argument."""

    index_: U32
    value: U64
    op: Literal[
        "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ]  # fmt: skip
    value_two: U64 = 0


SeccompAction = Literal[
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
]  # fmt: skip


class SeccompSyscall(NamedTuple):
    """config-linux.md, "Seccomp": what happens to some system calls."""

    names: Annotated[tuple[Text, ...], not_empty]
    action: SeccompAction
    errno_ret: U32 | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(NamedTuple):
    """config-linux.md, "Seccomp"."""

    default_action: SeccompAction
    default_errno_ret: U32 | None = None
    architectures: tuple[Text, ...] = ()
    flags: tuple[
        Literal[
            "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ],
        ...,
    ] = ()  # fmt: skip
    listener_path: Text | None = None
    listener_metadata: Text | None = None
    syscalls: tuple[SeccompSyscall, ...] = ()


class IntelRdt(NamedTuple):
    """config-linux.md, "IntelRdt": shares of caches and memory bandwidth (resctrl.rst)."""

    clos_id: Annotated[str, without_nul, class_of_service] | None = None
    l3_cache_schema: Annotated[str, without_nul, cache_schema] | None = None
    mem_bw_schema: Annotated[str, without_nul, bandwidth_schema] | None = None
    enable_cmt: bool = False
    enable_mbm: bool = False


class Personality(NamedTuple):
    """config-linux.md, "Personality": personality(2)."""

    domain: Literal["LINUX", "LINUX32"]
    flags: tuple[Text, ...] = ()


class Linux(NamedTuple):
    """config-linux.md: what only Linux has."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: TimeOffsets | None = None
    devices: tuple[Device, ...] = ()
    cgroups_path: Text | None = None
    resources: Resources | None = None
    intel_rdt: IntelRdt | None = None
    sysctl: dict[str, Text] = {}
    seccomp: Seccomp | None = None
    rootfs_propagation: Literal[
        "private", "shared", "slave", "unbindable",
        "rprivate", "rshared", "rslave", "runbindable", "",
    ] = ""  # fmt: skip
    masked_paths: tuple[AbsolutePath, ...] = ()
    readonly_paths: tuple[AbsolutePath, ...] = ()
    mount_label: Text | None = None
    personality: Personality | None = None


class Config(NamedTuple):
    """config.md: the whole of config.json."""

    oci_version: Text
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: Text | None = None
    domainname: Text | None = None
    hooks: Hooks = Hooks()
    annotations: dict[str, Text] = {}
    linux: Linux = Linux()
