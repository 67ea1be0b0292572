"""Every error of a config.json names the path and the fix, whatever is in the file."""
# ruff: noqa: E501

import copy
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.cli.oci_about import template
from auberge.container.config import Config
from auberge.container.config_file import parse, property_name
from auberge.container.config_rules import check
from auberge.container.prepare import read
from auberge.refusal import Refusal


def complaint(change):
    config = copy.deepcopy(template(rootless=False))
    change(config)
    with pytest.raises(Refusal) as caught:
        check(parse(json.dumps(config).encode(), Config, "config.json"))
    return str(caught.value)


def put(path, value):
    """Change one place of a configuration, as `process.args`; None takes it out."""

    def change(config):
        *above, last = path.split(".")
        for part in above:
            config = config[int(part) if part.isdigit() else part]
        if value is None:
            del config[last]
        else:
            config[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    "path, value, text",
    [
        ("process.args", None, "$.process.args: missing; give at least one argument"),
        ("process.args", [], "$.process.args: empty; give at least one"),
        ("process.args.0", 1, "$.process.args[0]: 1 is not a string; write a string"),
        ("process.cwd", "home", "$.process.cwd: 'home' is not absolute; write '/home'"),
        ("process.terminal", 1, "$.process.terminal: 1 is not true or false; write true or false"),
        ("process.user.uid", -1, "$.process.user.uid: -1 is out of range; write a number from 0 to 4294967294"),
        ("process.user.uid", 1.5, "$.process.user.uid: 1.5 is not a whole number; write a whole number"),
        ("process.env", ["A\0=b"], "$.process.env[0]: 'A\\x00=b' has a NUL character; take it out"),
        ("process.env", ["A"], "$.process.env[0]: 'A' sets nothing; write 'A='"),
        ("process.oomScoreAdj", 1001, "$.process.oomScoreAdj: 1001 is out of range; write -1000 to 1000"),
        ("process.capabilities.bounding", ["CHOWN"], "$.process.capabilities.bounding[0]: 'CHOWN' is no capability; write one of capabilities(7), such as 'CAP_CHOWN'"),
        ("process.rlimits.0.type", "NOFILE", "$.process.rlimits[0].type: 'NOFILE' is no resource limit; write one of getrlimit(2), such as 'RLIMIT_NOFILE'"),
        ("process.rlimits.0.soft", 9999, "$.process.rlimits[0].soft: 9999 is above the hard limit; write 1024 at most"),
        ("root.path", None, "$.root.path: missing; write the path of the root file system, such as 'rootfs'"),
        ("ociVersion", "2.0.0", "$.ociVersion: '2.0.0' is not known; write '1.1.0'"),
        ("mounts", {}, "$.mounts: {} is not an array; write it in [ ]"),
        ("linux", [], "$.linux: [] is not an object; write it in { }"),
        ("linux.namespaces.0.type", "net", "$.linux.namespaces[0].type: 'net' is not known; write one of pid, network, mount, ipc, uts, user, cgroup, time"),
        ("linux.namespaces.0.type", "uts", "$.linux.namespaces[2].type: uts is there twice; take one out"),
        ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], "$.linux.uidMappings: needs a user namespace; add {'type': 'user'} to linux.namespaces"),
        ("mounts.0", {"destination": "/a", "type": "tmpfs", "options": ["idmap"]}, "$.mounts[0]: only a bind mount can be mapped; add 'bind' to its options"),
        ("mounts.0", {"destination": "/a", "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "$.mounts[0]: maps users or groups alone; give uidMappings and gidMappings"),
        ("mounts.0", {"destination": "/a", "options": ["bind", "idmap=uids=0-1-10;gids=0-1-10"]}, "$.mounts[0].options: 'idmap' has no value; write the maps as uidMappings and gidMappings"),
        ("mounts.0", {"destination": "/a", "options": ["bind", "remount", "ridmap"]}, "$.mounts[0]: cannot be mapped once it is mounted; take 'remount' out"),
        ("linux.sysctl", {"vm.swappiness": "1"}, "$.linux.sysctl['vm.swappiness']: belongs to the whole host; set it there with sysctl(8)"),
        ("linux.intelRdt", {"closID": "a/b"}, "$.linux.intelRdt.closID: 'a/b' is not the name of one folder; write it without '/'"),
        ("linux.intelRdt", {"closID": ".."}, "$.linux.intelRdt.closID: '..' is not the name of one folder; write it without '/'"),
        ("linux.intelRdt", {"closID": "mon_groups"}, "$.linux.intelRdt.closID: 'mon_groups' is the kernel's own folder; choose another name"),
        ("linux.intelRdt", {"closID": "a\nb"}, "$.linux.intelRdt.closID: 'a\\nb' has characters that cannot be printed; take them out"),
        ("linux.intelRdt", {"closID": "é" * 128}, "$.linux.intelRdt.closID: longer than 255 bytes; shorten it"),
        ("linux.intelRdt", {"l3CacheSchema": "L3=f"}, "$.linux.intelRdt.l3CacheSchema: 'L3=f' is no line of a schemata file; write as 'L3:0=7f0;1=1f'"),
        ("linux.intelRdt", {"l3CacheSchema": "L3:0=f\nMB:0=a"}, "$.linux.intelRdt.l3CacheSchema: 'MB:0=a' is no line of a schemata file; write as 'MB:0=20;1=70'"),
        ("linux.intelRdt", {"l3CacheSchema": "L3:" + "0=f;" * 1024}, "$.linux.intelRdt.l3CacheSchema: longer than 4095 characters; shorten it"),
        ("linux.intelRdt", {"memBwSchema": "L3:0=f"}, "$.linux.intelRdt.memBwSchema: 'L3:0=f' does not start with 'MB:'; write as 'MB:0=20;1=70'"),
        ("linux.intelRdt", {"memBwSchema": "MB:0=20\n"}, "$.linux.intelRdt.memBwSchema: 'MB:0=20\\n' has a newline; write one line, as 'MB:0=20;1=70'"),
        ("linux.intelRdt", {"memBwSchema": "MB:0=0x14"}, "$.linux.intelRdt.memBwSchema: 'MB:0=0x14' is no line of a schemata file; write as 'MB:0=20;1=70'"),
        ("linux.intelRdt", {"enableCMT": 1}, "$.linux.intelRdt.enableCMT: 1 is not true or false; write true or false"),
        ("linux.timeOffsets", {}, "$.linux.timeOffsets: needs a new time namespace; add {'type': 'time'}"),
        ("linux.devices", [{"type": "c", "path": "/dev/x"}], "$.linux.devices[0]: has no numbers; give major and minor"),
        ("hooks", {"prestart": [{"path": "x"}]}, "$.hooks.prestart[0].path: 'x' is not absolute; write '/x'"),
        ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "$.hooks.poststop[0].timeout: 0 is not greater than zero; write seconds, from 1"),
    ],
)  # fmt: skip
def test_the_path_and_the_fix_are_named(path, value, text):
    assert complaint(put(path, value)) == f"config.json: {text}"


def test_text_that_is_not_json():
    with pytest.raises(Refusal) as caught:
        parse(b"{", Config, "config.json")
    assert str(caught.value) == (
        "config.json: not JSON (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)); write JSON as of RFC 8259"
    )


def test_no_file(tmp_path):
    path = os.path.join(tmp_path, "config.json")
    with pytest.raises(Refusal) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: no such file or directory; give the folder of a bundle, with its config.json"
    )


def test_what_is_unknown_is_ignored():
    config = template(rootless=False) | {"windows": {}, "x": [1]}
    assert parse(json.dumps(config).encode(), Config, "config.json").hostname == "auberge"


def test_names_of_properties():
    names = ["no_new_privileges", "container_id", "block_io", "throttle_read_iops_device"]
    names += ["io_priority", "exec_cpu_affinity", "class_", "disable_oom_killer", "kernel_tcp"]
    assert [property_name(name) for name in names] == [
        "noNewPrivileges", "containerID", "blockIO", "throttleReadIOPSDevice", "ioPriority",
        "execCPUAffinity", "class", "disableOOMKiller", "kernelTCP",
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value, path=()):
    """All places of a configuration."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))
        else:
            yield (*path, key)


PLACES = [path for path in places(template(rootless=False)) if path]


@given(st.sampled_from(PLACES), JSON)
def test_nothing_but_a_refusal_comes_of_any_value(path, value):
    config = copy.deepcopy(template(rootless=False))
    here = config
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    try:
        check(parse(json.dumps(config).encode(), Config, "config.json"))
    except Refusal as refusal:
        assert str(refusal).startswith("config.json: $.")
        assert "; " in str(refusal)


@given(st.binary(max_size=40))
def test_nothing_but_a_refusal_comes_of_any_bytes(data):
    try:
        parse(data, Config, "config.json")
    except Refusal as refusal:
        assert str(refusal).startswith("config.json: ")
