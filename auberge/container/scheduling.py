"""Operations on when and where a process runs (sched(7), cpuset(7), ioprio_set(2))."""

import struct

from auberge.container.config import Scheduler
from auberge.container.light import NamedTuple
from auberge.container.number_list import mask_of
from auberge.container.stage import Stage
from auberge.refusal import Refusal

POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8, "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip


class Schedule(NamedTuple):
    """sched_setattr(2)."""

    scheduler: Scheduler

    def rows(self, stage: Stage) -> None:
        """struct sched_attr, of 48 bytes."""
        s = self.scheduler
        flags = sum(SCHED_FLAGS[flag] for flag in s.flags)
        attributes = struct.pack(
            "<IIQiIQQQ", 48, POLICIES[s.policy], flags, s.nice, s.priority & 0xFFFF_FFFF,
            s.runtime, s.deadline, s.period,
        )  # fmt: skip
        stage.table.call("sched_setattr", 0, stage.table.data(attributes), 0)


class PrioritizeIO(NamedTuple):
    """ioprio_set(2)."""

    class_: str
    priority: int

    def rows(self, stage: Stage) -> None:
        """IOPRIO_WHO_PROCESS is 1, the class is above 13 bits of level."""
        number = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}[self.class_]
        stage.table.call("ioprio_set", 1, 0, number << 13 | self.priority)


class RunOn(NamedTuple):
    """The processors that may run this process (sched_setaffinity(2))."""

    processors: tuple[int, ...]

    def rows(self, stage: Stage) -> None:
        """A bit for each processor."""
        mask = sum(1 << number for number in self.processors)
        size = (max(self.processors) // 64 + 1) * 8
        stage.table.call(
            "sched_setaffinity", 0, size, stage.table.data(mask.to_bytes(size, "little"))
        )


def processors(text: str, where: str) -> tuple[int, ...]:
    """A list as 0-3,7 (cpuset(7), "List format"); raises Refusal."""
    try:
        mask = mask_of(text)
    except ValueError:
        raise Refusal(
            f"config.json: {where}: {text[:80]!r} is no list of processors; write as 0-3,7"
        ) from None
    return tuple(number for number in range(mask.bit_length()) if mask >> number & 1)
