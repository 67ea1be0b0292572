"""Where resctrl is, and what its schemata mean: texts and folders of hosts that this one is not."""

import json

import pytest

from auberge.container.config import IntelRdt
from auberge.container.record import ResctrlPlace
from auberge.container.resctrl import combined, difference, find_mount
from auberge.container.resctrl_groups import plan_groups
from auberge.container.resctrl_stats import BandwidthInfo, DomainUse, ResctrlUse, read_use
from auberge.refusal import Refusal

SYS = "24 30 0:22 / /sys rw - sysfs sysfs rw\n"
ODD = "77 24 0:61 / /mnt/with\\040space rw,relatime shared:9 - resctrl resctrl rw,cdp\n"
USUAL = "78 24 0:61 / /sys/fs/resctrl rw,relatime - resctrl none rw\n"
FOLDER = "79 24 0:61 /gold /srv/gold rw,relatime - resctrl resctrl rw\n"


@pytest.mark.parametrize(
    "text, found",
    [
        (SYS, None),
        (SYS + ODD, "/mnt/with space"),
        (SYS + ODD + USUAL, "/sys/fs/resctrl"),
        (FOLDER + USUAL, "/sys/fs/resctrl"),
        (FOLDER, None),
        ("1 2 0:3 / /x rw - tmpfs resctrl rw\n", None),
    ],
)
def test_where_it_is_mounted(text, found):
    assert find_mount(text) == found


@pytest.mark.parametrize(
    "cache, bandwidth, text",
    [
        ("", "", ""),
        ("L3:0=f;1=1f", "", "L3:0=f;1=1f\n"),
        ("", "MB:0=20", "MB:0=20\n"),
        ("L3:0=f\n", "MB:0=20", "L3:0=f\nMB:0=20\n"),
        ("L3CODE:0=f\nMB:0=70\nL3DATA:0=f", "MB:0=20", "L3CODE:0=f\nL3DATA:0=f\nMB:0=20\n"),
        ("L3:0=f\nMB:0=70", "", "L3:0=f\nMB:0=70\n"),
    ],
)
def test_both_schemas_are_one_text(cache, bandwidth, text):
    assert combined(cache, bandwidth) == text


THERE = "    L3:0=7ff;1=01f\n    MB:0=100;1= 20\n"


@pytest.mark.parametrize(
    "wanted, line",
    [
        ("L3:1=1F;0=7ff\n", None),
        ("L3:1=1f\nMB:1=11;0=100\n", None),  # a step of 10 is what the processor has
        ("L3:0=7ff\nMB:1=10\n", "MB:1=10"),
        ("L3:0=3ff\n", "L3:0=3ff"),
        ("L3:2=1\n", "L3:2=1"),
        ("L2:0=1\n", "L2:0=1"),
    ],
)
def test_shares_are_compared_by_meaning(tmp_path, wanted, line):
    (tmp_path / "info/MB").mkdir(parents=True)
    (tmp_path / "info/MB/bandwidth_gran").write_text("10\n")
    assert difference(str(tmp_path), wanted, THERE) == line


def test_a_group_that_is_to_be_locked_has_no_shares_yet():
    assert difference("/none", "L3:0=f\n", "L3:uninitialized\n") == "L3:0=f"


@pytest.fixture
def amd(tmp_path):
    """A processor with bandwidth and its counters alone, and a group on it."""
    for path, files in {
        "info/MB": {"bandwidth_gran": "1", "delay_linear": "1", "min_bandwidth": "1",
                    "num_closids": "16"},
        "info/L3_MON": {"mon_features": "mbm_total_bytes\nmbm_local_bytes\n"},
        ".": {"schemata": "MB:0=2048\n", "tasks": ""},
        "one": {"schemata": "MB:0=16\n", "tasks": ""},
        "one/mon_data/mon_L3_00": {"mbm_total_bytes": "70\n", "mbm_local_bytes": "Error\n"},
        "one/mon_data/mon_L2_00": {"mbm_total_bytes": "1\n", "mbm_local_bytes": "1\n"},
    }.items():  # fmt: skip
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / path / name).write_text(text)
    return str(tmp_path)


def test_what_a_processor_does_not_count(amd):
    with pytest.raises(Refusal) as refusal:
        plan_groups(IntelRdt(enable_cmt=True), "x", amd)
    assert str(refusal.value) == (
        "config.json: $.linux.intelRdt.enableCMT: this processor does not count llc_occupancy "
        f"({amd}/info/L3_MON/mon_features); take it out"
    )
    assert plan_groups(IntelRdt(enable_mbm=True), "x", amd).place == ResctrlPlace(
        amd, f"{amd}/x", made=True
    )


def test_what_is_no_group(amd):
    with pytest.raises(Refusal) as refusal:
        plan_groups(IntelRdt("schemata", "L3:0=f"), "x", amd)
    assert str(refusal.value) == (
        f"config.json: $.linux.intelRdt: {amd}/schemata: it is the kernel's own, not a group; "
        "choose another name"
    )


def test_what_is_used_without_a_cache_to_share(amd):
    use = read_use(ResctrlPlace(amd, f"{amd}/one"), IntelRdt("one", enable_mbm=True))
    assert use == ResctrlUse(
        mem_bw_info=BandwidthInfo(1, 1, 1, 16),
        mem_bw_schema_root="MB:0=2048", mem_bw_schema="MB:0=16", schemata=("MB:0=16",),
        bandwidth=(DomainUse("mon_L3_00", 0, 70, 0),),
    )  # fmt: skip


@pytest.mark.slow
def test_a_host_without_it(bundle):
    """runc 1.1 and crun 1.8 run such a container as if nothing had been asked; the specification
    says "the runtime MUST generate an error", and later ones of runc do."""
    with open("/proc/self/mountinfo") as file:
        if find_mount(file.read()) is not None:
            pytest.skip("this host has resctrl")
    bundle.linux["intelRdt"] = {}
    done = bundle.run("ours", "echo ran")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "auberge-oci: config.json: $.linux.intelRdt: no resctrl is mounted; mount it (mount -t "
        "resctrl resctrl /sys/fs/resctrl) if this processor and kernel have it, or take intelRdt "
        "out\n"
    )
    assert not bundle.state.exists()
    done = bundle.call("ours", "features")
    assert json.loads(done.stdout)["linux"]["intelRdt"] == {"enabled": True}
