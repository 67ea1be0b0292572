"""The native interpreter, put together: one module of LLVM text."""

from __future__ import annotations

from collections.abc import Callable

from auberge.engine import fpu
from auberge.engine.access import (
    BLOCK,
    SIZES,
    choose_bank,
    slice_of_budget,
    slow_load,
    slow_place,
    slow_store,
)
from auberge.engine.decoder import Decoder
from auberge.engine.glue import glue
from auberge.engine.handlers import Handler, handler_name
from auberge.engine.host import Host
from auberge.engine.llvm_text import METADATA
from auberge.engine.lowering import Context
from auberge.engine.paged import Touch, touch
from auberge.engine.routine import Routine
from auberge.engine.state import Layout
from auberge.isa.hart import LOAD, STORE
from auberge.isa.spec import Isa

# What lowering calls of LLVM's own, and the attributes of all functions: code that refers to
# nothing but itself.
INTRINSICS = """
declare i32 @llvm.ctlz.i32(i32, i1)
declare i64 @llvm.ctlz.i64(i64, i1)
declare i32 @llvm.cttz.i32(i32, i1)
declare i64 @llvm.cttz.i64(i64, i1)
declare i32 @llvm.ctpop.i32(i32)
declare i64 @llvm.ctpop.i64(i64)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
attributes #0 = { nounwind "no-jump-tables"="true" "no-builtins" noimplicitfloat }
"""


def module(isa: Isa, layout: Layout, host: Host) -> str:
    """The whole native interpreter, as LLVM text for that kind of host."""
    context = Context.of(isa, layout, host.fuses)
    needed = sorted({(form.insn.name, form.length) for form in isa.forms})
    parts = [
        *(Handler(context, handler_name(isa[n], size), isa[n], size).text for n, size in needed),
        *(Handler(context, f"h_unknown_{size}", None, size).text for size in (2, 4)),
        Decoder(context).text,
        *(Routine(context, name, text).text for name, text in isa.routines.items()),
        *(Routine(context, name, text, *known).text for name, text, *known in slow_texts(context)),
        *(Touch(context, f"touch_{access}", touch, access).text for access in (LOAD, STORE)),
        glue(layout),
        fpu.operations(),
        fpu.control(layout, host.machine),
        INTRINSICS,
        METADATA,
    ]
    return "".join(parts)


def slow_texts(context: Context) -> list[tuple[str, Callable[..., None], *tuple[object, ...]]]:
    """The texts of `access`: native name, text, and what is known when it is traced."""
    texts: list[tuple[str, Callable[..., None], *tuple[object, ...]]] = []
    for size in SIZES:
        texts.append((f"load_{size}", slow_load, size))
        texts.append((f"store_{size}", slow_store, size))
    for size in SIZES[2:]:
        texts += [(f"place_{access}_{size}", slow_place, size, access) for access in (LOAD, STORE)]
    texts.append((f"place_{STORE}_{BLOCK}", slow_place, BLOCK, STORE))
    texts.append(("choose_bank", choose_bank, context.watched, context.layout.bank_size))
    texts.append(("slice", slice_of_budget))
    return texts
