"""CVE-2014-8989: who leaves a group may be allowed what its members are denied."""

import errno

import pytest

from tests.container.bundles import ROOT
from tests.container.tables import program

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ROOT, reason="only root can be others")]


def test_groups_cannot_be_dropped_to_get_past_a_rule(run_as_user):
    """Nor is that allowed again from inside."""
    done = run_as_user("echo allow > /proc/self/setgroups; su nobody -s /bin/true; echo over")
    assert done.stdout == "over\n"
    assert "Operation not permitted" in done.stderr


def test_the_system_call_is_denied(run_as_user, open_path):
    """Not just `su`: setgroups(2) itself, by the container's root."""
    program(open_path / "rootfs/leaves", "setgroups", 0, 0)
    done = run_as_user("/leaves; echo $?")
    assert done.stdout == f"{errno.EPERM}\n", done.stderr
