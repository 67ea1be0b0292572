"""Count what a guest does, without telling it: a Python function at an address of its kernel."""

import re
from collections import Counter

import auberge
from auberge.api.hart import Hart
from auberge.image import build

tiny = build("tiny", "riscv64")
opened = Counter[str]()

with auberge.Machine.virt(
    tiny.kernel, tiny.initrd, "console=ttyS0 quiet", memory="256M", console=lambda data: None
) as machine:
    machine.run(until="# ")
    machine.console.send("grep ' do_sys_openat2$' /proc/kallsyms\n")
    line = machine.console.expect(re.compile("[0-9a-f]{16} [tT] do_sys_openat2"))
    machine.symbols["do_sys_openat2"] = int(line.split()[-3], 16)

    @machine.at("do_sys_openat2")
    def opens(hart: Hart) -> None:
        opened[hart.string(hart["a1"]).decode()] += 1  # its second argument: the path

    machine.run(until="# ")
    machine.console.send("cat /etc/*release /proc/uptime > /dev/null; echo don''e\n")
    machine.run(until="done")

for path, count in opened.most_common(5):
    print(f"{count:4} {path}")
