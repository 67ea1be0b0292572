"""What `--tmpfs`, `--ulimit`, `--add-host` and `--dns` may say."""

import pytest

from auberge.container.config import Rlimit
from auberge.machine.share.volume import parse_volumes
from auberge.monitor import settings
from auberge.monitor.options import Options, check_machine
from auberge.monitor.settings import UNLIMITED, Entry, Tmpfs
from auberge.refusal import Refusal

USUAL = ("nosuid", "nodev", "noexec")


def told(parse, text):
    with pytest.raises(Refusal) as refusal:
        parse(text)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_tmpfs():
    assert settings.parse_tmpfs("/tmp") == Tmpfs("/tmp", USUAL)
    assert settings.parse_tmpfs("//a/./b/:size=50%,mode=1777,exec,uid=5") == Tmpfs(
        "/a/b", (*USUAL, "size=50%", "mode=1777", "exec", "uid=5")
    )


@pytest.mark.parametrize(
    "text",
    ["", "tmp", "/", "/x:", "/x\0", "/x:dev", "/x:size=", "/x:size", "/x:size=1t1", "/x:mode=9",
     "/x:mode=77777", "/x:uid=-1", "/x:uid=4294967295", "/x:gid=x", "/x:bind", "/x:size=1,",
     "/x:source=y", "/x:size=%", "/x:size=k", pytest.param(f"/x:uid={5000 * '9'}", id="long")],
)  # fmt: skip
def test_what_is_no_tmpfs(text):
    assert "write " in told(settings.parse_tmpfs, text) or "would hide" in told(
        settings.parse_tmpfs, text
    )


def test_one_thing_in_one_place():
    volumes = parse_volumes(["/etc:/m"])
    with pytest.raises(Refusal, match="--tmpfs: /m: something else is to be there; leave one out"):
        settings.parse_all_tmpfs(["/m/"], volumes)
    with pytest.raises(Refusal, match="something else"):
        settings.parse_all_tmpfs(["/a", "/a"], [])
    assert len(settings.parse_all_tmpfs(["/m/below", "/a"], volumes)) == 2


def test_limits():
    assert settings.parse_limit("nofile=1") == Rlimit("RLIMIT_NOFILE", 1, 1)
    assert settings.parse_limit("RLIMIT_CORE=0:-1") == Rlimit("RLIMIT_CORE", 0, UNLIMITED)
    assert settings.parse_limits(["core=1", "cpu=2", "core=unlimited"]) == [
        Rlimit("RLIMIT_CORE", UNLIMITED, UNLIMITED), Rlimit("RLIMIT_CPU", 2, 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "nofile", "nofile=", "nofile=x", "nofile=1:", "nofile=2:1", "nofile=-2", "files=1",
     "nofile=1:2:3", "nofile=18446744073709551616", "=1", "nofile=-1:5"],
)  # fmt: skip
def test_what_is_no_limit(text):
    assert told(settings.parse_limit, text).startswith("--ulimit: ")


def test_hosts():
    assert settings.parse_host("a.b-c:1.2.3.4") == Entry("a.b-c", "1.2.3.4")
    assert settings.parse_host("a:fd00::1") == settings.parse_host("a=[FD00::1]")


@pytest.mark.parametrize(
    "text",
    ["", "a", ":1.2.3.4", "a:", "a b:1.2.3.4", "a:1.2.3", "a:host-gateway", "a\n:1.2.3.4",
     "a:1.2.3.4\nb", "x" * 254 + ":1.2.3.4", "a:fd00::1%eth0\n1.2.3.4 b"],
)  # fmt: skip
def test_what_is_no_host(text):
    assert told(settings.parse_host, text).startswith("--add-host: ")


def test_no_more_hosts_and_servers_than_make_sense():
    assert settings.parse_servers(["1.1.1.1", "::1"]) == ["1.1.1.1", "::1"]
    assert "takes 3" in told(settings.parse_servers, ["1.1.1.1"] * 4)
    assert "is no address" in told(settings.parse_servers, ["dns.example"])
    assert "256 is the most" in told(settings.parse_hosts, ["a:1.1.1.1"] * 257)


def test_a_machine_can_have_an_entry_point_and_a_signal():
    check_machine(Options("0" * 64, "x", entrypoint=("a",), stop_signal="HUP"))
    with pytest.raises(Refusal, match="--dns: 1.1.1.1: a machine cannot be told that"):
        check_machine(Options("0" * 64, "x", dns=("1.1.1.1",)))
