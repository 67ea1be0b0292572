"""The bridge of containers, in network namespaces of the tests' own: the host's is not touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.bridge import need_libraries

WORLD = Path(__file__).with_name("network_world.py")
ROOT = WORLD.parents[2]
UNSHARE = "unshare --net --mount --pid --fork --kill-child --mount-proc".split()
pytestmark = pytest.mark.slow


def scenario(name, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("network namespaces with a bridge are root's; run the tests as root")
    need_libraries()
    if not shutil.which("unshare"):
        pytest.skip("no unshare here; apt install util-linux")
    return run_world(name, str(tmp_path))


def run_world(*arguments):
    """What a scenario saw."""
    done = subprocess.run(
        [*UNSHARE, sys.executable, str(WORLD), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_who_reaches_whom(tmp_path):
    seen = scenario("reach", tmp_path)
    assert seen.pop("by IPv6", []) == []
    refused = "ConnectionRefusedError"
    assert seen == {
        "addresses": ["10.90.0.2", "10.90.0.3", "10.90.0.1"],
        "two to one": "10.90.0.3",
        "two to outside": "198.51.100.1",
        "two to the host": refused,
        "two to the host's other address": refused,
        "two to the host's loopback": "TimeoutError TimeoutError",
        "two to metadata": refused,
        "two to one's port of the host": "10.90.0.1",
        "host to one": "10.90.0.1",
        "host by loopback": "10.90.0.1",
        "host by any": "10.90.0.1",
        "outside by any": "198.51.100.2",
        "outside by loopback's": refused,
        "outside to one": "TimeoutError",
        "after detach": refused,
        "lease": "container two\n",
        "remove": "br: two is connected to it; stop the container first",
        "left": [["lo", "up0"], ["lock"]],
    }


def test_a_port_belongs_to_one(tmp_path):
    seen = scenario("ports", tmp_path)
    assert seen.pop("chosen") is True
    assert seen == {
        "7000:80": "ports: 127.0.0.1:7000:80: could not process rule: file exists; another "
        "container may have the port, choose another",
        "7001:80": "ports: 127.0.0.1:7001:80: address already in use; choose another port of the "
        "host",
        "left": [["br", "brv2", "lo", "up0"], ["10.90.0.2", "lock"]],
    }


def test_a_host_becomes_a_router_for_its_bridges_alone(tmp_path):
    if not shutil.which("nft", path=os.environ["PATH"] + ":/usr/sbin"):
        pytest.skip("no nft here; apt install nftables")
    reached = ["TimeoutError", "198.51.100.1", "198.51.100.1"]
    assert scenario("forwarding", tmp_path) == {
        "before": "TimeoutError",
        "after": reached,
        "rules anew": reached,
    }


def test_rules_that_were_flushed_come_back(tmp_path):
    seen = scenario("rules_again", tmp_path)
    assert seen == {"exist": True, "before": "ConnectionRefusedError", "after": "10.90.0.1"}


def test_rates_hold_in_both_directions(tmp_path):
    """A bucket of 64 KiB is full at first; nothing else can make it faster than this."""
    seen = scenario("rates", tmp_path)
    assert seen["to the slow"] > 0.9
    assert seen["from the slow"] > 0.44
    assert seen["from the fast"] < seen["from the slow"]
    assert seen["left"] == ["br", "lo", "up0"]


def test_a_kill_at_any_step_is_collected(tmp_path):
    seen = scenario("crashes", tmp_path)
    assert seen["steps"] > 15
    assert seen["outcomes"] == ["10.90.0.2 10.90.0.1"]


def test_many_at_once_have_addresses_of_their_own(tmp_path):
    assert scenario("many", tmp_path) == {"statuses": [0] * 8, "leases": 8}
