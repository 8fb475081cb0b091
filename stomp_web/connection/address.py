"""Addresses: ``stomp://[user[:passcode]@]host[:port][,host2[:port2]...][/vhost][?option=value]``.

Every part may be percent-encoded. No error and no ``repr`` or ``str`` of an `Address` shows the passcode. A list of
complete addresses is allowed, such as ``stomp://user:passcode@mq1,stomp://user:passcode@mq2``. The addresses of a list
may differ only in host and port. User, virtual host and options are the same for all brokers. An ambiguous address is
an error.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
import urllib.parse

from .._internal.redacted import Secret, redact_secret, redact_secrets
from ..errors import ConfigurationError

__all__ = ["SCHEMES", "Address", "Endpoint", "parse_address"]

#: The schemes that reach a broker, with the default ports of RabbitMQ and ActiveMQ.
SCHEMES: typing.Final = {"stomp": 61613, "stomp+ssl": 61614}
#: The schemes for development, which open no connection.
LOCAL_SCHEMES: typing.Final = ("memory", "console", "null")
_ALL_SCHEMES = (*SCHEMES, *LOCAL_SCHEMES)
_encode = functools.partial(urllib.parse.quote, safe="")

# The separator of complete addresses, and the beginning of an address inside the query, which is an error.
_NEXT_ADDRESS = re.compile(r"\s*([,;])\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_SCHEME_IN_QUERY = re.compile(rf"(?:{'|'.join(map(re.escape, _ALL_SCHEMES))})://", re.IGNORECASE)
# Another host with credentials after an option: 'vhost=v,b:y@mq2', or 'timeout=3&b:y@mq2=1'.
_HOST_IN_QUERY = re.compile(r"[\s,;|][^&]*@|(?:^|&)[^=&]*@")
# Characters that no host has: there are several hosts, or a whole address.
_NO_HOST = re.compile(r"[\s/@,;|]")
_AMBIGUOUS = (
    "the address has an '@' where it can be read in two ways; write user and passcode once, before the first "
    "host, and '@' as %40, '/' as %2F and ',' as %2C in user, passcode, virtual host and options"
)


class Endpoint(typing.NamedTuple):
    """The `host` and the `port` of one broker."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """The decoded parts of an address. `options` holds the options of the query as strings."""

    scheme: str
    endpoints: tuple[Endpoint, ...]
    login: str | None = None
    passcode: str | None = dataclasses.field(default=None, repr=False)
    vhost: str | None = None
    options: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme == "stomp+ssl"

    @property
    def local(self) -> bool:
        """Whether the scheme is for development, such as ``memory``. A publisher then opens no connection."""
        return self.scheme in LOCAL_SCHEMES

    @property
    def url(self) -> str:
        """The address with credentials and without options. The ``repr`` of the string is ``'***'``."""
        passcode = "" if self.passcode is None else f":{_encode(self.passcode)}"
        credentials = "" if self.login is None else f"{_encode(self.login)}{passcode}@"
        hosts = (Endpoint(urllib.parse.quote(host, safe=":"), port) for host, port in self.endpoints)
        return Secret(f"{self.scheme}://{credentials}{','.join(map(str, hosts))}{self._path}")

    @property
    def _path(self) -> str:
        return "" if self.vhost is None else f"/{_encode(self.vhost)}"

    def __str__(self) -> str:
        """Return the address without credentials and options."""
        return f"{self.scheme}://{','.join(map(str, self.endpoints))}{self._path}"


def parse_address(url: str) -> Address:
    """Return the parts of *url*. Raises `ConfigurationError`, which names the wrong part and shows no credentials."""
    url = redact_secret("url", url)
    if not isinstance(url, str):
        raise ConfigurationError(f"the address must be str, not {type(url).__name__}", "url")
    try:
        return _parse(url)
    except ValueError as error:
        problem = str(error)
    # A new exception, because the traceback of the first one would show the parts of the address.
    raise ConfigurationError(problem, "url")


def _parse(url: str) -> Address:
    parts = _NEXT_ADDRESS.split(url.strip())
    if ";" in parts[1::2]:
        raise ValueError("the addresses are separated by ';'; separate them by commas")
    first, *others = addresses = [_parse_one(address) for address in parts[::2]]
    if not others:
        return first
    if any(address.local for address in addresses):
        raise ValueError(
            f"the address is a list, and one of its members is for development ({', '.join(LOCAL_SCHEMES)}); such an "
            "address stands alone"
        )
    fields = {"scheme": "scheme", "login": "user", "passcode": "passcode", "vhost": "virtual host"}
    different = [
        word for name, word in fields.items() if any(getattr(each, name) != getattr(first, name) for each in others)
    ]
    names = sorted({name for address in addresses for name in address.options})
    different += [
        f"option {name}" for name in names if any(each.options.get(name) != first.options.get(name) for each in others)
    ]
    if different:
        raise ValueError(
            f"the addresses in the list differ in: {', '.join(different)}. They may differ only in host and "
            "port; write everything else once, as in stomp://user:passcode@mq1,mq2/vhost?option=value"
        )
    return dataclasses.replace(first, endpoints=tuple(each for address in addresses for each in address.endpoints))


def _parse_one(url: str) -> Address:
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _ALL_SCHEMES:
        # A text with other characters may be a passcode in the wrong place.
        begin = f"the scheme {scheme!r}" if separator and scheme.replace("+", "").isalnum() else "no scheme"
        raise ValueError(
            f"the address has {begin}; it must begin with one of {', '.join(name + '://' for name in _ALL_SCHEMES)}, "
            "for example stomp://localhost:61613"
        )
    rest, _, query = rest.partition("?")
    if _HOST_IN_QUERY.search(query):
        raise ValueError(_AMBIGUOUS)
    options = _parse_query(query)
    if "://" in rest or _SCHEME_IN_QUERY.search(query):
        raise ValueError(
            "the address contains another address; separate several addresses by commas, and write ':' as %3A in user, "
            "passcode, virtual host and options"
        )
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if "@" in path or re.search("@.*,", credentials):
        # The second host has its own credentials: 'a:x@mq1/v,b:y@mq2' and 'a:x@mq1,b:y@mq2'.
        raise ValueError(_AMBIGUOUS)
    if not at and "@" in path + query:
        raise ValueError(
            "the address has an '@' after its first '/' or '?'; write '/' as %2F and '?' as %3F in user and passcode, "
            "and '@' as %40 in a virtual host or an option"
        )
    login, colon, passcode = credentials.partition(":")
    if scheme in LOCAL_SCHEMES:
        return Address(scheme, (), options=options)
    return Address(
        scheme,
        tuple(_parse_endpoint(host.strip(), SCHEMES[scheme]) for host in hosts.split(",")),
        _decode(login) if at else None,
        Secret(_decode(passcode)) if colon else None,
        _decode(path) if slash and path else None,
        options,
    )


def may_be_host(host: str) -> bool:
    """Return false if *host* has white space or one of ``/@,;|``, which no host name and no IP address has."""
    return _NO_HOST.search(host) is None


def _parse_endpoint(text: str, default_port: int) -> Endpoint:
    # The text is not shown: if "@host" was forgotten, the text is the passcode.
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("the address has a host that is no IPv6 address in brackets, such as [::1]")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        if ":" in port:
            raise ValueError(
                "the address has a host with several colons; write an IPv6 address in brackets, such as [::1]"
            )
    host = _decode(host)
    if not host:
        raise ValueError("the address names no host; for example stomp://localhost:61613")
    if not may_be_host(host):
        raise ValueError(
            "the address has a host with a character that no host name has; separate several hosts by commas, as in "
            "stomp://mq1:61613,mq2:61613"
        )
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ValueError("the address has a port that is not a number from 1 to 65535")
    return Endpoint(host, int(port) if port else default_port)


def _parse_query(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        name = _decode(name)
        if not equals or not name:
            raise ValueError("the address has something after '?' that is not option=value")
        if name in options:
            raise ValueError(f"the address has the option {name} twice")
        if name == "url":
            raise ValueError("the address has an option url; an address cannot contain another")
        options[name] = _decode(value)
    return redact_secrets(options)


def _decode(text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the address has a percent-encoding that is not UTF-8") from None
