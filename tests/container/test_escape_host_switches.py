"""/proc and /sys have switches of the whole host: a container cannot write them."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/proc/sys/kernel/hostname",
    ],
)
def test_the_hosts_switches_cannot_be_written(bundle, runtime, path):
    said = bundle.said(runtime, f"echo x > {path}; echo status $?")
    assert said == "status 1\n"
