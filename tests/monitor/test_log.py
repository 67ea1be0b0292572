"""The log of a guest: exact bytes, bounded files, who follows, full and damaged disks."""

import json
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.monitor.log import Log, entries, follow

pytestmark = pytest.mark.timeout(200)


def text(folder, stream=None):
    return b"".join(e.data for e in entries(str(folder)) if stream in (None, e.stream))


def test_a_line_is_as_in_dockers_log(tmp_path):
    log = Log(str(tmp_path))
    log.add(1, "grün\nand\n".encode())
    log.add(2, b"no end")
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.json").read_text().splitlines()]
    assert [(e["stream"], e["log"]) for e in lines] == [
        ("stdout", "grün\n"),
        ("stdout", "and\n"),
        ("stderr", "no end"),
    ]
    assert all(len(e["time"]) == 30 and e["time"].endswith("Z") for e in lines)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))))
def test_no_byte_is_changed(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("log")
    log = Log(str(folder))
    for stream, data in parts:
        log.add(stream, data)
    log.close()
    for number, name in ((1, "stdout"), (2, "stderr")):
        assert text(folder, name) == b"".join(data for s, data in parts if s == number)
    assert all(e.data.count(b"\n") <= 1 and e.data for e in entries(str(folder)))


def test_it_stays_bounded_and_keeps_the_last(tmp_path):
    log = Log(str(tmp_path), room=10_000)
    for number in range(3000):
        log.add(1, b"%d\n" % number)
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["log.json", "log.json.1"]
    assert all(os.path.getsize(tmp_path / name) < 10_200 for name in os.listdir(tmp_path))
    numbers = list(map(int, text(tmp_path).split()))
    assert numbers == list(range(numbers[0], 3000)) and len(numbers) > 100


def test_it_goes_on_after_a_kill_in_the_middle_of_a_line(tmp_path):
    log = Log(str(tmp_path))
    log.add(1, b"before\n")
    with open(tmp_path / "log.json", "ab") as file:
        file.write(b'{"log": "cut o')
    log = Log(str(tmp_path))
    log.add(1, b"after\n")
    assert text(tmp_path) == b"before\nafter\n"


def test_a_disk_that_is_full_in_the_middle_of_a_line_costs_no_other(tmp_path, monkeypatch):
    log, real = Log(str(tmp_path)), os.write
    log.add(1, b"one\n")

    def full(fd, data):
        if len(data) < 20:
            raise OSError(28, "no space left on device")
        return real(fd, data[: len(data) - 10])

    with monkeypatch.context() as patched:
        patched.setattr("auberge.monitor.log.os.write", full)
        log.add(1, b"lost\n")
    log.add(1, b"two\n")
    log.close()
    assert text(tmp_path) == b"one\ntwo\n" and log.lost == 5


def test_what_is_no_entry_is_passed_over(tmp_path):
    good = '{"log": "good\\n", "stream": "stdout", "time": "t"}\n'
    bad = ["\n", "[]\n", "[" * 100_000 + "\n", '{"log": 1, "stream": "stdout", "time": "t"}\n']
    bad += ['{"log": "x", "stream": "stdin", "time": "t"}\n', '{"log": "x"}\n']
    bad += ["\0" * 3_000_000 + "\n", '{"log": "\\ud800", "stream": "stdout", "time": "t"}\n']
    (tmp_path / "log.json").write_text(good.join(["", *bad, ""]))
    assert text(tmp_path) == b"good\n" * (len(bad) + 1)
    followed = [e.data for e in follow(str(tmp_path), lambda: False)]
    assert b"".join(followed) == text(tmp_path)


def test_a_full_disk_loses_lines_and_says_how_much(tmp_path):
    (tmp_path / "log.json").symlink_to("/dev/full")
    log = Log(str(tmp_path))
    log.add(1, b"12345\n")
    assert log.lost == 6, "nor is a link followed"


@pytest.mark.parametrize("room", [400, 5_000, 1 << 20])
def test_who_follows_sees_all_across_files(tmp_path, room):
    """A reader may be slower than the files are put aside; what it does see is in order."""
    log = Log(str(tmp_path), room=room)
    ended = threading.Event()
    got: list[int] = []

    def read():
        for entry in follow(str(tmp_path), lambda: not ended.is_set()):
            if entry is not None:
                got.append(int(entry.data))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(2000):
        log.add(1 + number % 2, b"%d\n" % number)
    log.close()
    ended.set()
    reader.join(60)
    assert not reader.is_alive()
    assert got == sorted(set(got)) and got[-1] == 1999
    if room == 1 << 20:
        assert got == list(range(2000))


def test_who_follows_before_there_is_a_log(tmp_path):
    ended, got = threading.Event(), []
    seen = threading.Event()

    def read():
        for entry in follow(str(tmp_path), lambda: not ended.is_set()):
            if entry is not None:
                got.append(entry.data)
                seen.set()

    reader = threading.Thread(target=read)
    reader.start()
    log = Log(str(tmp_path))
    log.add(1, b"first")
    assert seen.wait(60), "it is there before the line is complete"
    log.add(1, b" and last\n")
    ended.set()
    reader.join(60)
    assert b"".join(got) == b"first and last\n"
