"""What options may say: refused in one line, and the same again from JSON."""

import json

import pytest

from auberge.monitor.options import (
    Options,
    bytes_of,
    capabilities,
    check,
    millicpus_of,
    read_options,
    written,
)
from auberge.refusal import Refusal

ID = "0123456789abcdef" * 4
WHOLE = Options(
    ID, "debian:amd64", ("sh", "-c", "true"), "web", "container", ("A=b=c", "E="), "/home",
    "nobody:nogroup", ("/etc:/etc/host:ro", "/tmp:/t"), 1 << 28, 1500, 64, "user",
    ("8080:80", "0.0.0.0:53:53/udp"), "box", True, ("CAP_NET_ADMIN",), ("ALL",), {"a": "b"}, True,
    True, True, True,
)  # fmt: skip


def test_options_come_back_from_json():
    assert check(WHOLE) == WHOLE
    assert read_options(json.loads(json.dumps(written(WHOLE)))) == WHOLE
    assert read_options(json.loads(json.dumps(written(Options(ID, "x"))))) == Options(ID, "x")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"id": "short"}, "id: 'short' is not 64 hexadecimal digits; leave it to Auberge"),
        ({"name": "../x"},
         "'../x': not a name; write letters, digits, '_', '.' and '-', at most 63"),
        ({"isolation": "process"},
         "--isolation: 'process': not for images; write one of container, machine"),
        ({"env": ("=x",)}, "-e: '=x' is not NAME=VALUE; write it so"),
        ({"env": ("A=\0",)}, "'A=\\x00': has a NUL in it; take it out"),
        ({"cwd": "home"}, "-w: 'home' is not absolute; write /home"),
        ({"volumes": ("/etc",)},
         "volumes: '/etc' is no volume; write HOST:GUEST, or HOST:GUEST:ro, where GUEST is an "
         "absolute path in the guest"),
        ({"memory": -1}, "--memory: -1 is no limit; write more than 0, or leave it out"),
        ({"pids": 1 << 62},
         f"--pids: {1 << 62} is no limit; write more than 0, or leave it out"),
        ({"net": "own"}, "--net: 'own' is no network; write none, host or user"),
        ({"net": "none"},
         "ports: 127.0.0.1:8080:80: with --net none no port is forwarded; use --net user, or leave "
         "it out"),
        ({"ports": ("80",)},
         "ports: '80' is no forward; write HOST:GUEST, ADDRESS:HOST:GUEST, or /udp after it"),
        ({"hostname": "-x"},
         "--hostname: '-x' is no name; write up to 64 letters, digits, '-' and '.'"),
        ({"cap_add": ("SYS_ROOT",)},
         "--cap-add: 'SYS_ROOT' is no capability; see capabilities(7), or write ALL"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(change, text):
    with pytest.raises(Refusal) as refusal:
        check(WHOLE._replace(**change))
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    "change",
    [
        {"image": 1}, {"command": "sh"}, {"command": [1]}, {"labels": {"a": 1}}, {"memory": True},
        {"memory": "1"}, {"terminal": 1}, {"more": 1},
    ],
)  # fmt: skip
def test_damaged_options_are_refused(change):
    with pytest.raises(Refusal, match="its options are damaged"):
        read_options({**written(WHOLE), **change})
    with pytest.raises(Refusal, match="its options are damaged"):
        read_options(None)


def test_capabilities_are_written_in_any_way():
    assert capabilities(["net_admin", "CAP_CHOWN", "all"], "") == (
        "CAP_NET_ADMIN", "CAP_CHOWN", "ALL"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "count"), [("1", 1), ("64k", 1 << 16), ("256M", 1 << 28), ("2gb", 2 << 30), (9, 9)]
)
def test_sizes(size, count):
    assert bytes_of(size) == count


@pytest.mark.parametrize("size", ["", "M", "0", "-1", "1.5G", "1X", "9" * 16, "٣"])
def test_what_is_no_size(size):
    with pytest.raises(Refusal) as refusal:
        bytes_of(size)
    assert str(refusal.value) == f"--memory: {size!r} is not a size; write it as 256M or 2G"


def test_processors():
    assert [millicpus_of(text) for text in ("1.5", 2, "0.01")] == [1500, 2000, 10]
    for text in ("", "none", "0", "-1", "nan", "inf", "1e9"):
        with pytest.raises(Refusal, match="no number of processors; write 1.5, or 0.01 at least"):
            millicpus_of(text)
