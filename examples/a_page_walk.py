"""Where an address of a running kernel is: every page-table entry on the way, and who may go."""

import auberge
from auberge.image import build

tiny = build("tiny", "riscv64")

with auberge.Machine.virt(
    tiny.kernel, tiny.initrd, "console=ttyS0", memory="256M", console=lambda data: None
) as machine:
    machine.run(until="# ")
    hart = machine.harts[0]
    found = hart.translate(hart["stvec"])  # the kernel's trap handler
    for level in found.levels:
        print(f"level {level.level}: {level.entry:#018x} at {level.address:#x}  {level.flags}")
    print(f"{found.gva:#x} is physical {found.gpa or 0:#x}, in a page of {found.page_size} bytes")
    print(f"fetch: {found.fetch}, store: {found.store}")
    assert found.gpa is not None
    assert hart.read(found.gva, 64) == machine.memory.read(found.gpa, 64)
