"""CVE-2025-52881: what an image, or a mount, has at /proc is not taken for the kernel's."""

import pytest

pytestmark = pytest.mark.slow


def test_sysctls_are_not_written_through_the_images_own_proc(bundle, outside):
    """CVE-2025-52881: what is at /proc/sys may be anything."""
    fake = bundle.path / "fake"
    (fake / "sys/kernel").mkdir(parents=True)
    (fake / "sys/kernel/msgmax").symlink_to(outside / "file")
    bundle.config["mounts"][0] = {"destination": "/proc", "source": str(fake), "options": ["bind"]}
    bundle.linux["sysctl"] = {"kernel.msgmax": "4000"}
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    assert bundle.said("ours", "echo fine") == "fine\n"
    assert (outside / "file").read_text() == "of the host\n"
