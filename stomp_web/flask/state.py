"""`StompState` is one app's part of the extension, in ``app.extensions``.

The extension adds nothing to requests or contexts. Connections belong to the pool, and the pool belongs to the process.
"""

from __future__ import annotations

import functools
import inspect
import typing

import blinker
import flask

from .._internal.per_process import Unpicklable
from ..errors import ConfigurationError
from ..observers import SignalObserver
from ..publisher import OutboxMessage, Publisher

if typing.TYPE_CHECKING:
    from ..sqlalchemy import Outbox
    from ..sqlalchemy.sessions import AnySession
    from ..worker import Handlers

__all__ = ["PublisherMethods", "StompState", "message_sent", "send_failed", "state_of"]

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")

# Both signals are sent in the thread that sends the message. Their sender is the Flask app, not a proxy of it.

#: A message was sent. Arguments: ``message_id``, ``destination``, ``confirmed`` (whether the broker's receipt came),
#: ``seconds`` (the time of the whole call).
message_sent = blinker.NamedSignal("stomp-message-sent")

#: A message was not sent, or its outcome is not known. Arguments: ``message_id``, ``destination``, ``error``,
#: ``seconds``. The class of the error tells which of these two cases it is.
send_failed = blinker.NamedSignal("stomp-send-failed")


def _method(
    method: typing.Callable[typing.Concatenate[Publisher, _P], _R],
) -> typing.Callable[typing.Concatenate[PublisherMethods, _P], _R]:
    """Return a method for `PublisherMethods` that calls *method* of the object's `publisher`.

    The new method has the name, the signature and the docstring of *method*.
    """

    @functools.wraps(method, assigned=("__name__", "__doc__", "__annotations__"))
    def call(self: PublisherMethods, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return method(self.publisher, *args, **kwargs)

    call.__qualname__ = f"PublisherMethods.{method.__name__}"
    return call


def _signature(function: typing.Callable[..., object], wrapped: typing.Callable[..., object]) -> inspect.Signature:
    """Return the signature of *function*, with the parameters of *wrapped* in place of ``**options``."""
    own, more = inspect.signature(function), inspect.signature(wrapped).parameters
    named = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    named += [each for name, each in more.items() if name not in own.parameters]
    return own.replace(parameters=named)


class PublisherMethods:
    """The methods of the app's publisher. The extension and each `StompState` have these methods."""

    publisher: Publisher
    transactional_outbox: Outbox

    def send(
        self,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None = None,
        *,
        outbox: AnySession | None = None,
        key: str | None = None,
        **options: typing.Any,
    ) -> str:
        """Send one message, and return its id. `Publisher.send` documents the other arguments and the exceptions.

        * *outbox* - a session of SQLAlchemy, such as ``db.session``. The session's transaction writes the message into
          the outbox. After the commit, ``flask stomp relay`` sends the message. See `stomp_web.sqlalchemy.Outbox`.
        * *key* - messages with the same key, such as ``str(order.id)``, stay in order. A key needs *outbox*.
        """
        if outbox is not None:
            return self.transactional_outbox.send(outbox, destination, payload, headers, key=key, **options)
        if key is not None:
            raise ConfigurationError("key is for messages in the outbox; add outbox=db.session", "key")
        return self.publisher.send(destination, payload, headers, **options)

    send.__signature__ = _signature(send, Publisher.send)  # type: ignore[attr-defined]
    asend = _method(Publisher.asend)
    send_many = _method(Publisher.send_many)
    batch = _method(Publisher.batch)
    check = _method(Publisher.check)
    stats = _method(Publisher.stats)
    close = _method(Publisher.close)

    @property
    def outbox(self) -> list[OutboxMessage]:
        """The messages sent so far, if the address of the app's broker is ``memory://``. See `Publisher.outbox`."""
        return self.publisher.outbox


class StompState(PublisherMethods, Unpicklable):
    """One app's part of the extension: `app`, `publisher` and the extension's `handlers`.

    A state also has the publisher's methods. A `StompState` works in every thread, and needs no application context. In
    the application context of another app, the `StompState` still uses `app`.
    `worker_settings` is ``STOMP_WORKER`` of the app's configuration.
    """

    _instead = "load the app there, and use app.extensions"

    def __init__(
        self,
        app: flask.Flask,
        options: typing.Mapping[str, typing.Any],
        handlers: typing.Callable[[], Handlers],
        worker_settings: typing.Mapping[str, typing.Any],
        outbox_settings: typing.Mapping[str, typing.Any],
        alias: str = "default",
    ) -> None:
        self.app = app
        self._outbox_settings = {"alias": alias, **outbox_settings}
        self.worker_settings = worker_settings
        self._handlers = handlers
        #: The app's `Publisher`.
        self.publisher = Publisher(observers=[SignalObserver(message_sent, send_failed, "send", app)], **options)

    @functools.cached_property
    def transactional_outbox(self) -> Outbox:  # type: ignore[override]
        """The outbox with the settings ``STOMP_OUTBOX`` of the app's configuration. Needs SQLAlchemy."""
        from .outbox import make_outbox

        return make_outbox(self.app, self.publisher, self._outbox_settings)

    @property
    def handlers(self) -> Handlers:
        """The handlers of messages. All apps of the extension share the handlers."""
        return self._handlers()

    def __repr__(self) -> str:
        return f"<StompState of {self.app.name!r}: {self.publisher.url}>"


def state_of(app: flask.Flask, key: str) -> StompState:
    """Return the state in ``app.extensions[key]``. Raises `RuntimeError` if `Stomp.init_app` has not made the state."""
    state = app.extensions.get(key)
    if not isinstance(state, StompState):
        raise RuntimeError(
            f"the app {app.name!r} has no Stomp under app.extensions[{key!r}]; "
            "call init_app(app) of the extension where the app is made"
        )
    return state
