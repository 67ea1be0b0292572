"""`auberge boot`: the guest's console, the guest's status, and one line for what is wrong."""

import os
import select
import signal
import subprocess

import pytest

from auberge.cli.main import main
from tests.cli.guests import ECHO, FLOOD, NOWHERE, SLEEP, SPIN, hello, write_elf
from tests.command import AUBERGE


def boot(*words, stdin=b"", **options):
    return subprocess.run(
        [*AUBERGE, "boot", *words], input=stdin, capture_output=True, timeout=60, **options
    )


def start(*words, stdout=subprocess.PIPE):
    return subprocess.Popen(
        [*AUBERGE, "boot", *words],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["reference", "interpreter", "translator", "auto"])
def test_a_guest_that_powers_off(tmp_path, engine):
    done = boot("--kernel", write_elf(tmp_path / "k", hello()), "--engine", engine)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize(("code", "status"), [(7, 7), (255, 255), (0x1FF, 255), (0x100, 1)])
def test_a_guest_that_reports_a_code(tmp_path, code, status):
    done = boot("--kernel", write_elf(tmp_path / "k", hello(code)))
    assert (done.returncode, done.stdout, done.stderr) == (status, b"hello\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize("text", [SPIN, SLEEP])
def test_a_guest_that_does_not_end_in_time(tmp_path, text):
    done = boot("--kernel", write_elf(tmp_path / "k", text), "--timeout", "0.2")
    assert (done.returncode, done.stdout, done.stderr) == (124, b"", b"")


@pytest.mark.slow
def test_a_guest_that_jumps_into_nowhere(tmp_path):
    done = boot("--kernel", write_elf(tmp_path / "k", NOWHERE))
    line = (
        b"auberge: guest: hart 0: traps for ever at 0x0 (cause 1), which is its own trap handler\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (125, b"", line)


@pytest.mark.slow
def test_what_is_piped_is_typed(tmp_path):
    done = boot("--kernel", write_elf(tmp_path / "k", ECHO), stdin=b"abc\x01xq")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"abc\x01xq", b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("text", [ECHO, SLEEP])
def test_a_signal_ends_the_run(tmp_path, number, text):
    guest = start("--kernel", write_elf(tmp_path / "k", "li a0, 0x10000000; sb a0, 0(a0);" + text))
    guest.stdout.read(1)
    guest.send_signal(number)
    assert guest.communicate(timeout=60) == (b"", b"")
    assert guest.returncode == 128 + number


@pytest.mark.slow
def test_a_reader_that_went_away_ends_the_run(tmp_path):
    guest = start("--kernel", write_elf(tmp_path / "k", FLOOD))
    assert guest.stdout.read(3) == b"yyy"
    guest.stdout.close()
    assert guest.wait(60) == 141
    assert guest.stderr.read() == b""
    guest.stdin.close()
    guest.stderr.close()


@pytest.fixture(params=["a pipe", "a terminal"])
def unread(request):
    """Two descriptors: nobody reads what is written to the second, until someone reads the first.

    A pipe and a terminal take only so much.
    """
    reader, writer = os.pipe() if request.param == "a pipe" else os.openpty()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def ends(guest):
    """The status of a guest that is expected to end."""
    try:
        return guest.wait(60)
    finally:
        guest.kill()


@pytest.mark.slow
def test_a_reader_that_does_not_read_cannot_put_off_the_end(tmp_path, unread):
    kernel = write_elf(tmp_path / "k", FLOOD)
    with start("--kernel", kernel, "--timeout", "1", stdout=unread[1]) as guest:
        assert ends(guest) == 124
        assert guest.stderr.read() == b""
    assert os.read(unread[0], 3) == b"yyy"


@pytest.mark.slow
def test_a_reader_that_does_not_read_cannot_put_off_a_signal(tmp_path, unread):
    kernel = write_elf(tmp_path / "k", FLOOD)
    with start("--kernel", kernel, stdout=unread[1]) as guest:
        assert os.read(unread[0], 3) == b"yyy"
        while select.select([], [unread[1]], [], 0.1)[1]:
            pass
        guest.send_signal(signal.SIGTERM)
        assert ends(guest) == 128 + signal.SIGTERM
        assert guest.stderr.read() == b""


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb") as full:
        guest = start("--kernel", write_elf(tmp_path / "k", hello()), stdout=full)
        assert guest.communicate(timeout=60)[1] == b"auberge: no space left on device\n"
        assert guest.returncode == 125


@pytest.mark.slow
def test_stats_go_to_stderr(tmp_path):
    done = boot("--kernel", write_elf(tmp_path / "k", hello()), "--stats")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    names = [line[:32].rstrip() for line in done.stderr.decode().splitlines()]
    assert names[:5] == ["instructions", "MIPS", "TLB misses", "in native code", "in Python"]
    assert "exits MmioWrite" in names


@pytest.mark.slow
def test_stats_of_the_translator(tmp_path):
    loop = "li t0, 10000000\n1: addi t0, t0, -1\nbnez t0, 1b\n"
    kernel = write_elf(tmp_path / "k", loop + hello())
    done = boot("--kernel", kernel, "--stats", "--engine", "translator")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    shown = {line[:32].rstrip(): line[32:].strip() for line in done.stderr.decode().splitlines()}
    assert list(shown)[5:16] == [
        "slices", "slices in regions (sampled)", "regions compiled", "regions from the cache",
        "cache hits", "regions of better code", "regions installed", "instructions of regions",
        "bytes of regions", "compiler CPU", "compiler wall",
    ]  # fmt: skip
    assert int(shown["slices"].replace(",", "")) > 100


@pytest.mark.slow
def test_icount_makes_runs_repeat(tmp_path):
    text = "rdtime a0; li a1, 0x10000000; sb a0, 0(a1);" + hello()
    kernel = write_elf(tmp_path / "k", text)
    first, second = (boot("--kernel", kernel, "--icount").stdout for _ in range(2))
    assert first == second
    assert first.endswith(b"hello\n")


@pytest.mark.slow
def test_dumpdtb_writes_the_device_tree_and_does_not_boot(tmp_path, capsys):
    kernel, tree = write_elf(tmp_path / "k", hello()), tmp_path / "tree"
    assert main(["boot", "--kernel", kernel, "--dumpdtb", str(tree)]) == 0
    assert capsys.readouterr() == ("", "")
    assert tree.read_bytes().startswith(b"\xd0\x0d\xfe\xed")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "boot: nothing to boot; name an IMAGE, as tiny, or give --kernel FILE"),
        (("absent",), "absent: no such image; make it with `auberge image build absent`"),
        (("tiny:amd64",), "tiny:amd64: not for the board virt, which runs riscv64"),
        (("--kernel", "absent"), "absent: no such file or directory; check the path"),
        (
            ("--kernel", "x", "--timeout", "soon"),
            "boot: argument --timeout: 'soon' is not a number of seconds; write 10 or 0.5; "
            "see `auberge boot --help`",
        ),
        (("--kernel", "x", "--memory", "1"), "memory: 1 is not possible; choose 1M to 1024G"),
        (("--kernel", "x", "--cpus", "0"), "cpus: 0 is not possible; choose 1 to 8"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_what_is_wrong_is_one_line(capsys, words, line):
    assert main(["boot", *words, "--engine", "reference"]) == 125
    assert capsys.readouterr() == ("", f"auberge: {line}\n")
