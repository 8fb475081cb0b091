"""The worker of ``flask stomp worker``: the extension's handlers, each message in an application context of the app."""

from __future__ import annotations

import functools
import typing

import flask
from flask.cli import ScriptInfo

from ..errors import ConfigurationError
from ..worker import Worker
from .state import StompState

__all__ = ["make_worker"]


def make_worker(state: StompState, script: ScriptInfo, *, processes: int | None) -> Worker:
    """Return a worker with the options of the app's publisher, which runs the handlers of its extension.

    Each of *processes* (``None``: the number in the configuration) loads the app as the command has loaded it;
    *script* knows how.

    Raises `ConfigurationError` if there is no handler, and as `Worker` does.
    """
    if not len(state.handlers):
        raise ConfigurationError(
            f"the app {state.app.name!r} has no handler for messages; decorate a function with the extension's "
            "subscribe('/queue/...'), in a module that is imported where the app is made"
        )
    settings = state.worker_settings
    kwargs: dict[str, typing.Any] = {"around": state.app.app_context}
    if settings.get("processes", 0) if processes is None else processes:
        how = (script.app_import_path, script.create_app, script.set_debug_flag)
        kwargs = {
            "initializer": functools.partial(_load_app, *how),
            "around": functools.partial(_app_context, *how),
        }
    return Worker.from_options(state.publisher.options, settings, handlers=state.handlers, **kwargs)


# -- called in the processes, which find it by its name ----------------------------------------------------------------


@functools.cache
def _load_app(path: str | None, create_app: typing.Callable[..., flask.Flask] | None, debug: bool) -> flask.Flask:
    """The app of this process, loaded once."""
    return ScriptInfo(path, create_app, debug).load_app()


def _app_context(
    path: str | None, create_app: typing.Callable[..., flask.Flask] | None, debug: bool
) -> typing.ContextManager[object]:
    return _load_app(path, create_app, debug).app_context()
