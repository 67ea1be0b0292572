"""Two guests in one Python process, each in a thread; neither sees the other."""

import threading
import time

import auberge
from auberge.image import build

tiny = build("tiny", "riscv64")


def work(name: str) -> None:
    """Boot, let the guest count, and say what it printed."""
    with auberge.Machine.virt(
        tiny.kernel, tiny.initrd, "quiet", "256M", console=lambda data: None
    ) as machine:
        machine.console.expect("# ", timeout=120)
        machine.console.send(f"hostname {name}; echo $(hostname) counted to $(seq 9999 | wc -l)\n")
        print(machine.console.expect("9999\r\n", timeout=120).splitlines()[-1])


begin = time.monotonic()
threads = [threading.Thread(target=work, args=(name,)) for name in ("left", "right")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{time.monotonic() - begin:.1f} s")
