"""Addresses of a bridge: a lock, and a file for each."""

import fcntl

import pytest

from auberge.container.network_leases import Lease, Leases, parse_subnet
from auberge.machine.net.forward import parse_forward
from auberge.refusal import Refusal


def leases(tmp_path):
    return Leases(str(tmp_path / "br"), parse_subnet("10.90.0.0/29"))


def test_the_lowest_free_address(tmp_path):
    found = leases(tmp_path)
    with found.locked():
        assert [found.take(name, ()).number for name in "abc"] == [2, 3, 4]
        found.free(Lease(3, "b"))
        assert found.take("d", ()).number == 3
        assert [lease.container for lease in found.all()] == ["a", "d", "c"]


def test_an_address_is_not_freed_for_who_had_it_before(tmp_path):
    found = leases(tmp_path)
    with found.locked():
        found.take("a", ())
        found.free(Lease(2, "somebody else"))
        found.free(Lease(5, "nobody"))
        assert found.all() == [Lease(2, "a")]


def test_a_file_says_it_all(tmp_path):
    found = leases(tmp_path)
    forwards = parse_forward("8080:80"), parse_forward("0.0.0.0:53:53/udp")
    with found.locked():
        found.take("web", forwards)
        assert found.all() == [Lease(2, "web", forwards)]
    text = "container web\nforward 127.0.0.1:8080:80\nforward 0.0.0.0:53:53/udp\n"
    assert (tmp_path / "br" / "10.90.0.2").read_text() == text


def test_what_is_no_lease_is_passed_over(tmp_path):
    found = leases(tmp_path)
    with found.locked():
        found.take("a", ())
    for name in ("10.90.0.1", "10.90.0.7", "10.91.0.2", "999.1.1.1", "notes", "1.2.3", ".new"):
        (tmp_path / "br" / name).write_text("container x\n")
    (tmp_path / "br" / "10.90.0.3").write_bytes(b"forward nonsense\n\xff")
    with found.locked():
        assert found.all() == [Lease(2, "a"), Lease(3, "")]


def test_all_are_taken(tmp_path):
    found = leases(tmp_path)
    with found.locked(), pytest.raises(Refusal) as refusal:
        for number in range(9):
            found.take(str(number), ())
    assert str(refusal.value) == (
        "network: all addresses of 10.90.0.0/29 are taken; stop a container, or make the network "
        "larger"
    )
    with found.locked():
        assert [lease.number for lease in found.all()] == [2, 3, 4, 5, 6]


def test_the_lock_keeps_others_out(tmp_path):
    found = leases(tmp_path)
    with found.locked(), open(tmp_path / "br" / "lock") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(tmp_path / "br" / "lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("text", ["10.90.0.0", "10.90.0/16", "10.90.0.0/31", "1.2.3.400/16", "x/8"])
def test_a_network_that_is_none(text):
    with pytest.raises(Refusal) as refusal:
        parse_subnet(text)
    assert str(refusal.value) == (
        f"network: {text!r} is no IPv4 network for a bridge; write one such as '10.90.0.0/16', "
        "with /8 to /29"
    )


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refusal) as refusal:
        with Leases(str(tmp_path / "file" / "x"), parse_subnet("10.0.0.0/8")).locked():
            pass
    assert str(refusal.value) == (f"{tmp_path}/file/x: not a directory; be root, or use --net user")


def test_numbers_of_a_network():
    subnet = parse_subnet("10.90.3.4/16")
    assert (str(subnet), subnet.gateway, subnet.host(2)) == (
        "10.90.0.0/16",
        "10.90.0.1",
        "10.90.0.2",
    )
    assert subnet.host(subnet.last) == "10.90.255.254"
