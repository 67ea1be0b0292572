"""`auberge boot -v`: what is wrong is said in one line; a guest's open files are ours too."""

import resource

import pytest

from auberge.machine.share.shares import DESCRIPTORS, allow_descriptors
from tests.machine.fakes import image


@pytest.mark.parametrize(
    "volume, said",
    [
        ("/no/such:/data", "/no/such: No such file or directory; name a folder to share"),
        ("Image:/data", "Image: not a folder; share the folder that it is in"),
        ("/proc:/data", "/proc: has the memory of processes in it; share another folder"),
        (".:/", "volumes: '.:/' would hide all of the guest; name a folder in it"),
    ],
)
def test_a_refusal_is_one_line(tmp_path, monkeypatch, capsys, volume, said):
    from auberge.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "Image").write_bytes(image())
    assert main(["boot", "--kernel", "Image", "--net", "none", "-v", volume]) == 125
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"auberge: {said}\n")


def test_this_process_may_have_more_files_open():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        allow_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(DESCRIPTORS, before[1])
        allow_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
