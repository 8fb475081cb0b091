"""The publishers of ``settings.STOMP``.

A publisher belongs to the process: all threads share one for each alias. Django's own ``BaseConnectionHandler`` makes
an object for each thread, which would mean a pool for each thread; so it is not used here. Nothing is closed at the end
of a request.
"""

from __future__ import annotations

import typing

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.connection import ConnectionProxy
from django.utils.functional import Promise

from .._internal.redacted import Hidden, redact_secrets
from ..config import OPTIONS, read_options, unknown_option
from ..errors import ConfigurationError
from ..observers import Event, SendFailed, SendSucceeded
from ..publisher import Publisher
from ..serializers import json_form
from .signals import message_sent, send_failed

__all__ = [
    "DEFAULT_ALIAS",
    "PublisherDoesNotExist",
    "Publishers",
    "publisher",
    "publishers",
    "worker_settings",
]

DEFAULT_ALIAS: typing.Final = "default"

# Of one alias: the options of its publisher, and what its worker is to know.
_KEYS = ("OPTIONS", "WORKER")


class _PublisherProxy(ConnectionProxy):  # type: ignore[type-arg]
    """What `publisher` is. A pickle names it, and a copy is the same object: it always means the alias "default"."""

    def __reduce__(self) -> str:
        return "publisher"

    def __copy__(self) -> _PublisherProxy:
        return self

    def __deepcopy__(self, memo: dict[int, typing.Any]) -> _PublisherProxy:
        return self


class PublisherDoesNotExist(ConfigurationError):
    """There is no publisher with this alias in ``settings.STOMP``."""


class Publishers:
    """The publishers by alias: ``publishers["audit"]``. Each is made at its first use, once for all threads.

    Iteration gives the aliases of ``settings.STOMP``. Looking one up raises `PublisherDoesNotExist` for an alias that
    is not there, and `ConfigurationError` for options that cannot be used.
    """

    def __init__(self) -> None:
        self._made: dict[str, Publisher] = {}

    def __getitem__(self, alias: str) -> Publisher:
        made = self._made
        known = made.get(alias)
        # Two threads may both make one, and the first one counts. Making one opens nothing, and a lock could be held by
        # another thread while this process forks.
        return known if known is not None else made.setdefault(alias, self.make(alias))

    def __iter__(self) -> typing.Iterator[str]:
        return iter(_entries())

    def __contains__(self, alias: object) -> bool:
        return alias in _entries()

    def make(self, alias: str) -> Publisher:
        """Return a new publisher with the options of *alias*, connected to nothing. Raises as a look-up does."""
        aliases = list(_entries())  # and no local variable with what is behind them: a traceback may show it
        if alias not in aliases:
            raise PublisherDoesNotExist(
                f"settings.STOMP has no publisher {alias!r}; it has {', '.join(map(repr, aliases)) or 'none'}", alias
            )
        options = redact_secrets(_options(alias, Hidden(_entries()[alias])))
        try:
            return Publisher(observers=[_Signals(alias)], **read_options(options))
        except ConfigurationError as error:
            raise ConfigurationError(f"settings.STOMP[{alias!r}]['OPTIONS']: {error}", error.option) from None

    def __reduce__(self) -> str:
        """A pickle names `publishers` of this module: in another process they are those of its settings."""
        return "publishers"

    def close_all(self, timeout: float = 5.0) -> None:
        """Close the publishers made so far, each in at most *timeout* seconds. The next look-up makes new ones."""
        made, self._made = self._made, {}
        for each in made.values():
            each.close(timeout)


def _entries() -> dict[str, typing.Any]:
    """``settings.STOMP``. Raises `ConfigurationError` if it is missing or no dict."""
    entries = getattr(settings, "STOMP", None)
    if not isinstance(entries, dict):
        problem = "is missing" if entries is None else f"must be a dict, not of type {type(entries).__name__}"
        raise ConfigurationError(
            f"settings.STOMP {problem}; for example: "
            'STOMP = {"default": {"OPTIONS": {"url": "stomp://localhost:61613"}}}',
            "STOMP",
        )
    return entries


def _options(alias: str, hidden: Hidden) -> dict[str, typing.Any]:
    """The options in ``settings.STOMP[alias]``, which is *hidden*. Raises `ConfigurationError` if it is no good."""
    where = f"settings.STOMP[{alias!r}]"
    if not isinstance(hidden.value, dict):
        raise ConfigurationError(f"{where} must be a dict, such as {{'OPTIONS': {{'url': 'stomp://...'}}}}", alias)
    for key in hidden.value:
        if key not in _KEYS:
            misplaced = str(key).lower() in OPTIONS
            problem = f"{key} goes into 'OPTIONS'" if misplaced else unknown_option(str(key), known=_KEYS)
            raise ConfigurationError(f"{where}: {problem}", str(key))
    for key in _KEYS:
        if not isinstance(hidden.value.get(key, {}), dict):
            kind = type(hidden.value[key]).__name__
            raise ConfigurationError(f"{where}[{key!r}] must be a dict, not of type {kind}", alias)
    return typing.cast("dict[str, typing.Any]", hidden.value.get("OPTIONS", {}))


def worker_settings(alias: str) -> dict[str, typing.Any]:
    """What ``settings.STOMP[alias]["WORKER"]`` says of the worker. Raises `ConfigurationError` as a look-up does."""
    hidden = Hidden(_entries().get(alias, {}))
    _options(alias, hidden)
    return typing.cast("dict[str, typing.Any]", hidden.value.get("WORKER", {}))


class _Signals:
    """Hands the events of the publisher with an alias on as signals."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def listens(self) -> bool:
        """Whether anybody is connected to one of the signals."""
        # Not `has_listeners`, which takes a lock and looks at each: who is connected to another sender gets nothing.
        return bool(message_sent.receivers or send_failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*."""
        if isinstance(event, SendSucceeded):
            message_sent.send_robust(
                Publisher,
                using=self.alias,
                message_id=event.message_id,
                destination=event.destination,
                confirmed=event.confirmed,
                seconds=event.seconds,
            )
        elif isinstance(event, SendFailed):
            send_failed.send_robust(
                Publisher,
                using=self.alias,
                message_id=event.message_id,
                destination=event.destination,
                error=event.error,
                seconds=event.seconds,
            )


#: The publishers of ``settings.STOMP``.
publishers = Publishers()

#: The publisher with the alias ``default``, looked up anew at each use.
publisher = typing.cast(Publisher, _PublisherProxy(publishers, DEFAULT_ALIAS))  # type: ignore[arg-type]


# gettext_lazy("...") and its kin.
json_form.register(Promise, str)


def _settings_changed(*, setting: str, **_: object) -> None:
    if setting == "STOMP":
        publishers.close_all()


setting_changed.connect(_settings_changed, dispatch_uid="stomp_web.django")
