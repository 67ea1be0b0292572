"""Linux on several harts, paused thousands of times, and by debuggers that come and go: unharmed.

A dose; more by hand: `python -m tests.machine.test_smp_linux_interrupted PAUSES HARTS`.
"""

import base64
import random
import sys
import threading
import time

import pytest

import auberge
from auberge.image import build
from tests.machine.debug.client import Client, Running

# What takes all harts, and has one right answer: a checksum of as many numbers, in 4 processes.
WORK = """
for n in 1 2 3 4; do seq 1 {size} | md5sum > /tmp/$n & done
wait
cat /tmp/[1-4] | sort -u
dmesg | grep -E 'BUG|Oops|stall|lockup|hung|WARNING|Call Trace'
echo @end
"""
SIZE, CHECKSUM = 30_000, "0a61f0919f546ce04fc119b028b88a2e"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280, method="thread")]


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


def linux(tiny, cpus):
    word = base64.b64encode(f"echo @@; {WORK.format(size=SIZE)}".encode()).decode()
    return auberge.Machine.virt(
        tiny.kernel,
        tiny.initrd,
        f"console=ttyS0 quiet auberge.run={word}",
        cpus=cpus,
        console=lambda data: None,
    )


def check(machine):
    output = machine.console.output.replace("\r", "").partition("@@\n")[2]
    assert output.partition("@end\n")[:2] == (f"{CHECKSUM}  -\n", "@end\n")


def paused(tiny, cpus, most, seed):
    """Boot and work, paused at random moments but at most so often; how often it was."""
    r, over, pauses = random.Random(seed), threading.Event(), 0
    with linux(tiny, cpus) as machine:

        def pausing():
            while not over.is_set():
                machine.pause()
                time.sleep(r.random() * 0.006)

        thread = threading.Thread(target=pausing)
        thread.start()
        try:
            while (outcome := machine.run(timeout=240)) == auberge.Paused():
                pauses += 1
                if pauses == most:
                    over.set()
        finally:
            over.set()
            thread.join()
        assert outcome == auberge.PoweredOff(0)
        check(machine)
    return pauses


def test_pauses(tiny):
    assert paused(tiny, 4, 500, 4) >= 100


def test_debuggers_that_come_and_go(tiny):
    """Each interrupts, looks, steps a hart or lets all go on for a little, and leaves its way."""
    r = random.Random(3)
    with linux(tiny, 3) as machine:
        address = machine.gdb("0")
        running = Running(machine, timeout=240)
        for _ in range(40):
            with Client(address) as client:
                assert client.ask(b"?")[:1] == b"T"
                for _ in range(r.randrange(4)):
                    hart = r.randrange(1, 4)
                    assert len(client.ask(b"Hg%x" % hart)) == 2
                    assert len(client.ask(b"g")) == 16 * 65
                    kind = r.randrange(3)
                    if kind == 0:
                        assert client.ask(b"vCont;s:%x" % hart)[:1] == b"T"
                    elif kind == 1:
                        client.send(b"vCont;c")
                        time.sleep(r.random() * 0.01)
                        client.raw(b"\x03")
                        assert client.answer()[:1] == b"T"
                if r.randrange(4):
                    assert client.ask(b"D") == b"OK"
            time.sleep(r.random() * 0.02)
        with Client(address) as client:
            client.ask(b"?")
            client.ask(b"D")
        running.thread.join(240)
        assert running.outcome == auberge.PoweredOff(0)
        check(machine)


if __name__ == "__main__":
    image = build("tiny", "riscv64")
    begin, done = time.time(), 0
    while done < int(sys.argv[1]):
        done += paused(image, int(sys.argv[2]), int(sys.argv[1]) - done, done)
        print(f"{done} pauses in {time.time() - begin:.0f} s")
