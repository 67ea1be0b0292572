"""Debian's unmodified kernel on our machine: one hart and two, disks, the console both ways."""

import base64

import pytest

import auberge
from auberge.image import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


def boot(tiny, words, **options):
    """The outcome and console of a boot."""
    with auberge.Machine.virt(
        tiny.kernel, tiny.initrd, f"console=ttyS0 {words}", console=lambda data: None, **options
    ) as machine:
        outcome = machine.run(timeout=240)
        return outcome, machine.console.output.replace("\r", "")


def run(tiny, command, words="quiet", **options):
    """The outcome and output of a shell command in the guest."""
    word = base64.b64encode(f"echo @@; {command}".encode()).decode()
    outcome, console = boot(tiny, f"{words} auberge.run={word}", **options)
    return outcome, console.split("@@\n", 1)[-1]


@pytest.mark.parametrize("engine", ["interpreter", "translator"])
@pytest.mark.parametrize("cpus", [1, 2])
def test_it_reports_and_powers_off(tiny, cpus, engine):
    outcome, console = boot(tiny, "earlycon=sbi auberge.report", cpus=cpus, engine=engine)
    assert outcome == auberge.PoweredOff(0)
    report = console.split("guest says:\n", 1)[1]
    assert report.startswith("Linux tiny ")
    assert "riscv64 GNU/Linux" in report and "ID=debian" in report
    assert f"smp: Brought up 1 node, {cpus} CPU" in console


def test_a_command_and_its_status(tiny):
    outcome, output = run(tiny, "nproc; cat /proc/interrupts; exit 42", cpus=2)
    assert outcome == auberge.PoweredOff(42)
    assert output.startswith("2\n")
    assert "riscv-timer" in output and "ttyS0" in output


def test_disks_survive_the_machine(tiny, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"hello".ljust(1 << 20, b"\0"))
    command = "head -c 5 /dev/vda; echo; echo world > /dev/vda; echo no > /dev/vdb; sync"
    kept = tmp_path / "kept"
    kept.write_bytes(bytes(1 << 20))
    outcome, output = run(tiny, command, disks=[f"{disk},rw", f"{kept},ro"])
    assert outcome == auberge.PoweredOff(0)
    assert output.startswith("hello\n")
    assert disk.read_bytes()[:8] == b"world\n\0\0"
    assert kept.read_bytes() == bytes(1 << 20)


def test_a_shell_by_the_virtio_console(tiny):
    with auberge.Machine.virt(
        tiny.kernel, tiny.initrd, "console=hvc0 quiet", console=lambda data: None
    ) as machine:
        machine.resize(100, 30)
        machine.console.expect("# ", timeout=200)
        machine.console.send("echo $((6 * 7)) `tty`\n")
        machine.console.expect("42 /dev/hvc0", timeout=60)
        machine.console.send("exit\n")
        assert machine.run(timeout=60) == auberge.PoweredOff(0)


def test_much_that_is_typed_arrives_whole(tiny):
    with auberge.Machine.virt(
        tiny.kernel, tiny.initrd, "console=ttyS0 quiet", console=lambda data: None
    ) as machine:
        machine.console.expect("# ", timeout=200)
        machine.console.send("stty -echo -icanon; echo g''o; head -c 95000 | md5sum\n")
        machine.console.expect("go\r\n", timeout=60)
        machine.console.send(bytes(range(32, 127)) * 1000)
        machine.console.expect("f23e77093440958bf325d13fa41ea652", timeout=60)


def test_a_run_with_icount_repeats_exactly(tiny):
    boots = [boot(tiny, "auberge.report", icount=True) for _ in range(2)]
    assert boots[0] == boots[1]
    assert boots[0][0] == auberge.PoweredOff(0)


def test_a_reboot_boots_again(tiny):
    command = base64.b64encode(b"reboot -f").decode()
    with auberge.Machine.virt(
        tiny.kernel,
        tiny.initrd,
        f"console=ttyS0 earlycon=sbi auberge.run={command}",
        console=lambda data: None,
    ) as machine:
        for _ in range(2):
            machine.console.expect("Linux version", timeout=200)
