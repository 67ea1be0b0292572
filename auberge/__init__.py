"""Auberge: a house for guests, one virtual machine monitor in Python."""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers know better; importing `typing` for it costs milliseconds
if TYPE_CHECKING:
    from auberge.api.container import Container as Container
    from auberge.api.hart import Unmapped as Unmapped
    from auberge.api.machine import Machine as Machine
    from auberge.machine.outcome import Ending as Ending
    from auberge.machine.outcome import Faulted as Faulted
    from auberge.machine.outcome import Paused as Paused
    from auberge.machine.outcome import PoweredOff as PoweredOff
    from auberge.machine.outcome import Printed as Printed
    from auberge.machine.outcome import Reached as Reached
    from auberge.machine.outcome import Reset as Reset
    from auberge.machine.outcome import TimedOut as TimedOut
    from auberge.monitor.guest import NotStarted as NotStarted
    from auberge.monitor.guest import Task as Task
    from auberge.monitor.guest import Usage as Usage
    from auberge.refusal import Refusal as Refusal

__all__ = [
    "Container",
    "Faulted",
    "Machine",
    "NotStarted",
    "Paused",
    "PoweredOff",
    "Printed",
    "Reached",
    "Refusal",
    "Reset",
    "Task",
    "TimedOut",
    "Unmapped",
    "Usage",
]


def __getattr__(name: str) -> object:
    """The public names, each imported when first used (PEP 562): `import auberge` costs nothing."""
    if name == "Machine":
        from auberge.api.machine import Machine

        return Machine
    if name == "Container":
        from auberge.api.container import Container

        return Container
    if name in ("NotStarted", "Task", "Usage"):
        from auberge.monitor import guest

        return {kind.__name__: kind for kind in (guest.NotStarted, guest.Task, guest.Usage)}[name]
    if name == "Unmapped":
        from auberge.api.hart import Unmapped

        return Unmapped
    if name == "Refusal":
        from auberge.refusal import Refusal

        return Refusal
    if name == "Ending":
        from auberge.machine.outcome import Ending

        return Ending
    if name in __all__:
        from auberge.machine import outcome

        return {kind.__name__: kind for kind in outcome.KINDS}[name]
    raise AttributeError(f"module 'auberge' has no attribute {name!r}")
