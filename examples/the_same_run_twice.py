"""With `icount`, instructions are the clock: a whole boot repeats to the instruction."""

from hashlib import sha256

import auberge
from auberge.image import build

tiny = build("tiny", "riscv64")


def boot() -> tuple[int, str]:
    """Instructions, and a digest of everything printed, time stamps of the kernel included."""
    with auberge.Machine.virt(
        tiny.kernel,
        tiny.initrd,
        append="auberge.report",
        memory="128M",
        icount=True,
        console=lambda data: None,
    ) as machine:
        assert machine.run(timeout=200) == auberge.PoweredOff(0)
        output = machine.console.output.encode()
        return machine.statistics().instructions, sha256(output).hexdigest()


first, second = boot(), boot()
print(first, second, sep="\n")
assert first == second
