"""Hooks of the runtime's own namespaces: prestart, createRuntime, poststart, poststop.

config.md, "POSIX-platform Hooks": a hook reads the container's state from its standard input. Those
of the container's namespaces are operations of its plan.
"""

from auberge.container.config import Hook
from auberge.container.light import Sequence
from auberge.refusal import Refusal


def run_hooks(when: str, hooks: Sequence[Hook], state: bytes) -> None:
    """Run hooks one after another; raises Refusal at the first that fails."""
    for hook in hooks:
        complaint = _run(hook, state)
        if complaint is not None:
            raise Refusal(f"hook {hook.path} ({when}): {complaint}; mend it or take it out")


def run_all_hooks(hooks: Sequence[Hook], state: bytes) -> list[str]:
    """Run all hooks, whatever they do: "errors MUST be logged" (runtime.md, "Lifecycle")."""
    return [
        f"hook {hook.path}: {complaint}"
        for hook in hooks
        if (complaint := _run(hook, state)) is not None
    ]


def _run(hook: Hook, state: bytes) -> str | None:
    import subprocess

    environment = dict(setting.partition("=")[::2] for setting in hook.env)
    try:
        done = subprocess.run(
            hook.args or (hook.path,),
            executable=hook.path,
            env=environment,
            input=state,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=hook.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {hook.timeout} s"
    except (OSError, ValueError) as error:
        return _why(error).lower()
    if done.returncode == 0:
        return None
    said = " ".join(done.stdout.decode(errors="replace").split())[-200:]
    how = f"status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
    return f"it ended with {how}" + (f" ({said})" if said else "")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
