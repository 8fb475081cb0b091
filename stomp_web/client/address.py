"""Addresses: ``stomp://[user[:passcode]@]host[:port][,host2[:port2]...][/vhost][?option=value]``.

Every part may be percent-encoded. The passcode is in no ``repr``, no ``str`` and no error.
"""

from __future__ import annotations

import dataclasses
import typing
import urllib.parse

from ..errors import ConfigurationError
from ..hidden import Secret, hide_secret, hide_secrets

__all__ = ["SCHEMES", "Address", "Endpoint", "parse_address"]

#: The schemes that reach a broker, with their default ports (those of RabbitMQ's and ActiveMQ's documentation).
SCHEMES: typing.Final = {"stomp": 61613, "stomp+ssl": 61614}
#: The schemes for development, which open no connection.
LOCAL_SCHEMES: typing.Final = ("memory", "console", "null")


class Endpoint(typing.NamedTuple):
    """One broker's `host` and `port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address, decoded. `options` are those of the query, still texts."""

    scheme: str
    endpoints: tuple[Endpoint, ...]
    login: str | None = None
    passcode: str | None = dataclasses.field(default=None, repr=False)
    vhost: str | None = None
    options: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "stomp+ssl"

    @property
    def local(self) -> bool:
        """Whether this is one of the addresses for development, which open no connection."""
        return self.scheme in LOCAL_SCHEMES

    def __str__(self) -> str:
        """The address without credentials and options."""
        vhost = "" if self.vhost is None else "/" + urllib.parse.quote(self.vhost, safe="")
        return f"{self.scheme}://{','.join(map(str, self.endpoints))}{vhost}"


def parse_address(url: str) -> Address:
    """Return the parts of *url*.

    Raises `ConfigurationError` that says which part is wrong. The credentials are never shown.
    """
    url = hide_secret("url", url)
    try:
        return _parse(url)
    except ConfigurationError as error:
        problem, option = str(error), error.option
    # Raised anew: the traceback of the first would show the parts of the address.
    raise ConfigurationError(problem, option)


def _parse(url: str) -> Address:
    if not isinstance(url, str):
        raise ConfigurationError(f"the address must be str, not {type(url).__name__}", "url")
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    known = (*SCHEMES, *LOCAL_SCHEMES)
    if not separator or scheme not in known:
        # What is no word may be a passcode that stands in the wrong place.
        begin = f"the scheme {scheme!r}" if separator and scheme.replace("+", "").isalnum() else "no scheme"
        raise ConfigurationError(
            f"the address has {begin}; it must begin with one of {', '.join(name + '://' for name in known)}, "
            "for example stomp://localhost:61613",
            "url",
        )
    rest, _, query = rest.partition("?")
    options = _parse_query(query)
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if not at and "@" in path + query:
        raise ConfigurationError(
            "the address has an '@' behind its first '/' or '?'; write '/' as %2F and '?' as %3F in user and passcode, "
            "and '@' as %40 in a virtual host or an option",
            "url",
        )
    login, colon, passcode = credentials.partition(":")
    if scheme in LOCAL_SCHEMES:
        return Address(scheme, (), options=hide_secrets(options))
    return Address(
        scheme,
        tuple(_parse_endpoint(host, SCHEMES[scheme]) for host in hosts.split(",")),
        _decode(login) if at else None,
        Secret(_decode(passcode)) if colon else None,
        _decode(path) if slash and path else None,
        hide_secrets(options),
    )


def _parse_endpoint(text: str, default_port: int) -> Endpoint:
    # What cannot be read is not shown: with the "@host" forgotten, it is the passcode.
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigurationError("the address has a host that is no IPv6 address in brackets, such as [::1]", "url")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        if ":" in port:
            raise ConfigurationError(
                "the address has a host with several colons; write an IPv6 address in brackets, such as [::1]", "url"
            )
    if not host:
        raise ConfigurationError("the address names no host; for example stomp://localhost:61613", "url")
    if not port:
        return Endpoint(_decode(host), default_port)
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ConfigurationError("the address has a port that is no number from 1 to 65535", "url")
    return Endpoint(_decode(host), int(port))


def _parse_query(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        name = _decode(name)
        if not equals or not name:
            raise ConfigurationError("the address has something after '?' that is not option=value", "url")
        if name in options:
            raise ConfigurationError(f"the address has the option {name} twice", "url")
        if name == "url":
            raise ConfigurationError("the address has an option url; an address cannot hold another", "url")
        options[name] = _decode(value)
    return options


def _decode(text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError("the address has a percent-encoding that is not UTF-8", "url") from None
