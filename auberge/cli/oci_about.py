"""The commands of `auberge-oci` about itself: spec and features."""

import json
import os

from auberge.cli.oci import Words
from auberge.container.clauses import CAPABILITIES
from auberge.container.kernel import NAMESPACES
from auberge.container.mount_options import ATTRIBUTES, NOTHING, PROPAGATIONS, SUPER
from auberge.refusal import Refusal


def run(name: str, words: Words, root: str) -> int:
    """Carry out one of them."""
    if name == "features":
        print(json.dumps(features(), indent=2))
        return 0
    path = os.path.join(words.value("bundle") or ".", "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(template(words.flag("rootless")), file, indent=2)
            file.write("\n")
    except FileExistsError:
        raise Refusal(f"{path}: it exists already; remove it first") from None
    return 0


def template(rootless: bool) -> dict[str, object]:
    """A configuration to begin with: a shell in a terminal, with few capabilities."""
    caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    plain = ["nosuid", "noexec", "nodev"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    system: dict[str, object] = {
        "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*plain, "ro"],
    }  # fmt: skip
    if rootless:
        system = {
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", *plain, "ro"],
        }  # fmt: skip
    linux: dict[str, object] = {
        "namespaces": [
            {"type": kind}
            for kind in ("pid", "ipc", "uts", "mount", "cgroup", "user" if rootless else "network")
        ],
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
            "/proc/scsi",
        ],
        "readonlyPaths": [
            "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
        ],
    }  # fmt: skip
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
        pts.append("gid=5")
    return {
        "ociVersion": "1.1.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"
            ],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "auberge",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
            {
                "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": [*plain, "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": plain,
            },
            system,
        ],
        "linux": linux,
    }  # fmt: skip


def features() -> dict[str, object]:
    """features-linux.md: what a configuration may ask for; whether this kernel grants it, such as a
    security module's labels, is said when it is asked for."""
    from auberge.container.seccomp import FLAGS
    from auberge.container.seccomp_library import ACTIONS, COMPARISONS

    options = {*ATTRIBUTES, *PROPAGATIONS, *SUPER, *NOTHING, "bind", "rbind", "remount"}
    options |= {f"r{name}" for name in (*ATTRIBUTES, *PROPAGATIONS)} | {"idmap", "ridmap"}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.1.0",
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        ],
        "mountOptions": sorted(options),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in CAPABILITIES],
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(COMPARISONS),
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
    }  # fmt: skip
