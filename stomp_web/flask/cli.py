"""``flask stomp send|ping|config|worker``: from a shell, with the app's configuration.

Each ends with 0 if it succeeded, 1 if it failed, and 2 if the command line or configuration is wrong. The exit status
of ``send`` and ``ping`` does not depend on whether their output could be printed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import sys
import typing

import click
import flask
from flask.cli import AppGroup, ScriptInfo, pass_script_info

from .._internal.arguments import seconds
from .._internal.streams import keep_descriptors, try_to_print
from ..connection.address import parse_address
from ..errors import ConfigurationError, InvalidFrame, StompError
from ..publisher import Publisher
from ..serializers import typed_payload
from .state import StompState, state_of

if typing.TYPE_CHECKING:
    from ..worker import Worker

__all__ = ["cli", "make_worker"]

cli = AppGroup("stomp", help="Send to the app's STOMP broker, receive from it, and show its configuration.")

# Options that the address may hold, too. The options win.
_IN_ADDRESS = ("login", "passcode", "vhost")

_extension = click.option(
    "--extension", default="stomp", show_default=True, metavar="KEY", help="The key in app.extensions."
)


class _Unusable(click.ClickException):
    """The command line or the configuration is wrong: the command can never succeed."""

    exit_code = 2


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else seconds(text)
    except argparse.ArgumentTypeError as error:
        raise click.BadParameter(str(error)) from None


def _state(key: str) -> StompState:
    try:
        return state_of(flask.current_app, key)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None


@contextlib.contextmanager
def _publisher(key: str) -> typing.Iterator[Publisher]:
    """The app's publisher, whose errors end the command: with 2 if it can never succeed, otherwise with 1."""
    keep_descriptors()
    publisher = _state(key).publisher
    try:
        yield publisher
    except (ConfigurationError, InvalidFrame) as error:
        raise _Unusable(str(error)) from error
    except StompError as error:
        raise click.ClickException(str(error)) from error


def _report(text: str) -> None:
    """Print *text*, the result. If it cannot be printed, warn: the command has succeeded all the same."""
    reason = try_to_print(sys.stdout, text)
    if reason is not None and not isinstance(reason, BrokenPipeError):
        try_to_print(sys.stderr, f"Warning: standard output cannot be written: {reason.strerror}")


@cli.command("send")
@click.argument("destination")
@click.argument("body")
@click.option("--json", "serializer", flag_value="json", help="Send BODY, which has to be JSON, as JSON.")
@click.option("--text", "serializer", flag_value="text", help="Send BODY as text.")
@click.option("--serializer", "named", metavar="NAME", help="Send BODY, which has to be JSON, by this serializer.")
@_extension
def send(destination: str, body: str, serializer: str | None, named: str | None, extension: str) -> None:
    """Send BODY to DESTINATION, and print the message's id.

    BODY is sent as JSON if it is JSON, and as text otherwise, unless an option says how.
    """
    if serializer and named:
        raise click.UsageError("give one of --json, --text and --serializer")
    with _publisher(extension) as publisher:
        payload, name = typed_payload(body, serializer or named)
        if name == "text" and not (serializer or named):
            try_to_print(sys.stderr, "BODY is not JSON, and is sent as text.")
        message_id = publisher.send(destination, payload, serializer=name)
    _report(message_id)


@cli.command("ping")
@click.option("--timeout", callback=_seconds, metavar="SECONDS", help="How long to wait. Default: STOMP_TIMEOUT.")
@_extension
def ping(timeout: float | None, extension: str) -> None:
    """Check that the broker answers, and print how long it took and the broker's name."""
    with _publisher(extension) as publisher:
        health = publisher.check(timeout)
    if not health:
        raise click.ClickException(str(health))
    _report(str(health))


@cli.command("config")
@_extension
def config(extension: str) -> None:
    """Print the options in effect. Passwords and keys are not shown."""
    options = _state(extension).publisher.options
    address = parse_address(options.url)
    for field in dataclasses.fields(options):
        value, where = getattr(options, field.name), ""
        if value is None and field.name in _IN_ADDRESS and getattr(address, field.name) is not None:
            value, where = getattr(address, field.name), " (in the address)"
        if field.name == "url":
            value = address  # its text has no credentials and options
        elif value and not field.repr:  # what the options' repr leaves out is a secret
            value = "***"
        shown = "" if value in (None, ()) else value
        reason = try_to_print(sys.stdout, f"{field.name} = {shown}{where}")
        if reason is not None:
            raise click.ClickException(f"standard output cannot be written: {reason.strerror}")


@cli.command("worker")
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Handle up to N messages at once, each in a thread. Ignored if they are handled in processes. Default: that "
    "of STOMP_WORKER, else 8.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=0),
    metavar="N",
    help="Handle messages in N processes instead, one at a time in each; 0 means in threads. Each process loads the "
    "app. Default: that of STOMP_WORKER, else 0.",
)
@_extension
@pass_script_info
def worker(script: ScriptInfo, concurrency: int | None, processes: int | None, extension: str) -> None:
    """Receive messages until Ctrl-C, and call the handlers.

    Handlers are the functions that the extension's subscribe() decorates. Each message is handled in an application
    context. The broker is that of the app. While it is away, the command waits and connects again.

    The first Ctrl-C or SIGTERM shuts down cleanly: running handlers finish, and their messages are acknowledged. A
    second one, half a second later or more, stops the command at once.
    """
    from ..worker.command import run_worker

    state = _state(extension)
    try:
        made = make_worker(state, script, processes=processes)
        code = run_worker(made, concurrency=concurrency, processes=processes)
    except StompError as error:
        raise click.ClickException(str(error)) from error
    click.get_current_context().exit(code)


def make_worker(state: StompState, script: ScriptInfo, *, processes: int | None) -> Worker:
    """Return a worker with the options of the app's publisher, which calls each handler in an application context.

    Each of *processes* (``None``: the number in the configuration) loads the app as *script*, the command, has loaded
    it. Raises `ConfigurationError` if there is no handler, and as `Worker` does.
    """
    from ..worker import Worker  # a site that only sends does not need the worker

    if not len(state.handlers):
        raise ConfigurationError(
            f"the app {state.app.name!r} has no handler for messages; decorate a function with the extension's "
            "subscribe('/queue/...'), in a module that is imported where the app is made"
        )
    settings = state.worker_settings
    kwargs: dict[str, typing.Any] = {"around": state.app.app_context}
    if settings.get("processes", 0) if processes is None else processes:
        load = functools.partial(_load_app, script.app_import_path, script.create_app, script.set_debug_flag)
        kwargs = {"initializer": load, "around": functools.partial(_app_context, load)}
    return Worker.from_options(state.publisher.options, settings, handlers=state.handlers, **kwargs)


# -- called in the processes, which find it by its name ----------------------------------------------------------------


@functools.cache
def _load_app(path: str | None, create_app: typing.Callable[..., flask.Flask] | None, debug: bool) -> flask.Flask:
    """The app of this process, loaded once."""
    return ScriptInfo(path, create_app, debug).load_app()


def _app_context(load: typing.Callable[[], flask.Flask]) -> typing.ContextManager[object]:
    return load().app_context()
