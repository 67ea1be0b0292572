"""What `-p` takes and refuses."""

import pytest

from auberge.machine.net.choose import make_network
from auberge.machine.net.forward import Forward, parse_forward
from auberge.refusal import Refusal


@pytest.mark.parametrize(
    "text, forward",
    [
        ("8080:80", Forward("127.0.0.1", 8080, 80, False)),
        ("0:22/tcp", Forward("127.0.0.1", 0, 22, False)),
        ("0.0.0.0:53:53/udp", Forward("0.0.0.0", 53, 53, True)),
    ],
)
def test_a_forward(text, forward):
    assert parse_forward(text) == forward


@pytest.mark.parametrize(
    "text",
    ["", "80", "80:", ":80", "80:0", "65536:1", "1:65536", "a:1", "1:2:3", "1.2.3:1:2", ":1:2",
     "1.2.3.256:1:2", "1.2.3.4:5:6:7", "1:2/sctp", "1:2/", "-1:2", "1:2/udp/udp", "[::1]:1:2"],
)  # fmt: skip
def test_no_forward(text):
    with pytest.raises(Refusal) as refusal:
        parse_forward(text)
    assert str(refusal.value) == (
        f"ports: {text!r} is no forward; write HOST:GUEST, ADDRESS:HOST:GUEST, or /udp after it"
    )


def test_a_forward_needs_a_network():
    with pytest.raises(Refusal) as refusal:
        make_network("none", ["8080:80"], bytes)
    assert str(refusal.value) == (
        "ports: 127.0.0.1:8080:80 leads to a guest without a network; use net user"
    )
    assert make_network("none", [], bytes) is None


def test_networks_have_names():
    with pytest.raises(Refusal) as refusal:
        make_network("host", [], bytes)
    assert str(refusal.value) == (
        "net: 'host' is no network; choose none or user; after user, with commas,"
        " host-loopback and one of passt and builtin are possible"
    )


@pytest.mark.parametrize("protocol", ["", "/udp"])
def test_a_port_that_is_taken(protocol):
    network = make_network("user", [f"0:1{protocol}"], bytes)
    try:
        port = network.ports[0].host
        with pytest.raises(Refusal) as refusal:
            make_network("user", [f"{port}:1{protocol}"], bytes)
        assert str(refusal.value) == (
            f"ports: 127.0.0.1:{port}:1{protocol}: Address already in use;"
            " choose another port or address of this host"
        )
    finally:
        network.close()
