"""The system checks of the settings. No check opens a socket or imports a module of handlers.

* **stomp_web.E001** - ``settings.STOMP`` is missing, is not a dict, or has no ``"default"``.
* **stomp_web.E002** - an alias cannot be used. A key, an option, a value or the address in its entry is wrong.
  ``WORKER`` in the entry is checked, too.
* **stomp_web.E004** - ``stomp_web.django.outbox`` is not in INSTALLED_APPS, but is needed: by ``OUTBOX`` of an alias,
  by a handler with ``once=True``, or by the option ``outbox`` or ``results`` of a ``StompTaskBackend``. The check sees
  only the handlers that the process has imported. ``stomp_worker`` imports all handlers.
* **stomp_web.E006** - the ``OPTIONS`` of a ``StompTaskBackend`` in ``settings.TASKS`` cannot be used. For example, an
  option is unknown or has a bad value, ``settings.STOMP`` lacks the alias, ``max_attempts`` is more than the worker
  allows, or the database of the results has ``AUTOCOMMIT`` off.
* **stomp_web.E007** - the ``QUEUES`` of a ``StompTaskBackend`` are empty, a queue in ``QUEUES`` cannot be used, or two
  backends have the same queue at the broker.
* **stomp_web.E008** - there is a ``StompTaskBackend``, and ``stomp_web.django`` is not in INSTALLED_APPS, so the
  command ``stomp_worker`` is missing.

With ``manage.py check --deploy``:

* **stomp_web.W001** - credentials travel unencrypted to another machine.
* **stomp_web.W002** - user and password are ``guest``.
* **stomp_web.W003** - the address is for development: ``memory://``, ``console://`` or ``null://``.
* **stomp_web.W004** - there is no address, so messages go to a broker on this machine.
"""

from __future__ import annotations

import contextlib
import ipaddress
import typing

from django.apps import apps
from django.conf import settings
from django.core import checks

from ..connection.address import parse_address
from ..errors import ConfigurationError
from ..publisher import Publisher
from .handlers import handlers_by_alias, make_worker
from .publishers import DEFAULT_ALIAS, publishers, section_of

__all__ = ["check_deployment", "check_outbox_app", "check_settings"]


def check_settings(**_: object) -> list[checks.CheckMessage]:
    """Report the entries of ``settings.STOMP`` that cannot be used."""
    try:
        aliases = list(publishers)
    except ConfigurationError as error:
        return [checks.Error(str(error), id="stomp_web.E001")]
    found: list[checks.CheckMessage] = []
    if DEFAULT_ALIAS not in aliases:
        hint = "stomp_web.django.publisher and send() use that alias."
        found.append(checks.Error(f"settings.STOMP has no {DEFAULT_ALIAS!r}.", hint, id="stomp_web.E001"))
    for alias in aliases:
        try:
            options = publishers.make(alias).options
            if section_of(alias, "WORKER"):
                from ..worker import Handlers  # a site that only sends does not need the worker

                make_worker(alias, options, Handlers())
        except ConfigurationError as error:
            found.append(checks.Error(str(error), id="stomp_web.E002"))
    return found


def check_outbox_app(**_: object) -> list[checks.CheckMessage]:
    """Report the aliases and handlers that need the outbox app, if this app is not installed."""
    if apps.is_installed("stomp_web.django.outbox"):
        return []
    needing: list[str] = []
    with contextlib.suppress(ConfigurationError):  # reported by the check of the settings
        needing += [f"settings.STOMP[{alias!r}] has OUTBOX" for alias in publishers if section_of(alias, "OUTBOX")]
    for handlers in handlers_by_alias.values():
        needing += [f"the handler {handler.name} has once=True" for handler in handlers if handler.once]
    text = ", and 'stomp_web.django.outbox' is not in INSTALLED_APPS: there is no table."
    hint = "Add it to INSTALLED_APPS, and run manage.py migrate."
    return [checks.Error(need + text, hint, id="stomp_web.E004") for need in needing]


def check_deployment(**_: object) -> list[checks.CheckMessage]:
    """Report the entries of ``settings.STOMP`` that work but are not fit for production."""
    found: list[checks.CheckMessage] = []
    with contextlib.suppress(ConfigurationError):
        for alias in publishers:
            with contextlib.suppress(ConfigurationError):
                found.extend(_warnings(alias, publishers.make(alias)))
    return found


def _warnings(alias: str, publisher: Publisher) -> typing.Iterator[checks.CheckMessage]:
    where, url = f"settings.STOMP[{alias!r}]", publisher.url
    address = parse_address(publisher.options.url)
    name_broker = "Set the option url to the broker's address."
    if address.local:
        text = f"{where} sends to {url}, so that no broker gets a message."
        yield checks.Warning(text, name_broker, id="stomp_web.W003")
        return
    login = publisher.options.login or address.login
    passcode = publisher.options.passcode or address.passcode
    if passcode and not address.tls and not all(_this_machine(endpoint.host) for endpoint in address.endpoints):
        hint = "Use stomp+ssl://, which encrypts, and verifies the broker's certificate."
        yield checks.Warning(f"{where} sends user and password unencrypted to {url}.", hint, id="stomp_web.W001")
    if login == passcode == "guest":
        text = f"{where} uses the user 'guest' with the password 'guest', which is publicly known."
        yield checks.Warning(text, "Give the application a user of its own at the broker.", id="stomp_web.W002")
    if "url" not in settings.STOMP[alias].get("OPTIONS", {}):
        yield checks.Warning(f"{where} names no broker, and messages go to {url}.", name_broker, id="stomp_web.W004")


def _this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
