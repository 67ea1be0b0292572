"""The description that the chapters of the RISC-V manuals add to."""

from auberge.isa.spec import Isa

rv64 = Isa("rv64")
