"""Devices of a container, observed from inside: lists of v1, and the program of v2, for real."""

import os

import pytest

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_devices import confine, rules
from auberge.container.config import DeviceRule
from tests.container.confined import at_the_end, fresh_cgroup, run

pytestmark = pytest.mark.slow

TRY = """
import errno
for path in ("null", "full", "kmsg"):
    for name, mode in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
        try:
            os.close(os.open("/dev/" + path, mode))
            print(path, name, "ok")
        except OSError as error:
            print(path, name, errno.errorcode[error.errno])
"""
DENY_ALL = DeviceRule(False)
KMSG = 1, 11


@pytest.fixture(params=["v1", "v2"])
def cgroup(request):
    _, whole = fresh_cgroup("devices")
    for one in at_the_end(whole):
        first = request.param == "v1"
        node = one.node("devices") if first else one.node("")
        if node is None:
            pytest.skip(f"this host has no devices in cgroup {request.param}")
        yield Cgroup([node])


def seen(cgroup: Cgroup) -> dict[str, str]:
    status, printed = run(cgroup, TRY)
    assert status == 0
    triples = (line.split() for line in printed.splitlines())
    return {f"{path} {mode}": answer for path, mode, answer in triples}


def test_only_what_is_allowed_opens(cgroup):
    confine(cgroup, rules([DENY_ALL]))
    assert seen(cgroup) == {
        "null r": "ok", "null w": "ok", "full r": "ok", "full w": "ok",
        "kmsg r": "EPERM", "kmsg w": "EPERM",
    }  # fmt: skip


def test_reading_can_be_allowed_alone(cgroup):
    confine(cgroup, rules([DENY_ALL, DeviceRule(True, "c", *KMSG, "r")]))
    assert (seen(cgroup)["kmsg r"], seen(cgroup)["kmsg w"]) == ("ok", "EPERM")


def test_no_rules_no_limits(cgroup):
    confine(cgroup, rules([]))
    assert set(seen(cgroup).values()) == {"ok"}


def test_new_rules_take_the_place_of_the_old(cgroup):
    confine(cgroup, rules([DENY_ALL, DeviceRule(True, "c", *KMSG, "r")]))
    confine(cgroup, rules([DENY_ALL, DeviceRule(True, "c", *KMSG, "w")]))
    answers = seen(cgroup)
    assert (answers["kmsg r"], answers["kmsg w"]) == ("EPERM", "ok")
    confine(cgroup, rules([DeviceRule(True)]))
    assert set(seen(cgroup).values()) == {"ok"}


def test_a_node_that_is_denied_can_be_made_but_not_opened(cgroup, tmp_path):
    confine(cgroup, rules([DENY_ALL]))
    code = f"""
os.mknod({str(tmp_path / "node")!r}, 0o020600, os.makedev(1, 11))
try: os.open({str(tmp_path / "node")!r}, os.O_RDONLY)
except OSError as error: print(error.strerror)
"""
    assert run(cgroup, code) == (0, "Operation not permitted\n")
    assert os.path.exists(tmp_path / "node")
