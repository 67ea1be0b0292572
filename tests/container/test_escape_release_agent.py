"""CVE-2022-0492: no container names the program that the host runs for an empty cgroup."""

import pytest

pytestmark = pytest.mark.slow


def test_release_agents_cannot_be_set(bundle, runtime):
    """CVE-2022-0492: a cgroup of v1 can name a program that the host runs."""
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    )
    script = "for f in /sys/fs/cgroup/*/release_agent; do echo x > $f && echo wrote; done; "
    script += "mkdir /tmp/c; mount -t cgroup -o rdma c /tmp/c && echo mounted; true"
    assert "wrote" not in (said := bundle.said(runtime, script)) and "mounted" not in said
