"""What `-v` takes and refuses."""

import os

import pytest

from auberge.machine.share.shares import Shares
from auberge.machine.share.volume import Volume, parse_volume, parse_volumes
from auberge.refusal import Refusal


@pytest.mark.parametrize(
    "text, volume",
    [
        (".:/data", Volume(".", "/data", False)),
        ("/srv/files:/data:ro", Volume("/srv/files", "/data", True)),
        ("~/x y:/data/x y:rw", Volume("~/x y", "/data/x y", False)),
        ("a:b:/data", Volume("a:b", "/data", False)),
        ("data://data//./x/../y/", Volume("data", "/data/y", False)),
        ("data:/é", Volume("data", "/é", False)),
    ],
)
def test_a_volume(text, volume):
    assert parse_volume(text) == volume


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data",
        "/data",
        "data:",
        ":/data",
        "data:rel/ative",
        "data:/x:z",
        "data:ro",
        ":ro",
        "a\0b:/x",
    ],
)
def test_no_volume(text):
    with pytest.raises(Refusal) as refusal:
        parse_volume(text)
    assert str(refusal.value) == (
        f"volumes: {text!r} is no volume; write HOST:GUEST, or HOST:GUEST:ro, where GUEST is an"
        " absolute path in the guest"
    )


@pytest.mark.parametrize("text", ["data:/", "data:/x/..", "data:///:ro"])
def test_the_root_is_not_hidden(text):
    with pytest.raises(Refusal) as refusal:
        parse_volume(text)
    assert str(refusal.value) == (
        f"volumes: {text!r} would hide all of the guest; name a folder in it"
    )


@pytest.mark.parametrize("guest", ["/a\nb", "/a\0b", "/a\x1b[0m", "/" + "x" * 1000, "/\udc80"])
def test_a_path_that_a_guest_cannot_be_told(guest):
    with pytest.raises(Refusal) as refusal:
        parse_volume(f"data:{guest}")
    assert str(refusal.value) == (
        f"volumes: {f'data:{guest}'!r}: not a path that a guest can be told; choose a simpler one"
    )


def test_the_tag_says_where_and_how():
    assert parse_volume("data:/mnt/a b:ro").tag == b"/mnt/a b:ro"
    assert parse_volume("data:/é").tag == "/é".encode()


def test_what_is_above_is_mounted_first():
    volumes = parse_volumes(["a:/x/y/z", "b:/x", "c:/x/y:ro"])
    assert [volume.guest for volume in volumes] == ["/x", "/x/y", "/x/y/z"]


def test_two_at_the_same_place():
    with pytest.raises(Refusal) as refusal:
        parse_volumes(["a:/x", "b:/x/:ro"])
    assert str(refusal.value) == (
        "volumes: a and b are both to be /x; give one of them another place in the guest"
    )


def refusal_of(path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Refusal) as refusal:
        Shares(["/:/first:ro", f"{path}:/data"])
    assert os.listdir("/proc/self/fd") == before  # the other one was given back
    return str(refusal.value)


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "missing"
    assert refusal_of(path) == f"{path}: No such file or directory; name a folder to share"


def test_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    assert refusal_of(path) == f"{path}: not a folder; share the folder that it is in"


def test_a_link_to_a_folder_is_that_folder(tmp_path):
    (tmp_path / "d").mkdir()
    os.symlink("d", tmp_path / "link")
    shares = Shares([f"{tmp_path / 'link'}:/data"])
    assert [device.config() for device in shares.devices()] == [b"\x05\0/data"]
    shares.close()


def test_the_descriptors_of_this_process_are_shared_out(tmp_path, monkeypatch):
    import resource

    for limit, most in ((1024, 256), (1 << 20, 8192)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limit=limit: (limit, limit))
        shares = Shares([f"{tmp_path}:/a", f"{tmp_path}:/b"])
        assert [session._most_fids for _, session in shares._sessions] == [most, most]
        shares.close()
