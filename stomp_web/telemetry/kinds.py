"""`kind_of` tells publishers, workers and relays apart. `guarded` prevents nested calls of telemetry functions."""

from __future__ import annotations

import os
import sys
import threading
import typing

from ..errors import ConfigurationError

__all__ = ["guarded", "is_inside", "kind_of"]

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")

# Where the classes are. Their packages stand above this one, so they are looked up among the loaded modules.
_HOMES: typing.Final = {
    "publisher": ("stomp_web.publisher.publisher", "Publisher"),
    "worker": ("stomp_web.worker.worker", "Worker"),
    "relay": ("stomp_web.outbox.relay", "Relay"),
}
# The threads that run `guarded` now. The process id is in the key, because the threads of a forked child may have the
# same identifiers as those of its parent.
_inside: typing.Final[set[tuple[int, int]]] = set()


def kind_of(target: object, function: str) -> str:
    """Return the kind of *target*: ``publisher``, ``worker`` or ``relay``.

    Raises `ConfigurationError` for any other object. The error names *function*, the function that got *target*.
    """
    for kind, (module, name) in _HOMES.items():
        found = getattr(sys.modules.get(module), name, None)
        if found is not None and isinstance(target, found):
            return kind
    raise ConfigurationError(
        f"{function} takes a Publisher, a Worker or a Relay, not {type(target).__name__}; in Flask, the publisher is "
        "app.extensions['stomp'].publisher, and in Django stomp_web.django.publishers['default']"
    )


def is_inside() -> bool:
    """Return whether this thread is inside a call of `guarded`."""
    return (os.getpid(), threading.get_ident()) in _inside


def guarded(function: typing.Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R | None:
    """Call *function*, and return its result. Inside another call of `guarded` in this thread, only return ``None``.

    While *function* runs, a signal handler, a finalizer or an exporter may send a message. OpenTelemetry's SDK or
    `prometheus_client` may hold a lock at that moment, and a nested call would wait for this lock for ever.
    """
    thread = os.getpid(), threading.get_ident()
    if thread in _inside:
        return None
    try:
        _inside.add(thread)
        return function(*args, **kwargs)
    finally:
        _inside.discard(thread)
