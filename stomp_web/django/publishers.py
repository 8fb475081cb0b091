"""The publishers of ``settings.STOMP``. All threads of a process share one publisher for each alias.

Django's ``BaseConnectionHandler`` would make a pool for each thread, so this module does not use it. At the end of a
request, nothing is closed.
"""

from __future__ import annotations

import typing

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import Signal
from django.utils.connection import ConnectionProxy
from django.utils.functional import Promise

from .._internal.redacted import redact_secrets
from ..config import DEFAULTS, OPTIONS, read_options, unknown_option
from ..errors import ConfigurationError
from ..observers import SignalObserver
from ..publisher import Publisher
from ..serializers import json_form

__all__ = ["PublisherDoesNotExist", "Publishers", "message_sent", "publisher", "publishers", "send_failed"]

#: A message was sent. Arguments: ``using``, ``message_id``, ``destination``, ``confirmed`` (whether the broker's
#: receipt came), ``seconds`` (the time of the whole call).
message_sent = Signal()

#: A message was not sent, or its outcome is not known. Arguments: ``using``, ``message_id``, ``destination``, ``error``
#: (its class tells whether the outcome is known), ``seconds``.
send_failed = Signal()

DEFAULT_ALIAS: typing.Final = "default"

# The keys of an alias: the options of its publisher, and the settings of its outbox and its worker.
_KEYS = ("OPTIONS", "OUTBOX", "WORKER")


class _PublisherProxy(ConnectionProxy):  # type: ignore[type-arg]
    """The class of `publisher`. Copying `publisher` returns `publisher` itself.

    A pickle of `publisher` contains only the name of this variable and of its module.
    """

    def __reduce__(self) -> str:
        return "publisher"

    def __deepcopy__(self, memo: dict[int, typing.Any]) -> _PublisherProxy:
        return self


class PublisherDoesNotExist(ConfigurationError):
    """There is no publisher with this alias in ``settings.STOMP``."""


class Publishers:
    """The publishers by alias: ``publishers["audit"]``. The first use of an alias makes its publisher for all threads.

    Iteration yields the aliases of ``settings.STOMP``. A look-up raises `PublisherDoesNotExist` for an unknown alias. A
    look-up raises `ConfigurationError` for options that cannot be used.
    """

    def __init__(self) -> None:
        self._made: dict[str, Publisher] = {}
        self._outbox_is_default: dict[str, bool] = {}

    def __getitem__(self, alias: str) -> Publisher:
        made = self._made
        known = made.get(alias)
        # If two threads make a publisher at the same time, the first one is kept. The other one has no open connection.
        # There is no lock, because another thread could hold the lock while this process forks.
        return known if known is not None else made.setdefault(alias, self.make(alias))

    def __iter__(self) -> typing.Iterator[str]:
        return iter(_entries())

    def make(self, alias: str) -> Publisher:
        """Return a new, unconnected publisher for *alias*. Raises the same exceptions as ``publishers[alias]``."""
        aliases = list(_entries())
        if alias not in aliases:
            raise PublisherDoesNotExist(
                f"settings.STOMP has no publisher {alias!r}; it has {', '.join(map(repr, aliases)) or 'none'}", alias
            )
        options = section_of(alias, "OPTIONS")
        signals = SignalObserver(message_sent, send_failed, "send_robust", Publisher, using=alias)
        try:
            return Publisher(observers=[signals], **read_options(options))
        except ConfigurationError as error:
            raise ConfigurationError(f"settings.STOMP[{alias!r}]['OPTIONS']: {error}", error.option) from None

    def outbox_is_default(self, alias: str) -> bool:
        """Return whether `send` uses the outbox for *alias* if the call has neither *outbox* nor *on_commit*."""
        known = self._outbox_is_default.get(alias)
        if known is None:
            known = self._outbox_is_default[alias] = section_of(alias, "OUTBOX").get("default") is True
        return known

    def made(self) -> list[Publisher]:
        """Return the publishers that exist in this process. No publisher is made."""
        return list(self._made.values())

    def __reduce__(self) -> str:
        """Pickle this object by its name, so that another process uses the publishers of its own settings."""
        return "publishers"

    def close_all(self, timeout: float = DEFAULTS.timeout) -> None:
        """Close the existing publishers, each in at most *timeout* seconds. The next look-up makes new publishers."""
        made, self._made = self._made, {}
        self._outbox_is_default = {}
        for each in made.values():
            each.close(timeout)


# Error reporters print local variables, so no function that raises holds unredacted settings in a variable.


def _entries() -> dict[str, typing.Any]:
    """Return ``settings.STOMP``. Raises `ConfigurationError` if it is missing or not a dict."""
    kind = type(getattr(settings, "STOMP", None))
    if not issubclass(kind, dict):
        problem = "is missing" if kind is type(None) else f"must be a dict, not of type {kind.__name__}"
        raise ConfigurationError(
            f"settings.STOMP {problem}; for example: "
            'STOMP = {"default": {"OPTIONS": {"url": "stomp://localhost:61613"}}}',
            "STOMP",
        )
    return typing.cast("dict[str, typing.Any]", settings.STOMP)


def section_of(alias: str, section: str) -> dict[str, typing.Any]:
    """Return ``settings.STOMP[alias][section]``. Raises `ConfigurationError` for a bad entry.

    In the returned dict, the ``repr`` of each secret is redacted.
    """
    where = f"settings.STOMP[{alias!r}]"
    if not isinstance(_entries().get(alias, {}), dict):
        raise ConfigurationError(f"{where} must be a dict, such as {{'OPTIONS': {{'url': 'stomp://...'}}}}", alias)
    for key, kind in {key: type(value) for key, value in _entries().get(alias, {}).items()}.items():
        if key not in _KEYS:
            misplaced = str(key).lower() in OPTIONS
            problem = f"{key} goes into 'OPTIONS'" if misplaced else unknown_option(str(key), known=_KEYS)
            raise ConfigurationError(f"{where}: {problem}", str(key))
        if not issubclass(kind, dict):
            raise ConfigurationError(f"{where}[{key!r}] must be a dict, not of type {kind.__name__}", alias)
    return redact_secrets(_entries().get(alias, {}).get(section, {}))


#: The publishers of ``settings.STOMP``.
publishers = Publishers()

#: The publisher with the alias ``default``, looked up anew at each use.
publisher = typing.cast(Publisher, _PublisherProxy(publishers, DEFAULT_ALIAS))  # type: ignore[arg-type]


# gettext_lazy("...") and similar functions return a `Promise`.
json_form.register(Promise, str)


def _settings_changed(*, setting: str, **_: object) -> None:
    if setting == "STOMP":
        publishers.close_all()


setting_changed.connect(_settings_changed, dispatch_uid="stomp_web.django")
