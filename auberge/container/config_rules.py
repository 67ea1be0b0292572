"""What config.json may not say, though each of its values is fine: rules between properties."""

from auberge.container.config import Config, IdMapping, Linux
from auberge.container.light import Iterator
from auberge.refusal import Refusal

# sysctl(8) names that belong to a namespace, and to which (runc and crun allow the same).
IPC_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip
UTS_SYSCTLS = ("kernel.domainname", "kernel.hostname")
MOST_MAPPINGS = 340  # user_namespaces(7)


def check(config: Config, name: str = "config.json") -> None:
    """Raise Refusal for the first rule that is broken."""
    for where, complaint in _broken(config):
        raise Refusal(f"{name}: {where}: {complaint}")


def _broken(config: Config) -> Iterator[tuple[str, str]]:
    major = config.oci_version.partition(".")[0]
    if major != "1":
        yield "$.ociVersion", f"{config.oci_version!r} is not known; write '1.1.0'"
    linux = config.linux
    new = _new(linux)
    yield from _namespaces(linux, new)
    yield from _mappings(linux)
    if config.hostname and not {"uts"} & _named(linux):
        yield "$.hostname", "needs a UTS namespace; add {'type': 'uts'} to linux.namespaces"
    if config.domainname and not {"uts"} & _named(linux):
        yield "$.domainname", "needs a UTS namespace; add {'type': 'uts'} to linux.namespaces"
    for at, mount in enumerate(config.mounts):
        idmapped = "idmap" in mount.options or "ridmap" in mount.options
        if (mount.uid_mappings or mount.gid_mappings or idmapped) and not (
            "bind" in mount.options or "rbind" in mount.options
        ):
            yield f"$.mounts[{at}]", "only a bind mount can be mapped; add 'bind' to its options"
        if bool(mount.uid_mappings) != bool(mount.gid_mappings):
            yield f"$.mounts[{at}]", "maps users or groups alone; give uidMappings and gidMappings"
        if (mount.uid_mappings or idmapped) and "remount" in mount.options:
            yield f"$.mounts[{at}]", "cannot be mapped once it is mounted; take 'remount' out"
        if any(option.startswith(("idmap=", "ridmap=")) for option in mount.options):
            # crun's own; what is not known of a bind mount's options is otherwise ignored
            yield (
                f"$.mounts[{at}].options",
                "'idmap' has no value; write the maps as uidMappings and gidMappings",
            )
        yield from _maps(f"$.mounts[{at}].", mount.uid_mappings, mount.gid_mappings)
    yield from _sysctls(linux, new)
    if linux.personality is not None and linux.personality.flags:
        yield "$.linux.personality.flags", "no flags are known; take them out"
    for at, device in enumerate(linux.devices):
        if device.type != "p" and (device.major is None or device.minor is None):
            yield f"$.linux.devices[{at}]", "has no numbers; give major and minor"
    process = config.process
    if process is None:
        return
    kinds = [limit.type for limit in process.rlimits]
    for at, limit in enumerate(process.rlimits):
        if limit.type in kinds[:at]:
            yield f"$.process.rlimits[{at}].type", f"{limit.type} is there twice; take one out"
        if limit.soft > limit.hard:
            yield (
                f"$.process.rlimits[{at}].soft",
                f"{limit.soft} is above the hard limit; write {limit.hard} at most",
            )
    score = process.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        yield "$.process.oomScoreAdj", f"{score} is out of range; write -1000 to 1000"
    for at, setting in enumerate(process.env):
        if "=" not in setting:
            yield f"$.process.env[{at}]", f"{setting!r} sets nothing; write {setting + '='!r}"
    priority = process.io_priority
    if priority is not None and not 0 <= priority.priority <= 7:
        yield "$.process.ioPriority.priority", f"{priority.priority} is out of range; write 0 to 7"


def _new(linux: Linux) -> set[str]:
    return {space.type for space in linux.namespaces if not space.path}


def _named(linux: Linux) -> set[str]:
    return {space.type for space in linux.namespaces}


def _namespaces(linux: Linux, new: set[str]) -> Iterator[tuple[str, str]]:
    kinds = [space.type for space in linux.namespaces]
    for at, kind in enumerate(kinds):
        if kind in kinds[:at]:
            yield f"$.linux.namespaces[{at}].type", f"{kind} is there twice; take one out"
    if "mount" not in kinds:
        yield (
            "$.linux.namespaces",
            "no mount namespace; add {'type': 'mount'}: what is mounted would stay on the host",
        )
    if "user" in new and not (linux.uid_mappings and linux.gid_mappings):
        where = "$.linux.gidMappings" if linux.uid_mappings else "$.linux.uidMappings"
        yield where, "a new user namespace needs it; map at least one id"
    if linux.time_offsets is not None and "time" not in new:
        yield "$.linux.timeOffsets", "needs a new time namespace; add {'type': 'time'}"


def _mappings(linux: Linux) -> Iterator[tuple[str, str]]:
    both = (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings))
    for name, mappings in both:
        if mappings and "user" not in _named(linux):
            yield (
                f"$.linux.{name}",
                "needs a user namespace; add {'type': 'user'} to linux.namespaces",
            )
    yield from _maps("$.linux.", linux.uid_mappings, linux.gid_mappings)


def _maps(
    where: str, uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...]
) -> Iterator[tuple[str, str]]:
    for name, mappings in (("uidMappings", uids), ("gidMappings", gids)):
        if len(mappings) > MOST_MAPPINGS:
            yield f"{where}{name}", f"has {len(mappings)} lines; the kernel takes {MOST_MAPPINGS}"
        for at, mapping in enumerate(mappings):
            if mapping.size == 0:
                yield f"{where}{name}[{at}].size", "maps nothing; write 1 at least"
            if any(_overlap(mapping, other) for other in mappings[:at]):
                yield f"{where}{name}[{at}]", "overlaps one before it; map each id once"


def _overlap(one: IdMapping, two: IdMapping) -> bool:
    return any(
        a < b + two.size and b < a + one.size
        for a, b in ((one.container_id, two.container_id), (one.host_id, two.host_id))
    )


def _sysctls(linux: Linux, new: set[str]) -> Iterator[tuple[str, str]]:
    for name in linux.sysctl:
        where = f"$.linux.sysctl[{name!r}]"
        plain = name.replace("/", ".")
        if plain in IPC_SYSCTLS or plain.startswith("fs.mqueue."):
            space = "ipc"
        elif plain.startswith("net."):
            space = "network"
        elif plain in UTS_SYSCTLS:
            space = "uts"
        else:
            yield where, "belongs to the whole host; set it there with sysctl(8)"
            continue
        if space not in _named(linux):
            yield where, f"would change the host's; add {{'type': '{space}'}} to linux.namespaces"
        if ".." in plain:
            yield where, "is not a name of sysctl(8); take out '..'"
