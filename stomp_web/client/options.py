"""How clients read their options: `read_url` for an address, `credentials` for the arguments of `connect`.

Their callers redact the arguments before, as error reporters show the local variables of each function.
"""

from __future__ import annotations

import typing

from ..connection.address import parse_address
from ..connection.connector import Connector, client_options, make_connector
from ..connection.tls import TLS_OPTIONS
from ..errors import ConfigurationError

__all__ = ["URL_OPTIONS", "credentials", "read_url"]

#: Options of an address that every client understands; the others are the pool's and the publisher's.
URL_OPTIONS: typing.Final = ("timeout", "connect_timeout", "confirm", "heart_beat", *TLS_OPTIONS)


def read_url(
    url: str,
    options: typing.Mapping[str, typing.Any],
    client_defaults: typing.Mapping[str, typing.Any],
    *,
    more_options: typing.Mapping[str, typing.Any] | None = None,
    receives: bool = False,
) -> tuple[Connector, dict[str, typing.Any]]:
    """Return the connector for an address, and the options that are the client's own.

    *options* win over those in the address. *client_defaults* are the names and the defaults of the client's own
    options, such as ``timeout``; *more_options* those of the connection's that only some clients have, and an address
    may hold them. Raises `ConfigurationError`.
    """
    address = parse_address(url)
    if address.local:
        raise ConfigurationError(f"{address.scheme}:// opens no connection; it is for a Publisher", "url")
    more = more_options or {}
    written = client_options(address, (*URL_OPTIONS, *more))
    connection = {**more, **written, **options}
    own = {name: connection.pop(name, default) for name, default in client_defaults.items()}
    known = (*client_defaults, *more)
    return make_connector(address.endpoints, receives=receives, more_options=known, **connection), own


def credentials(
    connector: Connector, login: str | None, passcode: str | None, headers: typing.Mapping[str, str] | None
) -> dict[str, object]:
    """The arguments of `connect` that were given, which replace those of the *connector*.

    Raises `ConfigurationError` if no CONNECT can carry them.
    """
    changes: dict[str, object] = {"login": login, "passcode": passcode, "headers": headers}
    given = {name: value for name, value in changes.items() if value is not None}
    connector.check(**given)
    return given
