"""`StompState`: one app's part of the extension, in ``app.extensions``.

Nothing is hooked into requests or contexts; connections belong to the pool, and the pool to the process.
"""

from __future__ import annotations

import functools
import typing

import blinker
import flask

from .._internal.unpicklable import Unpicklable
from ..observers import SignalObserver
from ..publisher import OutboxMessage, Publisher

if typing.TYPE_CHECKING:
    from ..worker import Handlers

__all__ = ["PublisherMethods", "StompState", "message_sent", "send_failed", "state_of"]

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")

# Sent in the thread that sends the message, with the Flask app, not a proxy of it, as their sender.

#: A message was sent. Arguments: ``message_id``, ``destination``, ``confirmed`` (whether the broker's receipt came),
#: ``seconds`` (the time of the whole call).
message_sent = blinker.NamedSignal("stomp-message-sent")

#: A message was not sent, or its outcome is not known. Arguments: ``message_id``, ``destination``, ``error`` (its class
#: tells what is true of the message), ``seconds``.
send_failed = blinker.NamedSignal("stomp-send-failed")


def _method(
    method: typing.Callable[typing.Concatenate[Publisher, _P], _R],
) -> typing.Callable[typing.Concatenate[PublisherMethods, _P], _R]:
    """Return a method with the name, signature and docstring of *method*, which calls it of `publisher`."""

    @functools.wraps(method, assigned=("__name__", "__doc__", "__annotations__"))
    def call(self: PublisherMethods, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return method(self.publisher, *args, **kwargs)

    call.__qualname__ = f"PublisherMethods.{method.__name__}"
    return call


class PublisherMethods:
    """The methods of the app's publisher, which the extension and its state both have."""

    publisher: Publisher

    send = _method(Publisher.send)
    asend = _method(Publisher.asend)
    send_many = _method(Publisher.send_many)
    batch = _method(Publisher.batch)
    check = _method(Publisher.check)
    stats = _method(Publisher.stats)
    close = _method(Publisher.close)

    @property
    def outbox(self) -> list[OutboxMessage]:
        """The messages sent so far, if the app's address is ``memory://``. See `Publisher.outbox`."""
        return self.publisher.outbox


class StompState(PublisherMethods, Unpicklable):
    """One app's part of the extension: its `app`, its `publisher` with the same methods, and the `handlers`.

    It works in threads, without a context, and in another app's context. `worker_settings` are the settings of the
    worker in the app's configuration, ``STOMP_WORKER``.
    """

    _instead = "load the app there, and use app.extensions"

    def __init__(
        self,
        app: flask.Flask,
        options: typing.Mapping[str, typing.Any],
        worker_settings: typing.Mapping[str, typing.Any],
        handlers: typing.Callable[[], Handlers],
    ) -> None:
        self.app = app
        self.worker_settings = worker_settings
        self._handlers = handlers
        #: The app's `Publisher`.
        self.publisher = Publisher(observers=[SignalObserver(message_sent, send_failed, "send", app)], **options)

    @property
    def handlers(self) -> Handlers:
        """The handlers of messages, which all apps of the extension share."""
        return self._handlers()

    def __repr__(self) -> str:
        return f"<StompState of {self.app.name!r}: {self.publisher.url}>"


def state_of(app: flask.Flask, key: str) -> StompState:
    """Return the state in ``app.extensions[key]``. Raises `RuntimeError` if `Stomp.init_app` did not put it there."""
    state = app.extensions.get(key)
    if not isinstance(state, StompState):
        raise RuntimeError(
            f"the app {app.name!r} has no Stomp under app.extensions[{key!r}]; "
            "call init_app(app) of the extension where the app is made"
        )
    return state
