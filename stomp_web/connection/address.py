"""Addresses: ``stomp://[user[:passcode]@]host[:port][,host2[:port2]...][/vhost][?option=value]``.

Every part may be percent-encoded. The passcode is in no ``repr``, no ``str`` and no error.

A list of complete addresses, ``stomp://user:passcode@mq1,stomp://user:passcode@mq2``, means the same as one address
with several hosts. Everything but the hosts must be the same in all of them, because a session has one user, one
virtual host and one set of options, whichever broker it is opened with. What could be read in two ways is refused.
"""

from __future__ import annotations

import dataclasses
import re
import typing
import urllib.parse

from .._internal.redacted import Secret, redact_secret, redact_secrets
from ..errors import ConfigurationError

__all__ = ["SCHEMES", "Address", "Endpoint", "parse_address"]

#: The schemes that reach a broker, with their default ports (those of RabbitMQ's and ActiveMQ's documentation).
SCHEMES: typing.Final = {"stomp": 61613, "stomp+ssl": 61614}
#: The schemes for development, which open no connection.
LOCAL_SCHEMES: typing.Final = ("memory", "console", "null")

# What divides complete addresses, and the scheme of another address where none may stand.
_NEXT_ADDRESS = re.compile(r"\s*([,;])\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_SCHEME_IN_QUERY = re.compile(rf"(?:{'|'.join(map(re.escape, (*SCHEMES, *LOCAL_SCHEMES)))})://", re.IGNORECASE)
# Another host with its credentials, behind an option: 'vhost=v,b:y@mq2', or 'timeout=3&b:y@mq2=1'.
_HOST_IN_QUERY = re.compile(r"[\s,;|][^&]*@|(?:^|&)[^=&]*@")
# What tells that several hosts, or a whole address, stand where one host should. A host that cannot be looked up for
# another reason is not found.
_NO_HOST = re.compile(r"[\s/@,;|]")


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
    def url(self) -> str:
        """The address with its credentials and without its options. Its ``repr`` hides it."""
        credentials = ""
        if self.login is not None or self.passcode is not None:
            credentials = urllib.parse.quote(self.login or "", safe="")
            if self.passcode is not None:
                credentials += ":" + urllib.parse.quote(self.passcode, safe="")
            credentials += "@"
        hosts = ",".join(map(_written_endpoint, self.endpoints))
        vhost = "" if self.vhost is None else "/" + urllib.parse.quote(self.vhost, safe="")
        return Secret(f"{self.scheme}://{credentials}{hosts}{vhost}")

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
    url = redact_secret("url", url)
    try:
        return _parse(url)
    except ConfigurationError as error:
        problem, option = str(error), error.option
    # Raised anew: the traceback of the first would show the parts of the address.
    raise ConfigurationError(problem, option)


def _parse(url: str) -> Address:
    if not isinstance(url, str):
        raise ConfigurationError(f"the address must be str, not {type(url).__name__}", "url")
    parts = _NEXT_ADDRESS.split(url.strip())
    addresses, separators = parts[::2], parts[1::2]
    if ";" in separators:
        raise ConfigurationError("the addresses are divided by ';'; divide them by commas", "url")
    if len(addresses) == 1:
        return _parse_one(addresses[0])
    return _joined([_parse_one(address) for address in addresses])


def _joined(addresses: list[Address]) -> Address:
    """One address with the hosts of all *addresses*, which must be the same in everything else."""
    first = addresses[0]
    if any(address.local for address in addresses):
        raise ConfigurationError(
            f"the address is a list, and one of its members is for development ({', '.join(LOCAL_SCHEMES)}); such an "
            "address stands alone",
            "url",
        )
    fields = {"scheme": "scheme", "login": "user", "passcode": "passcode", "vhost": "virtual host"}
    different = [
        word for name, word in fields.items() if any(getattr(each, name) != getattr(first, name) for each in addresses)
    ]
    names = sorted({name for address in addresses for name in address.options})
    different += [
        f"option {name}"
        for name in names
        if any(each.options.get(name) != first.options.get(name) for each in addresses)
    ]
    if different:
        raise ConfigurationError(
            f"the addresses in the list differ in: {', '.join(different)}. They must be the same but for host and "
            "port; write what they have in common once, as in stomp://user:passcode@mq1,mq2/vhost?option=value",
            "url",
        )
    endpoints = tuple(endpoint for address in addresses for endpoint in address.endpoints)
    return dataclasses.replace(first, endpoints=endpoints)


def _parse_one(url: str) -> Address:
    scheme, separator, rest = url.partition("://")
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
    if _HOST_IN_QUERY.search(query):
        raise _ambiguous()
    options = _parse_query(query)
    if "://" in rest or _SCHEME_IN_QUERY.search(query):
        raise ConfigurationError(
            "the address holds another address; divide several addresses by commas, and write ':' as %3A in user, "
            "passcode, virtual host and options",
            "url",
        )
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if "@" in path or re.search("@.*,", credentials):
        # The second of several hosts with credentials of its own: 'a:x@mq1/v,b:y@mq2' and 'a:x@mq1,b:y@mq2'.
        raise _ambiguous()
    if not at and "@" in path + query:
        raise ConfigurationError(
            "the address has an '@' behind its first '/' or '?'; write '/' as %2F and '?' as %3F in user and passcode, "
            "and '@' as %40 in a virtual host or an option",
            "url",
        )
    login, colon, passcode = credentials.partition(":")
    if scheme in LOCAL_SCHEMES:
        return Address(scheme, (), options=redact_secrets(options))
    return Address(
        scheme,
        tuple(_parse_endpoint(host, SCHEMES[scheme]) for host in hosts.split(",")),
        _decode(login) if at else None,
        Secret(_decode(passcode)) if colon else None,
        _decode(path) if slash and path else None,
        redact_secrets(options),
    )


def _ambiguous() -> ConfigurationError:
    return ConfigurationError(
        "the address has an '@' where it can be read in two ways; write user and passcode once, before the first "
        "host, and '@' as %40, '/' as %2F and ',' as %2C in user, passcode, virtual host and options",
        "url",
    )


def may_be_host(host: str) -> bool:
    """Whether *host* has only characters that names of hosts and IP addresses have."""
    return _NO_HOST.search(host) is None


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
    if not may_be_host(_decode(host)):
        raise ConfigurationError(
            "the address has a host with a character that no host has; divide several hosts by commas, as in "
            "stomp://mq1:61613,mq2:61613",
            "url",
        )
    if not port:
        return Endpoint(_decode(host), default_port)
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ConfigurationError("the address has a port that is no number from 1 to 65535", "url")
    return Endpoint(_decode(host), int(port))


def _written_endpoint(endpoint: Endpoint) -> str:
    host = urllib.parse.quote(endpoint.host, safe=":")
    return str(Endpoint(host, endpoint.port))


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
