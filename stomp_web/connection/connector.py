"""Opening sessions: which broker, in which order, within which time.

A connector is shared by all clients of a pool, so that they all know which broker was good last.
"""

from __future__ import annotations

import dataclasses
import typing

from .._internal.printable import short_repr, without_outcome
from ..config import DEFAULTS, OPTIONS, coerce, option_name, unknown_option, whole_number
from ..errors import AuthenticationFailed, BrokerUnavailable, ConfigurationError, InvalidFrame
from ..protocol import VERSIONS, encode
from .address import Address, Endpoint, may_be_host
from .deadline import Deadline
from .session import Session, SessionSettings
from .tls import TLS_OPTIONS, tls_context

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["Connector", "client_options", "make_connector", "make_endpoint"]


class Connector:
    """Opens sessions with one of several brokers.

    A broker counts as good only after it said CONNECTED. The last good one is tried first; each attempt gets an
    equal share of the time that is left, so that a broker that accepts and stays mute costs only its share.
    """

    def __init__(self, endpoints: tuple[Endpoint, ...], settings: SessionSettings, connect_timeout: float) -> None:
        self.endpoints = endpoints
        self.settings = settings
        self.connect_timeout = connect_timeout
        self._last_good = 0  # one int, written whole: needs no lock

    def __str__(self) -> str:
        """The brokers' addresses, without credentials."""
        return f"{'stomp' if self.settings.tls is None else 'stomp+ssl'}://{','.join(map(str, self.endpoints))}"

    def check(self, **changes: object) -> None:
        """Raise `ConfigurationError` if there is no CONNECT with these *changes* of the settings."""
        try:
            encode(self._settings_with(changes).connect_frame())
        except InvalidFrame as error:
            raise ConfigurationError(
                f"{error}; login, passcode, vhost and headers of CONNECT travel without escapes"
            ) from None

    def _settings_with(self, changes: dict[str, object]) -> SessionSettings:
        return dataclasses.replace(self.settings, **changes) if changes else self.settings  # type: ignore[arg-type]

    def open(self, deadline: Deadline, **changes: object) -> Session:
        """Return a new session; *changes*, checked before, replace fields of the settings for this one.

        Raises `AuthenticationFailed` as soon as a broker refuses the credentials (others would most likely be asked in
        vain, and some lock accounts), or `BrokerUnavailable` once every broker was tried.
        """
        settings = self._settings_with(changes)
        count = len(self.endpoints)
        first = self._last_good
        failures: list[BrokerUnavailable] = []
        for step in range(count):
            index = (first + step) % count
            share = deadline.share(count - step).sooner(self.connect_timeout)
            try:
                session = Session.open(self.endpoints[index], settings, share)
            except BrokerUnavailable as error:
                failures.append(error)
            except AuthenticationFailed:
                raise
            else:
                self._last_good = index
                return session
        try:
            if count == 1:
                raise failures[0]
            unavailable = BrokerUnavailable(
                f"none of the {count} brokers of {self} could be reached; nothing was sent. "
                + " | ".join(without_outcome(str(failure)) for failure in failures),
                broker=str(self),
                frame=failures[-1].frame,
            )
            unavailable.timed_out = any(failure.timed_out for failure in failures)
            raise unavailable
        finally:
            failures.clear()  # or this frame and the tracebacks of the failures would hold each other


def make_connector(
    endpoints: tuple[Endpoint, ...],
    *,
    login: str | None = None,
    passcode: str | None = None,
    vhost: str | None = None,
    ssl: bool | ssl_module.SSLContext | None = None,
    versions: typing.Iterable[str] = VERSIONS,
    connect_timeout: float = DEFAULTS.connect_timeout,
    heart_beat: tuple[int, int] = DEFAULTS.heart_beat,
    connect_headers: typing.Mapping[str, str] | None = None,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_key_password: str | None = None,
    tls_insecure_skip_verify: bool = False,
    max_header_bytes: int = 65_536,
    max_headers: int = 1_000,
    max_body_bytes: int = 1_048_576,
    receives: bool = False,
    more_options: typing.Iterable[str] = (),
    **unknown: object,
) -> Connector:
    """Return a connector for *endpoints* with the options of a client.

    *max_body_bytes* is the largest body that is taken; a publisher gets none but those of ERROR frames. A client that
    *receives* has a loop, so that it may send heart-beats, and is tolerant about the content of frames. *more_options*
    are names that the caller knows, for the hint in the error about an unknown one. Raises `ConfigurationError`.
    """
    for name in unknown:
        raise unknown_option(name, known=("timeout", "confirm", *_CONNECTOR_OPTIONS, *more_options))
    versions = tuple(versions)
    if not versions or not set(versions) <= set(VERSIONS):
        raise ConfigurationError(
            f"versions must be some of {', '.join(VERSIONS)}, not {short_repr(versions)}", "versions"
        )
    heart_beat = coerce("heart_beat", heart_beat)
    if heart_beat[0] and not receives:
        raise ConfigurationError(
            "heart_beat must begin with 0: a publisher has no thread that could send heart-beats in time", "heart_beat"
        )
    settings = SessionSettings(
        login=login,
        passcode=passcode,
        vhost=vhost,
        versions=versions,
        heart_beat=heart_beat,
        headers=dict(connect_headers or {}),
        max_header_bytes=whole_number("max_header_bytes", max_header_bytes, 1, _LARGEST_SIZE),
        max_headers=whole_number("max_headers", max_headers, 1, _LARGEST_SIZE),
        max_body_bytes=whole_number("max_body_bytes", max_body_bytes, 0, _LARGEST_SIZE),
        tolerant=receives,
        tls=tls_context(
            ssl,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_key_password=coerce("tls_key_password", tls_key_password),
            tls_insecure_skip_verify=coerce("tls_insecure_skip_verify", tls_insecure_skip_verify),
        ),
    )
    connector = Connector(endpoints, settings, coerce("connect_timeout", connect_timeout))
    connector.check()
    return connector


_LARGEST_SIZE: typing.Final = 2**63 - 1  # bytes
_CONNECTOR_OPTIONS = (
    *("login", "passcode", "vhost", "ssl", "versions", "connect_timeout", "heart_beat", "connect_headers"),
    *TLS_OPTIONS,
)


def client_options(address: Address, names: typing.Iterable[str]) -> dict[str, typing.Any]:
    """The options that *address* holds, those of its query checked; *names* are the ones that may stand there."""
    allowed = set(names)
    options: dict[str, typing.Any] = {"ssl": True} if address.tls else {}
    for name in ("login", "passcode", "vhost"):
        if (value := getattr(address, name)) is not None:
            options[name] = value
    for written, text in address.options.items():
        name = option_name(written)
        if name not in allowed:
            raise unknown_option(written, known=allowed & set(OPTIONS))
        if written != name and name in address.options:
            raise ConfigurationError(f"{written} and {name} are two names of one option; give one of them", name)
        options[name] = coerce(name, text, written)
    return options


def make_endpoint(host: str, port: int) -> Endpoint:
    """Return the endpoint for a host and port given as arguments. Raises `ConfigurationError`."""
    if not isinstance(host, str) or not host:
        raise ConfigurationError(f"host must be a host name or an IP address, not {short_repr(host)}", "host")
    if not may_be_host(host):
        # It is not shown: an address that stands here holds the passcode.
        raise ConfigurationError(
            "host must be a host name or an IP address, and this has a character that none has; from_url() takes "
            "addresses such as stomp://localhost:61613",
            "host",
        )
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigurationError(f"port must be a number from 1 to 65535, not {short_repr(port)}", "port")
    return Endpoint(host, port)
