"""Which resolvers the host has: what resolv.conf(5) says, and nothing that must be looked up."""

from auberge.machine.net.user import host_resolvers


def test_resolvers_are_read_from_resolv_conf(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_bytes(
        b"# nameserver 1.1.1.1\nsearch example\nnameserver 127.0.0.53\n nameserver\t::1\n"
        b"nameserver a.name\nnameserver\nnameserver fe80::1%eth0\nnameserver 300.1.1.1\n\xff\xff\n"
    )
    assert host_resolvers(str(path)) == ["127.0.0.53", "::1"]


def test_a_host_without_resolvers(tmp_path):
    assert host_resolvers(str(tmp_path / "none")) == []
