"""``stomp-web worker`` runs a worker from a module of the application until Ctrl-C or SIGTERM."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import types
import typing

from ..errors import ConfigurationError, StompError
from ..worker import Worker
from ..worker.command import run_worker

__all__ = ["run"]


def run(target: tuple[str, str], **how: typing.Any) -> int:
    """Run the worker *target*, which is ``(module, name)``. Return the exit status.

    The keyword arguments *how* are passed to `run_worker`. Raises `StompError` if the worker cannot be run.
    """
    return run_worker(_find(*target), **how)


def _find(module_name: str, name: str) -> Worker:
    module = _import(module_name)
    worker = getattr(module, name, None)
    if isinstance(worker, Worker):
        return worker
    if hasattr(module, name):
        kind = type(worker)
        problem = f"{module_name}:{name} is no stomp_web.worker.Worker, but of type {kind.__module__}.{kind.__name__}"
    else:
        problem = f"the module {module_name} has no {name}"
    workers = [each for each, value in vars(module).items() if isinstance(value, Worker)]
    hint = f"its workers are {', '.join(workers)}" if workers else "it has no Worker"
    raise ConfigurationError(f"{problem}; {hint}")


def _import(name: str) -> types.ModuleType:
    """Import the module *name*. Search the current directory first."""
    here = os.getcwd()  # noqa: PTH109 - sys.path contains strings
    if sys.path[:1] not in ([""], [here]):
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except StompError:  # raised by a Worker that the module makes, for example
        raise
    except Exception as error:  # noqa: BLE001 - the module's code may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            hint = f"; leave out the .py of {name}" if name.endswith(".py") else ""
            problem = f"there is no module {error.name} in {here}, nor where Python looks for modules{hint}"
        else:
            traceback.print_exc()
            problem = f"the module {name} could not be imported: {type(error).__name__}, which is shown above"
    raise ConfigurationError(problem)
