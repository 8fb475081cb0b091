"""The system checks. They read settings only: no socket is opened.

* **stomp_web.E001** - ``settings.STOMP`` is missing, no dict, or without ``"default"``.
* **stomp_web.E002** - an alias cannot be used: a wrong key, an unknown option, a bad value or address,
  also of its worker.

With ``manage.py check --deploy``:

* **stomp_web.W001** - credentials travel unencrypted to another machine.
* **stomp_web.W002** - user and password are ``guest``.
* **stomp_web.W003** - the address is one for development: ``memory://``, ``console://`` or ``null://``.
* **stomp_web.W004** - there is no address, so that messages go to a broker on this machine.
"""

from __future__ import annotations

import ipaddress
import typing

from django.conf import settings
from django.core import checks

from ..connection.address import parse_address
from ..errors import ConfigurationError
from .handlers import make_worker
from .publishers import DEFAULT_ALIAS, publishers, worker_settings

if typing.TYPE_CHECKING:
    from ..publisher import Publisher

__all__ = ["check_deployment", "check_settings"]


def check_settings(**_: object) -> list[checks.CheckMessage]:
    """Whether ``settings.STOMP`` can be used."""
    try:
        aliases = list(publishers)
    except ConfigurationError as error:
        return [checks.Error(str(error), id="stomp_web.E001")]
    found: list[checks.CheckMessage] = []
    if DEFAULT_ALIAS not in aliases:
        found.append(
            checks.Error(
                f"settings.STOMP has no {DEFAULT_ALIAS!r}.",
                hint="stomp_web.django.publisher and send() use that alias.",
                id="stomp_web.E001",
            )
        )
    for alias in aliases:
        made = _make(alias)
        problem = made if isinstance(made, ConfigurationError) else _worker_problem(alias, made)
        if problem is not None:
            found.append(checks.Error(str(problem), id="stomp_web.E002"))
    return found


def _worker_problem(alias: str, publisher: Publisher) -> ConfigurationError | None:
    """Return the error in the settings of the worker; ``None`` if there are none, or if they are good."""
    if not worker_settings(alias):
        return None
    from ..worker import Handlers

    try:
        make_worker(alias, publisher.options, Handlers())
    except ConfigurationError as error:
        return error
    return None


def check_deployment(**_: object) -> list[checks.CheckMessage]:
    """Whether ``settings.STOMP`` is fit for production. Unusable aliases are reported by `check_settings`."""
    found: list[checks.CheckMessage] = []
    try:
        aliases = list(publishers)
    except ConfigurationError:
        return found
    for alias in aliases:
        made = _make(alias)
        if not isinstance(made, ConfigurationError):
            found.extend(_warnings(f"settings.STOMP[{alias!r}]", made))
            if "url" not in settings.STOMP[alias].get("OPTIONS", {}):
                found.append(
                    checks.Warning(
                        f"settings.STOMP[{alias!r}] names no broker, and messages go to {made.url}.",
                        hint="Set the option url to the broker's address.",
                        id="stomp_web.W004",
                    )
                )
    return found


def _make(alias: str) -> Publisher | ConfigurationError:
    """Return a publisher, which is not connected, or the error that prevents it."""
    try:
        return publishers.make(alias)
    except ConfigurationError as error:
        return error


def _warnings(where: str, publisher: Publisher) -> typing.Iterator[checks.CheckMessage]:
    address = parse_address(publisher.options.url)
    if address.local:
        yield checks.Warning(
            f"{where} sends to {publisher.url}, so that no broker gets a message.",
            hint="Set the option url to the broker's address.",
            id="stomp_web.W003",
        )
        return
    login = publisher.options.login or address.login
    passcode = publisher.options.passcode or address.passcode
    if passcode and not address.tls and not all(_this_machine(endpoint.host) for endpoint in address.endpoints):
        yield checks.Warning(
            f"{where} sends user and password unencrypted to {publisher.url}.",
            hint="Use stomp+ssl://, which encrypts, and verifies the broker's certificate.",
            id="stomp_web.W001",
        )
    if login == passcode == "guest":
        yield checks.Warning(
            f"{where} uses the user 'guest' with the password 'guest', which is publicly known.",
            hint="Give the application a user of its own at the broker.",
            id="stomp_web.W002",
        )


def _this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
