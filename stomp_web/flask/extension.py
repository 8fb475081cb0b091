"""The extension, which belongs to the program, and its state, one for each app.

The extension keeps no app. Everything that belongs to an app hangs on `StompState` in ``app.extensions``, which knows
its app: it works in threads, without a context, and in another app's context. Nothing is hooked into requests or
contexts; connections belong to the pool, and the pool to the process.
"""

from __future__ import annotations

import functools
import re
import typing

import flask

from .._internal.log import get_logger
from .._internal.printable import sentence
from .._internal.redacted import redact_secrets
from .._internal.unpicklable import Unpicklable
from ..config import OPTIONS, option_name, read_options, unknown_option
from ..errors import ConfigurationError
from ..observers import Event, SendFailed, SendSucceeded
from ..publisher import OutboxMessage, Publisher
from .signals import message_sent, send_failed

if typing.TYPE_CHECKING:
    from ..worker import Handlers, ReceivedMessage

__all__ = ["Stomp", "StompState"]

_log = get_logger("flask")

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")
_Handler = typing.TypeVar("_Handler", bound="typing.Callable[[ReceivedMessage], object]")


class _Method(typing.Generic[_P, _R]):
    """A method of `Publisher`, which calls that of its owner's `publisher`, found anew at each call."""

    def __init__(self, method: typing.Callable[typing.Concatenate[Publisher, _P], _R]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @typing.overload
    def __get__(self, owner: None, kind: type) -> typing.Callable[typing.Concatenate[Publisher, _P], _R]: ...

    @typing.overload
    def __get__(self, owner: _PublisherMethods, kind: type) -> typing.Callable[_P, _R]: ...

    def __get__(self, owner: _PublisherMethods | None, kind: type) -> typing.Callable[..., _R]:
        return self._method if owner is None else functools.partial(self._call, owner)

    def _call(self, owner: _PublisherMethods, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self._method(owner.publisher, *args, **kwargs)


class _PublisherMethods:
    """What the extension and its state have in common: the methods of the app's publisher."""

    @property
    def publisher(self) -> Publisher:
        """The app's `Publisher`."""
        raise NotImplementedError

    send = _Method(Publisher.send)
    asend = _Method(Publisher.asend)
    send_many = _Method(Publisher.send_many)
    batch = _Method(Publisher.batch)
    check = _Method(Publisher.check)
    stats = _Method(Publisher.stats)
    close = _Method(Publisher.close)

    @property
    def outbox(self) -> list[OutboxMessage]:
        """The messages sent so far, if the app's address is ``memory://``. See `Publisher.outbox`."""
        return self.publisher.outbox


class _Signals:
    """Hands the events of an app's publisher on as signals."""

    def __init__(self, app: flask.Flask) -> None:
        self.app = app

    def listens(self) -> bool:
        """Whether anybody is connected to one of the signals."""
        return bool(message_sent.receivers or send_failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*."""
        if isinstance(event, SendSucceeded):
            message_sent.send(
                self.app,
                message_id=event.message_id,
                destination=event.destination,
                confirmed=event.confirmed,
                seconds=event.seconds,
            )
        elif isinstance(event, SendFailed):
            send_failed.send(
                self.app,
                message_id=event.message_id,
                destination=event.destination,
                error=event.error,
                seconds=event.seconds,
            )


class StompState(_PublisherMethods, Unpicklable):
    """One app's part of the extension: its `app`, its `publisher`, and the publisher's methods; and the `handlers`.

    `worker_settings` are what the configuration says of the worker, under ``STOMP_WORKER``.
    """

    _instead = "load the app there, and use app.extensions"

    def __init__(
        self,
        app: flask.Flask,
        options: typing.Mapping[str, typing.Any],
        worker_settings: typing.Mapping[str, typing.Any],
        extension: Stomp,
    ) -> None:
        self.app = app
        self.worker_settings = worker_settings
        self._extension = extension
        self._publisher = Publisher(observers=[_Signals(app)], **options)

    @property
    def publisher(self) -> Publisher:
        """The app's `Publisher`."""
        return self._publisher

    @property
    def handlers(self) -> Handlers:
        """The handlers of messages, which the extension's apps have in common."""
        return self._extension.handlers

    def __repr__(self) -> str:
        return f"<StompState of {self.app.name!r}: {self.publisher.url}>"


# What Kubernetes, and Docker with links, put into the environment of each container for a service in its namespace
# ("Accessing the Service: Environment variables" in Kubernetes' documentation). A service called stomp-broker makes
# STOMP_BROKER_SERVICE_HOST, STOMP_BROKER_PORT=tcp://10.0.0.7:61613, STOMP_BROKER_PORT_61613_TCP_ADDR and others.
_OF_A_SERVICE = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_PORT_OF_A_SERVICE = re.compile(r"(?:\w+_)?PORT")
_ADDRESS_OF_A_SERVICE = re.compile(r"(?:tcp|udp|sctp)://")


def _is_of_a_service(name: str, value: object) -> bool:
    """Whether the key *name*, without its prefix, describes a service of Kubernetes and no option of anything."""
    if _OF_A_SERVICE.fullmatch(name):
        return True
    # A person who writes STOMP_PORT=61613 means an option.
    return bool(
        _PORT_OF_A_SERVICE.fullmatch(name) and isinstance(value, str) and _ADDRESS_OF_A_SERVICE.match(value.strip())
    )


class Stomp(_PublisherMethods):
    """The extension. It may serve several apps, each with a publisher of its own.

    * *app* - an app to initialise at once; or call `init_app` later.
    * *config_prefix* - what the app's configuration begins with, and, in lower case, the key in ``app.extensions``.
      For a second broker in one app, make a second `Stomp` with another prefix; neither prefix may be the beginning of
      the other, as ``STOMP`` and ``STOMP_AUDIT`` would be: take ``AUDIT_STOMP``.

    `send`, `asend`, `send_many`, `batch`, `check`, `stats`, `close`, `publisher` and `outbox` are those of the current
    app's `Publisher`. They need an application context, as in a request or a command, and raise `RuntimeError` without
    one; ``app.extensions["stomp"]`` has the same methods and needs none.

    `subscribe` needs no app: what it decorates belongs to the extension, as a route belongs to a blueprint.
    ``flask stomp worker`` receives the messages of an app, and calls the functions.
    """

    def __init__(self, app: flask.Flask | None = None, *, config_prefix: str = "STOMP") -> None:
        self._prefix = config_prefix.upper() + "_"
        self._key = config_prefix.lower()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Give *app* a publisher, with the options in its configuration: ``STOMP_URL``, ``STOMP_POOL_SIZE`` and so on.

        The configuration is read here and not again. No connection is opened. Of environment variables that
        ``app.config.from_prefixed_env()`` reads, Flask takes those that are JSON for JSON: a passcode of digits needs
        double quotes inside the variable. ``STOMP_WORKER`` is a mapping with what ``flask stomp worker`` is to know:
        ``{"dead_letter": "/queue/failed"}``.

        Keys that Kubernetes makes of a service whose name begins with the prefix, such as ``STOMP_SERVICE_HOST`` or
        ``STOMP_PORT=tcp://10.0.0.7:61613``, are passed over.

        Raises `ConfigurationError` for another ``STOMP_`` key that is no option and for a bad value, and
        `RuntimeError` if the app has such an extension already.
        """
        if self._key in app.extensions:
            raise RuntimeError(
                f"the app {app.name!r} has app.extensions[{self._key!r}] already: call init_app once for each app, or, "
                "for a second broker, make another Stomp with a config_prefix of its own"
            )
        written = redact_secrets(
            {name: value for name, value in app.config.items() if name.startswith(self._prefix)},
            lambda name: name.removeprefix(self._prefix).lower(),
        )
        from .cli import cli

        app.cli.add_command(cli)  # for `app.test_cli_runner()`, which does not know the commands of packages
        settings = written.pop(f"{self._prefix}WORKER", {})
        if not isinstance(settings, typing.Mapping):
            name = f"{self._prefix}WORKER"
            raise ConfigurationError(f"{name} must be a mapping, such as {{'prefetch': 10}}, not {settings!r}", name)
        options = read_options(self._options_in(written), prefix=self._prefix, upper=True)
        app.extensions[self._key] = StompState(app, options, settings, self)

    def _options_in(self, written: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
        """*written* without what Kubernetes has put there. Raises `ConfigurationError` for a key that is no option."""
        options: dict[str, typing.Any] = {}
        for name, value in written.items():
            bare = name.removeprefix(self._prefix)
            if option_name(bare.lower()) in OPTIONS:
                options[name] = value
            elif _is_of_a_service(bare, value):
                _log.debug("%s describes a Kubernetes service, and is no option of stomp-web", name)
            else:
                raise ConfigurationError(
                    f"{sentence(unknown_option(name, self._prefix))} If it is a setting of the application "
                    "itself, rename it, or give the extension another prefix: Stomp(config_prefix='MESSAGING')",
                    name,
                )
        return options

    @functools.cached_property
    def handlers(self) -> Handlers:
        """The functions that `subscribe` has decorated, in all apps of the extension."""
        from ..worker import Handlers  # a site that only sends has no use for a worker

        return Handlers()

    def subscribe(
        self,
        destination: str,
        *,
        ack: str = "client-individual",
        accept: typing.Sequence[str] = ("json", "text", "bytes"),
        headers: typing.Mapping[str, str] | None = None,
        id: str | None = None,
        untyped: str | None = None,
        sent_to: str | typing.Sequence[str] = (),
    ) -> typing.Callable[[_Handler], _Handler]:
        """Return a decorator: ``flask stomp worker`` calls the function with each message of *destination*.

        It gets a `ReceivedMessage`, and runs in an application context of its own. The arguments are those of
        `Handlers.subscribe`. The function must be defined where it is found by its name, at the top level of a module,
        if it is to run in another process (``--processes``).

        Raises as `Handlers.subscribe` does.
        """
        return self.handlers.subscribe(
            destination, ack=ack, accept=accept, headers=headers, id=id, untyped=untyped, sent_to=sent_to
        )

    @property
    def publisher(self) -> Publisher:
        """The current app's `Publisher`. Raises `RuntimeError` outside an application context."""
        try:
            return state_of(flask.current_app, self._key).publisher
        except RuntimeError:
            if flask.has_app_context():
                raise
        raise RuntimeError(
            "there is no current app here, so it is not known whose publisher is meant; use "
            f"app.extensions[{self._key!r}], which works everywhere, or put the call into 'with app.app_context():'"
        )


def state_of(app: flask.Flask, key: str) -> StompState:
    """Return the state in ``app.extensions[key]``. Raises `RuntimeError` if `Stomp.init_app` did not put it there."""
    state = app.extensions.get(key)
    if not isinstance(state, StompState):
        raise RuntimeError(
            f"the app {app.name!r} has no Stomp under app.extensions[{key!r}]; "
            "call init_app(app) of the extension where the app is made"
        )
    return state
