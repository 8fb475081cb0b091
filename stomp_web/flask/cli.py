"""The commands ``flask stomp send|ping|config|worker|relay`` use the app's configuration.

The exit status is 0 after success, 1 after a failure, and 2 if the command line is wrong. If the configuration is
wrong, the status of ``worker`` is 1 and the status of the other commands is 2. If output cannot be printed, the status
of ``send`` and ``ping`` does not change.
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

from .._internal.arguments import HEALTH, RELAY, Argument, seconds, worker_options
from .._internal.streams import keep_descriptors, try_to_print
from ..connection.address import parse_address
from ..errors import ConfigurationError, StompError
from ..publisher.command import check_broker, never_succeeds, send_body
from .state import StompState, state_of

if typing.TYPE_CHECKING:
    from ..worker import Worker

__all__ = ["cli", "make_worker"]

_F = typing.TypeVar("_F", bound=typing.Callable[..., object])

cli = AppGroup("stomp", help="Send to the app's STOMP broker, receive from it, and show its configuration.")

_extension = click.option(
    "--extension", default="stomp", show_default=True, metavar="KEY", help="The key in app.extensions."
)


def _options(options: typing.Iterable[Argument]) -> typing.Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for flag, read, metavar, text in reversed(tuple(options)):
            callback = functools.partial(_read, read)
            function = click.option(flag, callback=callback, metavar=metavar, help=text)(function)
        return function

    return decorate


def _read(
    read: typing.Callable[[str], typing.Any], _context: click.Context, _option: click.Parameter, text: str | None
) -> typing.Any:
    try:
        return None if text is None else read(text)
    except argparse.ArgumentTypeError as error:
        raise click.BadParameter(str(error)) from None


@contextlib.contextmanager
def _command(extension: str, unusable: int = 2) -> typing.Iterator[StompState]:
    """Yield the app's state. A `StompError` in the ``with`` block ends the command with the exit status 1.

    For a `ConfigurationError` or an `InvalidFrame`, the exit status is the argument *unusable*. After these errors,
    the same command would always fail.
    """
    keep_descriptors()
    try:
        state = state_of(flask.current_app, extension)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    try:
        yield state
    except StompError as error:
        failure = click.ClickException(str(error))
        failure.exit_code = unusable if never_succeeds(error) else 1  # type: ignore[misc]
        raise failure from error


def _report(text: str) -> None:
    """Print the result *text*. A failure to print is not an error, because the command itself has succeeded.

    If printing fails, print a warning to standard error. After a broken pipe, print no warning.
    """
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

    If --json, --text and --serializer are absent, a BODY that is JSON is sent as JSON. Any other BODY is sent as text.
    """
    if serializer and named:
        raise click.UsageError("give one of --json, --text and --serializer")
    with _command(extension) as state:
        notify = functools.partial(try_to_print, sys.stderr)
        _report(send_body(state.publisher, destination, body, serializer or named, notify))


@cli.command("ping")
@_options([("--timeout", seconds, "SECONDS", "How long to wait. Default: STOMP_TIMEOUT.")])
@_extension
def ping(timeout: float | None, extension: str) -> None:
    """Check that the broker answers. Print how long the check took, and the broker's name."""
    with _command(extension) as state:
        _report(check_broker(state.publisher, timeout))


@cli.command("config")
@_extension
def config(extension: str) -> None:
    """Print the options in effect. Passwords and keys are not shown."""
    with _command(extension) as state:
        options = state.publisher.options
    address = parse_address(options.url)
    for field in dataclasses.fields(options):
        value, where = getattr(options, field.name), ""
        if value is None and getattr(address, field.name, None) is not None:
            value, where = getattr(address, field.name), " (in the address)"
        if field.name == "url":
            value = address  # its text has neither credentials nor options
        elif not field.repr and value:
            value = "***"
        shown = "" if value in (None, ()) else value
        reason = try_to_print(sys.stdout, f"{field.name} = {shown}{where}")
        if reason is not None:
            raise click.ClickException(f"standard output cannot be written: {reason.strerror}")


@cli.command("worker")
@_options((*worker_options("STOMP_WORKER"), *HEALTH))
@_extension
@pass_script_info
def worker(
    script: ScriptInfo, /, concurrency: int | None, processes: int | None, extension: str, **health: typing.Any
) -> None:
    """Receive messages until Ctrl-C, and call the handlers.

    Handlers are the functions that the extension's subscribe() decorates. Each message is handled in an application
    context. The broker is the app's broker. While the broker is down, the command waits and connects again.

    The first Ctrl-C or SIGTERM shuts down cleanly: running handlers finish, and their messages are acknowledged. A
    second signal, half a second later or more, stops the command at once.
    """
    from ..worker.command import messages_at_once, run_worker
    from .outbox import warn_of_sqlite

    with _command(extension, unusable=1) as state:
        made = make_worker(state, script, processes=processes)
        if messages_at_once(made, concurrency, processes) > 1 and any(handler.once for handler in state.handlers):
            warn_of_sqlite(state.app)
        code = run_worker(made, concurrency=concurrency, processes=processes, **health)
    click.get_current_context().exit(code)


@cli.command("relay")
@click.option(
    "--database",
    metavar="URL",
    help="The database, such as postgresql+psycopg://shop@db/shop. Default: that of Flask-SQLAlchemy, or the key "
    "SQLALCHEMY_DATABASE_URI of the configuration.",
)
@click.option("--once", is_flag=True, help="Send the messages that can be sent now, and exit.")
@_options((*RELAY, *HEALTH))
@_extension
def relay(
    database: str | None,
    once: bool,
    extension: str,
    health_port: tuple[str, int] | None,
    health_file: str | None,
    **options: typing.Any,
) -> None:
    """Send the messages of the outbox until Ctrl-C. The broker confirms each message.

    Any number of relays may run at the same time. On SQLite, one relay works at a time. While the broker or the
    database is down, the command waits, unless --once is given. The first Ctrl-C or SIGTERM ends the command after its
    current batch. A second signal, half a second later or more, ends the command at once.
    """
    from ..outbox.command import run_relay
    from .outbox import relay_engine

    given = {name: value for name, value in options.items() if value is not None}
    with _command(extension) as state, contextlib.closing(state.publisher):
        made = state.transactional_outbox.relay(relay_engine(state.app, database), **given)
        telemetry = state.publisher.options.telemetry
        code = run_relay(made, once=once, telemetry=telemetry, health_port=health_port, health_file=health_file)
    click.get_current_context().exit(code)


def make_worker(state: StompState, script: ScriptInfo, *, processes: int | None) -> Worker:
    """Return a worker for the handlers of the extension.

    *processes* is the number of processes that run handlers. ``None`` means the number in the configuration. Each
    process loads the app in the same way as *script*. Raises `ConfigurationError` if there is no handler or if the
    configuration is wrong.
    """
    from ..worker import Worker  # a site that only sends does not need it

    if not len(state.handlers):
        raise ConfigurationError(
            f"the app {state.app.name!r} has no handler for messages; decorate a function with the extension's "
            "subscribe('/queue/...'), in a module that is imported where the app is made"
        )
    settings = state.worker_settings
    load_app: typing.Callable[[], flask.Flask] = lambda: state.app  # noqa: E731
    if settings.get("processes", 0) if processes is None else processes:
        load_app = functools.partial(_load_app, script.app_import_path, script.create_app, script.set_debug_flag)
    of_app: dict[str, typing.Any] = {"initializer": load_app, "around": functools.partial(_app_context, load_app)}
    if any(handler.once for handler in state.handlers):
        from .outbox import engine_of, inbox_of

        if engine_of(state.app) is None:
            raise ConfigurationError("a handler with once=True needs a database of Flask-SQLAlchemy; the app has none")
        of_app["inbox"] = functools.partial(inbox_of, load_app)
    return Worker.from_options(state.publisher.options, settings, handlers=state.handlers, **of_app)


# The functions below are pickled by name, for the processes of a worker.


@functools.cache
def _load_app(path: str | None, create_app: typing.Callable[..., flask.Flask] | None, debug: bool) -> flask.Flask:
    """Return the app. The first call in a process loads the app. The arguments are those of `ScriptInfo`."""
    return ScriptInfo(path, create_app, debug).load_app()


def _app_context(load_app: typing.Callable[[], flask.Flask]) -> typing.ContextManager[object]:
    return load_app().app_context()
