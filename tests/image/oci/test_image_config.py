"""What an image says about running it becomes what a runtime does."""

import pytest

from auberge.image.oci import runtime
from auberge.image.oci.config import ImageConfig, Port, read_config, write_config
from auberge.image.oci.document import write
from auberge.image.oci.identity import Identity, identify, read_file
from auberge.image.oci.importer import import_image
from auberge.refusal import Refusal
from tests.image.oci.archives import Layout, configuration, folder, link, member, tar_of

PASSWD = (
    b"root:x:0:0::/root:/bin/sh\nme:x:1000:100::/home/me:/bin/sh\nbad:x:y:z::/:\n7:x:9:9::/nine:\n"
)
GROUP = b"root:x:0:\nusers:x:100:\nwheel:x:10:root,me\naudio:x:29:me\n"
LAYER = tar_of([folder("etc"), member("etc/passwd", PASSWD), member("etc/group", GROUP)])
SETTINGS = {
    "User": "me",
    "ExposedPorts": {"80": {}, "53/udp": {}},
    "Env": ["PATH=/bin", "A=1"],
    "Entrypoint": ["/entry"],
    "Cmd": ["one", "two"],
    "Volumes": {"/data": {}},
    "WorkingDir": "/work",
    "Labels": {"org.opencontainers.image.author": "labelled", "x": "y"},
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD", "true"]},
}


@pytest.fixture
def record(cache, tmp_path):
    def make(settings, layers=(LAYER,)):
        config = configuration(layers, author="me", created="2026-01-01T00:00:00Z")
        path = Layout().image(layers, {**config, "config": settings}).write(tmp_path / "l")
        return import_image(path)[0]

    return make


def test_an_image_says_how_it_is_run(record):
    box = record(SETTINGS)
    assert runtime.defaults(box) == runtime.Defaults(
        args=("/entry", "one", "two"),
        env=("PATH=/bin", "A=1", "HOME=/home/me"),
        cwd="/work",
        user=Identity(1000, 100, (10, 29), "/home/me"),
        volumes=("/data",),
        stop_signal="SIGQUIT",
        annotations={
            "org.opencontainers.image.os": "linux",
            "org.opencontainers.image.architecture": "amd64",
            "org.opencontainers.image.author": "labelled",
            "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
            "org.opencontainers.image.stopSignal": "SIGQUIT",
            "org.opencontainers.image.exposedPorts": "80/tcp,53/udp",
            "x": "y",
        },
    )
    assert runtime.image_config(box).exposed_ports == (Port(80, "tcp"), Port(53, "udp"))


def test_a_user_has_the_last_word(record):
    found = runtime.defaults(
        record(SETTINGS), ["sh"], user="0", env=["A=2", "B=3", "HOME=/h"], cwd="/tmp"
    )
    assert found.args == ("/entry", "sh")
    assert found.env == ("PATH=/bin", "A=2", "B=3", "HOME=/h")
    assert (found.cwd, found.user) == ("/tmp", Identity(0, 0, (10,), "/root"))


def test_what_an_image_does_not_say(record):
    found = runtime.defaults(record({"Cmd": ["sh"]}))
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert found.env == (path, "HOME=/root")
    assert (found.cwd, found.stop_signal, found.volumes) == ("/", "SIGTERM", ())


def test_an_image_without_a_command(record):
    box = record(None)
    assert runtime.defaults(box, ["ls"]).args == ("ls",)
    with pytest.raises(Refusal) as refused:
        runtime.defaults(box)
    assert str(refused.value) == "box:amd64: the image names no command; give one"


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", Identity(0, 0, (10,), "/root")),
        ("root", Identity(0, 0, (10,), "/root")),
        ("me", Identity(1000, 100, (10, 29), "/home/me")),
        ("1000", Identity(1000, 100, (10, 29), "/home/me")),
        ("me:users", Identity(1000, 100, (), "/home/me")),
        ("me:5", Identity(1000, 5, (), "/home/me")),
        ("4000", Identity(4000, 0, (), "/")),
        ("4000:4001", Identity(4000, 4001, (), "/")),
        # as docker has it: a name that is a number comes before the number
        ("7", Identity(9, 9, (), "/nine")),
    ],
)
def test_users(record, user, identity):
    assert identify(user, record({}).layers, "box") == identity


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("nobody", "no user 'nobody' in the image's /etc/passwd; give a number"),
        ("bad", "no user 'bad' in the image's /etc/passwd; give a number"),
        ("4294967295", "no user '4294967295' in the image's /etc/passwd; give a number"),
        ("me:none", "no group 'none' in the image's /etc/group; give a number"),
    ],
)
def test_users_that_are_none(record, user, why):
    with pytest.raises(Refusal) as refused:
        identify(user, record({}).layers, "box")
    assert str(refused.value) == f"box: {why}"


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([tar_of([member("etc/passwd", b"new")])], b"new"),
        ([tar_of([folder("other")])], PASSWD),
        ([tar_of([member("etc/.wh.passwd")])], None),
        ([tar_of([member(".wh.etc")])], None),
        ([tar_of([member("etc/.wh..wh..opq")])], None),
        ([tar_of([link("etc", "/etc")])], None),
        ([tar_of([link("etc/passwd", "/etc/passwd")])], None),
        ([tar_of([folder("etc/passwd")])], None),
        ([tar_of([member("etc/passwd", kind=b"6")])], None),
        ([tar_of([member("etc/.wh.passwd")]), tar_of([member("etc/passwd", b"again")])], b"again"),
    ],
)
def test_a_file_of_layers_that_are_not_mounted(record, layers, found):
    """Never the host's, whatever a link says."""
    assert read_file(record({}, [LAYER, *layers]).layers, "etc/passwd") == found


def test_what_is_written_is_read_again():
    config = ImageConfig(
        "arm",
        "v7",
        "2026-01-01T00:00:00Z",
        "me",
        "1:2",
        (Port(80, "tcp"),),
        ("A=b",),
        ("/e",),
        ("c",),
        ("/v",),
        "/w",
        {"l": "m"},
        "SIGINT",
        ("sha256:" + "0" * 64,),
    )
    assert read_config(write(write_config(config, {}, {})), "config") == config
    assert config.platform == "arm-v7"


def test_what_has_no_name_here_stays():
    before = {"config": {"Healthcheck": {"Test": ["CMD"]}, "User": "old"}, "history": [{"a": 1}]}
    document = write_config(ImageConfig("amd64"), {"b": 2}, before)
    assert document["config"] == {"Healthcheck": {"Test": ["CMD"]}}
    assert document["history"] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("history", "complete"),
    [
        (None, [{"created_by": "unknown"}] * 2),
        (
            [{"a": 1}, {"empty_layer": True}],
            [{"created_by": "unknown"}, {"a": 1}, {"empty_layer": True}],
        ),
        ([{"a": 1}, {"b": 1}], [{"a": 1}, {"b": 1}]),
    ],
)
def test_a_history_has_an_event_for_each_layer(history, complete):
    """Podman refuses to build on others."""
    config = ImageConfig("amd64", diff_ids=("sha256:" + "0" * 64,) * 3)
    document = write_config(config, {"new": 1}, {"history": history})
    assert document["history"] == [*complete, {"new": 1}]
