"""Which code makes up a region: instructions that are reached from one, without leaving its page.

A region has one entry. It ends where the end of the page, a call, an indirect jump (but calls and
returns within the region, if it is to have those), or what is not plain would lead on: that is a
region of its own, or interpreted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

from auberge.bits.bits import const, signed
from auberge.engine.access import Watched
from auberge.engine.manner import Manner, Steady
from auberge.isa.hart import Hart
from auberge.isa.spec import Form, Insn, Isa

PAGE = 4096
STEADY_ROUNDING = (0, 7)  # to nearest, as frm has it where regions run; and "the one in frm"
LIMIT = 128  # instructions of a region


class Step(NamedTuple):
    """One instruction of a region, at `offset` in its page."""

    offset: int
    form: Form
    word: int
    manner: Manner

    @property
    def next(self) -> int:
        """The offset of what follows it."""
        return self.offset + self.form.encoding.length

    @property
    def links(self) -> bool:
        """Whether it is a call: it notes where to come back to."""
        return self.form.values(self.word).get("rd", 0) != 0

    def execute(self, h: Hart) -> None:
        """Have a hart trace it, with the operands that it has."""
        widths = self.form.insn.encoding.operands
        values = self.form.values(self.word)
        self.form.insn.execute(h, **{n: const(v, widths[n].width) for n, v in values.items()})

    def target(self) -> int | None:
        """The offset, within the page or beyond, that it may jump to, if that is known."""
        if not self.manner.goes_to:
            return None
        return self.offset + signed(self.form.values(self.word)["offset"] & (1 << 64) - 1, 64)

    def is_call(self) -> bool:
        """Whether it calls what is in this page."""
        target = self.target()
        return self.manner.jumps and self.links and target is not None and 0 <= target < PAGE


class Shape(NamedTuple):
    """The instructions of a region by their offsets, and which of them begin a block."""

    steps: dict[int, Step]
    starts: list[int]
    ends: set[int]  # where it was to end: behind instructions that are not plain, at the limit
    returns: set[int]  # where callees within the region return to

    def neighbours(self) -> list[int]:
        """Where in the page code goes on that may be as hot.

        That is where calls lead, and come back to; and behind what ends a region.
        """
        found = set(self.ends)
        for step in self.steps.values():
            if step.manner.jumps and step.links:
                target = step.target()
                found |= {step.next} if target is None else {step.next, target}
        return sorted(offset for offset in found if 0 <= offset < PAGE)

    def block(self, start: int) -> list[Step]:
        """The instructions from there to the next block, or to one that leads elsewhere."""
        steps = [self.steps[start]]
        while not (steps[-1].manner.jumps or steps[-1].manner.branches):
            offset = steps[-1].next
            if offset in self.starts or offset not in self.steps:
                break
            steps.append(self.steps[offset])
        return steps

    def loops(self) -> list[range]:
        """The offsets of each loop, taken to be all from where it leads back to."""
        back = ((step.target(), step) for step in self.steps.values())
        return [
            range(target, step.next, 2)
            for target, step in back
            if target in self.starts and target <= step.offset
        ]


class Explorer:
    """Finds regions in pages of code."""

    def __init__(self, isa: Isa, watched: Watched, steady: Steady) -> None:
        self.isa, self.watched, self.steady = isa, watched, steady
        self.manners: dict[str, Manner] = {}

    def manner(self, insn: Insn) -> Manner:
        """How an instruction behaves."""
        if insn.name not in self.manners:
            self.manners[insn.name] = Manner(self.isa, insn, self.watched, self.steady)
        return self.manners[insn.name]

    def step(self, page: bytes, offset: int) -> Step | None:
        """The instruction there, if it may be part of a region."""
        word = int.from_bytes(page[offset : offset + 4], "little")
        if word & 3 != 3:
            word &= 0xFFFF
        elif offset + 4 > PAGE:
            return None
        form = self.isa.decode(word)
        if form is None:
            return None
        manner = self.manner(form.insn)
        if manner.rounds and form.values(word).get("rm", 0) not in STEADY_ROUNDING:
            return None
        return Step(offset, form, word, manner) if manner.is_plain else None

    def shape(
        self, page: bytes, entry: int, others: Collection[int] = (), limit: int = LIMIT,
        calls: bool = False,
    ) -> Shape:  # fmt: skip
        """The region that begins at `entry`; one without steps, if that is not plain.

        It does not go on where one of the `others` begins. With `calls`, those within the page come
        last, and fill half of it at most: of callees that are here as a whole, with where they
        return to.
        """
        beyond = frozenset(others) - {entry}
        shape = Shape({}, [entry], set(), set())
        todo = self.follow(page, entry, beyond, limit, shape)
        while calls and todo:
            call = todo.popleft()
            target = call.target()
            assert target is not None
            trial = Shape(dict(shape.steps), [*shape.starts, target, call.next], set(shape.ends),
                          {*shape.returns, call.next})  # fmt: skip
            more = self.follow(page, target, beyond, limit // 2, trial)
            callee = [step for offset, step in trial.steps.items() if offset not in shape.steps]
            if target in trial.steps and all(is_part(step, call, trial.steps) for step in callee):
                more += self.follow(page, call.next, beyond, limit // 2, trial)
                if call.next in trial.steps:
                    shape = trial
                    todo += more
        return shape._replace(starts=sorted(set(shape.starts) & shape.steps.keys()))

    def follow(
        self, page: bytes, begin: int, beyond: frozenset[int], limit: int, shape: Shape
    ) -> deque[Step]:
        """Add what is reached from one place, but not by calls within the page: gives those."""
        calls, todo = deque[Step](), deque([begin])
        while todo:
            offset = todo.popleft()
            while offset < PAGE and offset not in shape.steps and offset not in beyond:
                if len(shape.steps) >= limit:
                    shape.ends.add(offset)
                    break
                step = self.step(page, offset)
                if step is None:
                    shape.ends.add(offset + (4 if page[offset] & 3 == 3 else 2))
                    break
                shape.steps[offset] = step
                if step.is_call():
                    calls.append(step)
                    break
                follows = following(step)
                if step.manner.jumps or step.manner.branches:
                    shape.starts.extend(follows)
                    todo.extend(follows)
                    break
                offset = step.next
        return calls


def is_part(step: Step, call: Step, steps: dict[int, Step]) -> bool:
    """Whether this step of a callee goes on in the region, or returns to the call."""
    if step.manner.jumps and step.links:
        return step.is_call()
    if step.manner.jumps and step.target() is None:
        link = call.form.values(call.word)["rd"]
        return step.form.values(step.word).get("rs1") == link
    follows = following(step)
    return bool(follows) and all(offset in steps for offset in follows)


def following(step: Step) -> list[int]:
    """Where a region goes on after a step that is no call."""
    manner, target = step.manner, step.target()
    inside = [] if target is None or not 0 <= target < PAGE else [target]
    if manner.jumps:
        return [] if step.links else inside
    return [step.next, *inside] if manner.branches else [step.next]
