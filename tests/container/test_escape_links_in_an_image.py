"""A symbolic link of an image, as the place of a mount, leads nowhere but inside."""

import pytest

pytestmark = pytest.mark.slow


def test_a_link_as_the_place_of_a_mount_ends_inside(bundle, runtime, outside):
    source = bundle.path / "source"
    source.mkdir()
    (bundle.root / "inner").mkdir()
    (bundle.root / "way").symlink_to("/../../../../inner")
    bundle.config["mounts"].append(
        {"destination": "/way", "source": str(source), "options": ["bind"]}
    )
    said = bundle.said(runtime, "cut -d' ' -f5 /proc/self/mountinfo")
    assert "/inner" in said.split()


def test_a_link_that_names_the_host_is_of_the_container(bundle, outside):
    (bundle.root / "way").symlink_to(outside)
    bundle.config["mounts"].append({"destination": "/way", "type": "tmpfs", "source": "t"})
    bundle.config["root"]["readonly"] = False
    done = bundle.run("ours", "true")
    assert done.returncode == 1  # there is no such folder inside, and none is made through a link
    assert [f.name for f in outside.iterdir()] == ["file"]
