"""Where cgroups are: the layouts in the field, recorded from hosts that this one is not."""

import pytest

from auberge.container.cgroups_layout import Layout, find_layout, read_layout
from auberge.refusal import Refusal
from tests.container.hierarchies import HYBRID, IN_A_CONTAINER, V1, V2, V2_CONTROLLERS


def paths(layout: Layout, path: str | None = "/auberge/one") -> dict[str, str]:
    return {",".join(n.controllers): n.path for n in layout.place(path, "one")}


def test_v1_with_controllers_that_share_a_hierarchy():
    layout = find_layout(*V1)
    assert layout.kind == "v1"
    at = paths(layout)
    assert at["cpu,cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct/auberge/one"
    assert at["net_cls,net_prio"] == "/sys/fs/cgroup/net_cls,net_prio/auberge/one"
    assert at["name=systemd"] == "/sys/fs/cgroup/systemd/auberge/one"
    assert len(at) == 11


def test_hybrid_has_both(tmp_path):
    layout = find_layout(*HYBRID, root=str(tmp_path))
    assert layout.kind == "hybrid"
    assert [h.version for h in layout.hierarchies] == [1, 1, 1, 1, 2]
    assert paths(layout)[""] == f"{tmp_path}/sys/fs/cgroup/unified/auberge/one"


def test_v2_with_its_controllers(tmp_path):
    mount = tmp_path / "sys/fs/cgroup"
    mount.mkdir(parents=True)
    (mount / "cgroup.controllers").write_text(V2_CONTROLLERS)
    layout = find_layout(*V2, root=str(tmp_path))
    assert layout.kind == "v2"
    assert layout.hierarchies[0].controllers == tuple(V2_CONTROLLERS.split())


def test_no_cgroups_at_all():
    layout = find_layout("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "")
    assert (layout.kind, layout.place(None, "one")) == ("none", ())


def test_a_named_hierarchy_alone_does_not_make_a_hybrid():
    mounts = (
        "1 0 0:1 / /a rw - cgroup cgroup rw,name=systemd\n"
        "2 0 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    )
    assert find_layout(mounts, "1:name=systemd:/\n0::/\n").kind == "v2"


def test_a_relative_path_is_below_our_own_cgroup_in_v1():
    at = paths(find_layout(*V1), "mine/one")
    assert at["memory"] == "/sys/fs/cgroup/memory/user.slice/user-1000.slice/mine/one"
    assert at["hugetlb"] == "/sys/fs/cgroup/hugetlb/mine/one"


def test_a_relative_path_is_beside_our_own_cgroup_in_v2():
    """Ours has processes, and so no children with controllers: "No Internal Process Constraint"."""
    app = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice"
    assert paths(find_layout(*V2), None) == {"": f"{app}/one"}


def test_a_mount_that_shows_a_part_is_seen_from_there():
    assert find_layout(*IN_A_CONTAINER).hierarchies[0].own == "/mine"
    assert paths(find_layout(*IN_A_CONTAINER), "x") == {"": "/sys/fs/cgroup/x"}


def test_the_widest_of_several_mounts_counts():
    mounts = (
        "1 0 0:1 /a/b /narrow rw - cgroup2 cgroup2 rw\n"
        "2 0 0:1 / /wi\\040de rw - cgroup2 cgroup2 rw\n"
        "3 0 0:1 /a /narrower rw - cgroup2 cgroup2 rw\n"
    )
    hierarchy = find_layout(mounts, "0::/a/b\n").hierarchies[0]
    assert (hierarchy.mount, hierarchy.own) == ("/wi de", "/a/b")


@pytest.mark.parametrize(
    "path, complaint",
    [
        ("/a/../../etc", "'/a/../../etc' leads upwards; write it without '..'"),
        ("../x", "'../x' leads upwards; write it without '..'"),
        ("/", "'/' is the root; name a cgroup in it"),
        ("/./", "'/./' is the root; name a cgroup in it"),
    ],
)
def test_a_path_that_is_no_place(path, complaint):
    with pytest.raises(Refusal) as refusal:
        find_layout(*V2).place(path, "one")
    assert str(refusal.value) == f"config.json: $.linux.cgroupsPath: {complaint}"


def test_this_host_has_one_of_them():
    assert read_layout().kind in ("v1", "hybrid", "v2", "none")
