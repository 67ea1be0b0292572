"""A kernel that boots on two harts, while it is looked at and hooks come and go, boots."""

import threading
import time

import pytest

import auberge
from auberge.image import find
from auberge.machine.debug.walk import Allowed, Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


def test_linux_does_not_notice():
    tiny = find("tiny", "riscv64")
    if tiny is None:
        pytest.skip("no image tiny: `auberge image build tiny`")
    options = {"memory": "256M", "cpus": 2, "console": lambda data: None}
    with auberge.Machine.virt(tiny.kernel, tiny.initrd, "console=ttyS0", **options) as machine:
        outcomes, looks, calls = [], 0, 0
        thread = threading.Thread(
            target=lambda: outcomes.append(machine.run(until="# ", timeout=240))
        )
        thread.start()
        while thread.is_alive():
            with machine.stopped():
                pcs = [hart.pc for hart in machine.harts]
                if looks % 20 == 0:
                    found = machine.harts[0].translate(pcs[0])
                    # Else it has just jumped to where nothing is yet, and will fault.
                    assert found.fetch in (Allowed(found.gpa), Fault(12))
            looks += 1
            if looks % 5 == 0:
                hook = machine.hook(pcs[0], lambda hart: None)
                time.sleep(0.01)
                hook.remove()
                calls += hook.calls
            time.sleep(0.005)
        assert outcomes == [auberge.Printed("# ")]
        assert looks > 50 and calls
        machine.console.send("echo $((6 * 7))\n")
        machine.console.expect("42\r\n", timeout=60)
        machine.console.send("exit\n")
        assert machine.run(timeout=60) == auberge.PoweredOff(0)
