"""Boot Debian's kernel, talk to the shell in the guest, and switch it off."""

import auberge
from auberge.image import build

tiny = build("tiny", "riscv64")  # made from Debian's packages the first time, then cached

with auberge.Machine.virt(
    kernel=tiny.kernel,
    initrd=tiny.initrd,
    append="console=ttyS0 quiet",
    memory="256M",
    console=lambda data: None,  # what it prints stays in machine.console.output
) as machine:
    machine.run(until="# ")
    machine.console.send("uname -m; echo $((6 * 7))\n")
    print(machine.console.expect("42"))
    machine.console.send("exit\n")
    print(machine.run())  # PoweredOff(code=0)
