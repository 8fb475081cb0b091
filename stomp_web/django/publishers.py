"""The publishers of ``settings.STOMP``: one for each alias, shared by all threads of a process.

Django's ``BaseConnectionHandler`` would make a pool for each thread. Nothing is closed at the end of a request.
"""

from __future__ import annotations

import dataclasses
import typing

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.connection import ConnectionProxy
from django.utils.functional import Promise

from .._internal.redacted import redact_secrets
from ..config import DEFAULTS, OPTIONS, read_options, unknown_option
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

# The keys of an alias: the options of its publisher, and the settings of its worker.
_KEYS = ("OPTIONS", "WORKER")


class _PublisherProxy(ConnectionProxy):  # type: ignore[type-arg]
    """The class of `publisher`. A pickle names it, and a copy is the same object: it always means the default alias."""

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
        # Two threads may both make one, and the first one is kept. There is no lock, which another thread could hold
        # while this process forks; and making a publisher opens nothing.
        return known if known is not None else made.setdefault(alias, self.make(alias))

    def __iter__(self) -> typing.Iterator[str]:
        return iter(_entries())

    def __contains__(self, alias: object) -> bool:
        return alias in _entries()

    def make(self, alias: str) -> Publisher:
        """Return a new publisher with the options of *alias*, connected to nothing. Raises as a look-up does."""
        aliases = list(_entries())
        if alias not in aliases:
            raise PublisherDoesNotExist(
                f"settings.STOMP has no publisher {alias!r}; it has {', '.join(map(repr, aliases)) or 'none'}", alias
            )
        options = _section(alias, "OPTIONS")
        try:
            return Publisher(observers=[_Signals(alias)], **read_options(options))
        except ConfigurationError as error:
            raise ConfigurationError(f"settings.STOMP[{alias!r}]['OPTIONS']: {error}", error.option) from None

    def __reduce__(self) -> str:
        """A pickle names `publishers` of this module: in another process they are those of its settings."""
        return "publishers"

    def close_all(self, timeout: float = DEFAULTS.timeout) -> None:
        """Close the publishers made so far, each in at most *timeout* seconds. The next look-up makes new ones."""
        made, self._made = self._made, {}
        for each in made.values():
            each.close(timeout)


# Error reporters print local variables, so no function that raises holds unredacted settings in one.


def _entries() -> dict[str, typing.Any]:
    """``settings.STOMP``. Raises `ConfigurationError` if it is missing or no dict."""
    kind = type(getattr(settings, "STOMP", None))
    if not issubclass(kind, dict):
        problem = "is missing" if kind is type(None) else f"must be a dict, not of type {kind.__name__}"
        raise ConfigurationError(
            f"settings.STOMP {problem}; for example: "
            'STOMP = {"default": {"OPTIONS": {"url": "stomp://localhost:61613"}}}',
            "STOMP",
        )
    return typing.cast("dict[str, typing.Any]", settings.STOMP)


def _section(alias: str, section: str) -> dict[str, typing.Any]:
    """The dict *section* of ``settings.STOMP[alias]``, redacted. Raises `ConfigurationError` for a bad entry."""
    where = f"settings.STOMP[{alias!r}]"
    kinds = _kinds(_entries().get(alias, {}))
    if kinds is None:
        raise ConfigurationError(f"{where} must be a dict, such as {{'OPTIONS': {{'url': 'stomp://...'}}}}", alias)
    for key, kind in kinds.items():
        if key not in _KEYS:
            misplaced = str(key).lower() in OPTIONS
            problem = f"{key} goes into 'OPTIONS'" if misplaced else unknown_option(str(key), known=_KEYS)
            raise ConfigurationError(f"{where}: {problem}", str(key))
        if not issubclass(kind, dict):
            raise ConfigurationError(f"{where}[{key!r}] must be a dict, not of type {kind.__name__}", alias)
    return redact_secrets(_entries()[alias].get(section, {})) if kinds else {}


def _kinds(entry: object) -> dict[str, type] | None:
    return {key: type(value) for key, value in entry.items()} if isinstance(entry, dict) else None


def worker_settings(alias: str) -> dict[str, typing.Any]:
    """The settings of the worker of *alias*: ``WORKER`` of its entry. Raises `ConfigurationError` as a look-up does."""
    return _section(alias, "WORKER")


class _Signals:
    """Sends the signals for the events of the publisher with an alias."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def listens(self) -> bool:
        """Whether any receiver is connected to one of the signals."""
        # Not `has_listeners`, which takes a lock and looks at each receiver.
        return bool(message_sent.receivers or send_failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*, with its fields as arguments."""
        if isinstance(event, SendSucceeded | SendFailed):
            signal = message_sent if isinstance(event, SendSucceeded) else send_failed
            arguments = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
            signal.send_robust(Publisher, using=self.alias, **arguments)


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
