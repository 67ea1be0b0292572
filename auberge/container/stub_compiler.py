"""`python -m auberge.container.stub_compiler`: the stub's machine code, to standard output.

A process of its own, as all that uses LLVM; compiled for any processor of the architecture.
"""

import sys

from auberge.container.stub import llvm_text, machine_name
from auberge.engine.compiler import compile_text
from auberge.engine.host import Host


def main() -> int:
    """Compile, and write the code, which begins with the stub."""
    machine = machine_name()
    cpu = {"x86_64": "x86-64", "aarch64": "generic"}[machine]
    code = compile_text(llvm_text(machine), Host.ours()._replace(cpu=cpu, features=()))
    if code.symbols["stub"] != 0:
        raise RuntimeError("the code does not begin with the stub")
    sys.stdout.buffer.write(code.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
