"""The worker of ``flask stomp worker``: the extension's handlers, each message in an application context of the app."""

from __future__ import annotations

import functools
import typing

import flask
from flask.cli import ScriptInfo

from ..errors import ConfigurationError
from ..worker import Worker

if typing.TYPE_CHECKING:
    from .extension import StompState

__all__ = ["make_worker"]


def make_worker(state: StompState, script: ScriptInfo, *, processes: int | None) -> Worker:
    """Return a worker with the options of the app's publisher, which runs the handlers of its extension.

    Each of *processes* (``None``: as many as the configuration says) loads the app as the command has done; *script*
    knows how that was.

    Raises `ConfigurationError` if there is no handler, and as `Worker` does.
    """
    if not len(state.handlers):
        raise ConfigurationError(
            f"the app {state.app.name!r} has no handler for messages; decorate a function with the extension's "
            "subscribe('/queue/...'), in a module that is imported where the app is made"
        )
    settings = state.worker_settings
    if not (settings.get("processes", 0) if processes is None else processes):
        return Worker.from_options(
            state.publisher.options, settings, handlers=state.handlers, around=state.app.app_context
        )
    how = (script.app_import_path, script.create_app, script.set_debug_flag)
    return Worker.from_options(
        state.publisher.options,
        settings,
        handlers=state.handlers,
        initializer=functools.partial(_load_app, *how),
        around=functools.partial(_app_context, *how),
    )


# -- what runs in the processes: it goes there by its name ------------------------------------------------------------


@functools.cache
def _load_app(path: str | None, create_app: typing.Callable[..., flask.Flask] | None, debug: bool) -> flask.Flask:
    """The app of this process, loaded once."""
    return ScriptInfo(path, create_app, debug).load_app()


def _app_context(
    path: str | None, create_app: typing.Callable[..., flask.Flask] | None, debug: bool
) -> typing.ContextManager[object]:
    return _load_app(path, create_app, debug).app_context()
