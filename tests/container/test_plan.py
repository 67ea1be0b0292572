"""The plan of a configuration: what is done, in which order, and how it is printed."""

import copy
import json
import os

import pytest

from auberge.cli.main import main
from auberge.cli.oci_about import template
from auberge.container import kernel as k
from auberge.container.carry import explain, shown
from auberge.container.config import Config
from auberge.container.config_file import parse
from auberge.container.host import CgroupMount, Host
from auberge.container.mold import program
from auberge.container.mount_options import parse as options_of
from auberge.container.mounts import Bind, MapIds
from auberge.container.plan import Choices, plan
from auberge.container.seccomp_filter import Filter, HandOver
from auberge.container.steps import FindProgram
from auberge.container.talk import Descriptors
from auberge.refusal import Refusal

HOST = Host(
    bundle="/bundle", is_directory=lambda path: not path.endswith("file"), mount_of=lambda _: "/",
    last_capability=40, privileged=True,
    cgroups=(CgroupMount(2, (), "/sys/fs/cgroup/box", "cgroup"),),
)  # fmt: skip


def planned(change=lambda config: None, host=HOST, choices=None):
    config = copy.deepcopy(template(rootless=False))
    config["process"]["terminal"] = False
    change(config)
    read = parse(json.dumps(config).encode(), Config, "config.json")
    return plan(read, host, choices or Choices("box")).operations


def names(operations):
    return [type(operation).__name__ for operation in operations]


def test_the_order_is_what_safety_asks_for():
    found = names(planned())
    order = ["Seal", "Clone", "AwaitRuntime", "Hide", "Isolate", "MountRoot", "OpenNull",
             "MountFileSystem", "MakeDevice", "Mask", "Protect", "MakeReadOnly", "Pivot",
             "LimitResources", "NoNewPrivileges", "BecomeUser", "EnterFolder", "FindProgram",
             "AwaitStart", "Execute"]  # fmt: skip
    places = [found.index(name) for name in order]
    assert places == sorted(places)
    assert found[-1] == "Execute"


def test_joined_namespaces_are_entered_hidden_and_before_the_clone():
    def change(config):
        config["linux"]["namespaces"][0]["path"] = "/proc/5/ns/pid"
        config["linux"]["namespaces"].append({"type": "user", "path": "/proc/5/ns/user"})

    found = planned(change)
    assert names(found)[:4] == ["Seal", "Hide", "Join", "Clone"]
    assert shown(found[2]) == (
        "Join spaces=(('user', '/proc/5/ns/user'), ('pid', '/proc/5/ns/pid'))"
    )


def test_a_filter_is_late_if_it_can_be_and_early_if_it_must():
    choices = Choices("box", filter=Filter(b"\0" * 8))
    found = names(planned(choices=choices))
    assert found[-2:] == ["Filter", "Execute"]

    def privileged(config):
        config["process"]["noNewPrivileges"] = False

    found = names(planned(privileged, choices=choices))
    assert found.index("Filter") < found.index("BecomeUser")


def test_a_filter_that_asks_is_loaded_while_the_runtime_hears_it():
    choices = Choices("box", filter=Filter(b"\0" * 8, 8, True))
    found = names(planned(choices=choices))
    assert found[-5:] == ["SetUmask", "Filter", "HandOver", "AwaitStart", "Execute"]

    def privileged(config):
        config["process"]["noNewPrivileges"] = False

    found = names(planned(privileged, choices=choices))
    at = found.index("Filter")
    assert found[at : at + 3] == ["Filter", "HandOver", "BecomeUser"]
    assert found.count("Filter") == 1


MAP = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 5, "size": 2}]


def mapped(*mounts, user=None):
    """A configuration with these bind mounts, to /a, /b and so on."""

    def change(config):
        for place, (options, maps) in zip("abcd", mounts, strict=False):
            config["mounts"].append(
                {"destination": f"/{place}", "source": "/data", "options": ["bind", *options]}
                | maps
            )
        if user is not None:
            config["linux"]["namespaces"].append({"type": "user"} | user)
        if user == {}:
            config["linux"] |= {"uidMappings": MAP, "gidMappings": MAP[:1]}

    return change


def test_mounts_are_mapped_before_anybody_is_in_a_user_namespace():
    own = {"uidMappings": MAP, "gidMappings": MAP}
    both = (["idmap"], own), (["ridmap"], {"uidMappings": MAP, "gidMappings": MAP[:1]})
    found = planned(mapped(*both, ([], own), user={}))
    maps = [shown(one) for one in found if type(one).__name__ == "MapIds"]
    ids = "uids=0:1000:1,1:5:2 gids=0:1000:1"
    assert maps == [
        f"MapIds where=$.mounts[6] source=/data destination=/a number=0 deep=False {ids},1:5:2",
        f"MapIds where=$.mounts[7] source=/data destination=/b number=1 deep=True {ids}",
        f"MapIds where=$.mounts[8] source=/data destination=/c number=0 deep=False {ids},1:5:2",
    ]
    assert names(found)[:3] == ["Seal", "TakeMount", "MapIds"]
    assert names(found).index("Clone") > max(
        at for at, one in enumerate(found) if type(one).__name__ in ("MapIds", "TakeMount")
    )
    binds = [one for one in found if isinstance(one, Bind) and one.source == "/data"]
    assert [one.early for one in binds] == [True] * 3


def test_a_mount_has_the_ids_of_the_containers_user_namespace():
    (found,) = [o for o in planned(mapped((["idmap"], {}), user={})) if "MapIds" in shown(o)]
    assert (found.uids, found.gids) == ("0:1000:1,1:5:2", "0:1000:1")
    joined = planned(mapped((["idmap"], {}), user={"path": "/proc/5/ns/user"}))
    assert names(joined)[:5] == ["Seal", "TakeMount", "MapIds", "Hide", "Join"]
    assert (joined[2].uids, joined[2].gids) == ("/proc/5/ns/user",) * 2


def test_who_may_not_map_and_what_has_no_maps_is_refused():
    own = {"uidMappings": MAP, "gidMappings": MAP}
    with pytest.raises(Refusal) as caught:
        planned(mapped((["idmap"], own)), HOST._replace(privileged=False))
    assert str(caught.value) == (
        "config.json: $.mounts[6]: only root may map the ids of a mount; take uidMappings, "
        "gidMappings and 'idmap' out"
    )
    with pytest.raises(Refusal) as caught:
        planned(mapped((["ridmap"], {})))
    assert "'idmap' has no maps" in str(caught.value)
    many = [dict(MAP[0], hostID=number) for number in range(65)]

    def change(config):
        for one in many:
            maps = {"uidMappings": [one], "gidMappings": [one]}
            config["mounts"].append(
                {"destination": "/a", "source": "/data", "options": ["bind"]} | maps
            )

    with pytest.raises(Refusal) as caught:
        planned(change)
    assert str(caught.value) == (
        "config.json: $.mounts: has 65 different maps of ids; use 64 at most"
    )


def test_cgroups_of_both_versions_are_mounted():
    def change(config):
        config["mounts"].append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}
        )

    (mount,) = [o for o in planned(change) if "cgroup" in shown(o) and "Mount" in shown(o)]
    assert shown(mount).startswith("MountFileSystem type=cgroup2 source=cgroup2")
    mixed = (CgroupMount(1, ("cpu", "cpuacct"), "/c/box", "cpu,cpuacct"),
             CgroupMount(1, ("name=systemd",), "/s/box", "systemd"), HOST.cgroups[0])  # fmt: skip
    found = planned(change, HOST._replace(cgroups=mixed))
    mounts = [o for o in found if getattr(o, "destination", "").startswith("/sys/fs/cgroup")]
    assert [(o.type, o.options.data) for o in mounts] == [
        ("tmpfs", (("mode", "755"),)),
        ("cgroup", (("cpu", None), ("cpuacct", None))),
        ("cgroup", (("name", "systemd"), ("none", None))),
        ("cgroup2", ()),
    ]


@pytest.mark.parametrize(
    "options, expected",
    [
        (["ro", "rw"], {"set": 0, "clear": k.MOUNT_ATTR_RDONLY}),
        (["rw", "ro"], {"set": k.MOUNT_ATTR_RDONLY, "clear": 0}),
        (["rro"], {"set": 0, "set_below": k.MOUNT_ATTR_RDONLY}),
        (["rslave"], {"propagations": ((k.MS_SLAVE, True),)}),
        (["private"], {"propagations": ((k.MS_PRIVATE, False),)}),
        (["rbind"], {"bind": True, "deep": True}),
        (["size=1k", "huge"], {"data": (("size", "1k"), ("huge", None))}),
        (["noatime", "strictatime"], {"set": k.MOUNT_ATTR_STRICTATIME}),
        (["defaults", "async", ""], {"set": 0, "data": ()}),
        (["relatime", "remount"], {"remount": True, "clear": k.MOUNT_ATTR__ATIME}),
    ],
)
def test_options(options, expected):
    found = options_of(options)._asdict()
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    "label, what", [("apparmorProfile", "apparmor"), ("selinuxLabel", "selinux")]
)
def test_labels_that_this_kernel_does_not_know_are_refused(label, what):
    def change(config):
        config["process"][label] = "container_t"

    with pytest.raises(Refusal) as caught:
        planned(change)
    assert str(caught.value) == (
        f"config.json: $.process.{label}: this kernel does not run {what}; take it out"
    )
    found = planned(change, HOST._replace(labels=(what,)))
    assert "Confine" in names(found)


def test_a_label_of_mounts_is_for_file_systems_that_keep_none_themselves():
    def change(config):
        config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0"

    with pytest.raises(Refusal) as caught:
        planned(change)
    assert str(caught.value) == (
        "config.json: $.linux.mountLabel: this kernel does not run selinux; take it out"
    )
    found = planned(change, HOST._replace(labels=("selinux",)))
    context = ("context", "system_u:object_r:container_file_t:s0")
    mounts = [o for o in found if type(o).__name__ == "MountFileSystem"]
    labelled = [o.type for o in mounts if context in o.options.data]
    assert labelled == ["tmpfs", "devpts", "tmpfs", "mqueue"]


def test_processors_by_their_numbers():
    from auberge.container.scheduling import processors

    assert processors("0-2,5", "x") == (0, 1, 2, 5)
    for wrong in ("", "2-1", "a", "1,,2", "9999999", "\u0663"):
        with pytest.raises(Refusal) as caught:
            processors(wrong, "$.x")
        assert str(caught.value) == (
            f"config.json: $.x: {wrong!r} is no list of processors; write as 0-3,7"
        )
    with pytest.raises(Refusal):  # longer than Python makes numbers of
        processors("9" * 5000, "$.x")


def test_every_plan_is_a_table():
    """Whatever the operations: their labels are placed, and their rows fit."""
    made = program(planned(), Descriptors(kept=2, start=True))
    assert len(made.image) < 200_000
    assert made.operation_of(0x600000) == planned()[0]
    assert made.operation_of(0x600001) is None


def test_a_form_is_cast_once_and_filled_for_each(monkeypatch):
    """A program from a known form is byte for byte what making it anew gives."""
    from auberge.container import mold
    from auberge.container.mounts import MountOverlay
    from auberge.container.steps import OpenCgroups

    def one(name, cgroup, folder):
        overlay = MountOverlay(("/lower",), f"{folder}/upper", f"{folder}/work", "/at")
        choices = Choices(name, overlay=overlay)
        made = planned(choices=choices)
        return (OpenCgroups((f"/sys/{cgroup}/tasks",), f"/sys/{cgroup}"), *made)

    casts = []
    cast = mold.cast
    monkeypatch.setattr(mold, "_molds", {})
    monkeypatch.setattr(mold, "cast", lambda *form: casts.append(1) or cast(*form))
    first = program(one("a", "x", "/one"), Descriptors())
    second = program(one("another", "y", "/two"), Descriptors())
    assert len(casts) == 1 and first.image != second.image
    long = program(one("a", "x" * 200, "/one"), Descriptors())
    assert len(casts) == 2  # there is no room for it in that form
    other = program(one("a", "x", "/one"), Descriptors(kept=1))
    assert len(casts) == 3
    monkeypatch.setattr(mold, "_molds", {})
    assert program(one("another", "y", "/two"), Descriptors()).image == second.image
    assert program(one("a", "x" * 200, "/one"), Descriptors()).image == long.image
    assert program(one("a", "x", "/one"), Descriptors(kept=1)).image == other.image


def test_an_error_names_the_operation():
    mount = next(o for o in planned() if type(o).__name__ == "Mask")
    assert str(explain(mount, 1)) == (
        "container: Mask path=/proc/acpi: operation not permitted; "
        "`auberge plan BUNDLE` shows all steps"
    )
    assert str(explain(FindProgram(("/bin/x", "/sbin/x")), 2)) == (
        "container: $.process.args[0]: 'x': no such file or directory; "
        "give a program that is in the container"
    )


@pytest.mark.parametrize(
    "operation, number, text",
    [
        (Filter(b"", 32), 22, "$.linux.seccomp: the kernel refuses the filter: invalid argument; "
            "take flags out that this kernel does not know"),
        (Filter(b"", 8, True), 16, "$.linux.seccomp: the kernel refuses the filter: device or "
            "resource busy; the runtime itself is under a filter with a listener: only one can be"),
        (Filter(b""), 13, "$.linux.seccomp: the kernel refuses the filter: permission denied; "
            "set process.noNewPrivileges, or run as root"),
        (HandOver(), 1, "$.linux.seccomp: the listener could not be sent: operation not permitted; "
            "let the profile allow 'sendmsg'"),
        (MapIds("$.mounts[7]", "/data", "/mnt", 0, True, "0:5:1", "0:5:1"), 22,
            "$.mounts[7]: /data: the file system, or one below it, cannot map ids (invalid "
            "argument); take one that can, such as ext4 or tmpfs, and is not mapped already"),
    ],
)  # fmt: skip
def test_what_the_kernel_does_not_have_is_one_line(operation, number, text):
    assert str(explain(operation, number)) == f"container: {text}"


def test_the_plan_is_printed(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(template(rootless=False)))
    (tmp_path / "rootfs").mkdir()
    assert main(["plan", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Seal"
    assert "OpenTerminal height=0 width=0 uid=0 console=True" in lines
    assert main(["plan", "--json", str(tmp_path)]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert [one["operation"] for one in objects] == [line.split()[0] for line in lines]
    assert {"operation": "Mask", "path": "/proc/kcore"} in objects
    assert os.listdir(tmp_path) == ["config.json", "rootfs"] or len(os.listdir(tmp_path)) == 2
