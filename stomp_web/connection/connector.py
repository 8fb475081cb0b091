"""The class `Connector` opens sessions, and chooses the order of the brokers and the time for each broker."""

from __future__ import annotations

import dataclasses
import typing

from .._internal.printable import short_repr, without_outcome
from ..config import LIMIT_OPTIONS, OPTIONS, coerce, option_name, read_options, unknown_option, whole_number
from ..errors import BrokerUnavailable, ConfigurationError, InvalidFrame
from ..protocol import VERSIONS, encode
from .address import Address, Endpoint, may_be_host
from .deadline import Deadline
from .session import Session, SessionSettings
from .tls import TLS_OPTIONS, tls_context

__all__ = ["Connector", "client_options", "make_connector", "make_endpoint"]


class Connector:
    """Opens sessions, each with one of several brokers. The broker of the last session is tried first.

    `make_connector` makes connectors, and checks `settings`.

    Each attempt gets an equal share of the remaining time, but at most `connect_timeout` seconds. Therefore, a broker
    that never answers does not use up the time of the other brokers.
    """

    def __init__(self, endpoints: tuple[Endpoint, ...], settings: SessionSettings, connect_timeout: float) -> None:
        self.endpoints = endpoints
        self.settings = settings
        self.connect_timeout = connect_timeout
        self._last_good = 0  # an int: setting it is atomic and needs no lock

    def __str__(self) -> str:
        """Return the addresses of the brokers without credentials."""
        return f"{'stomp' if self.settings.tls is None else 'stomp+ssl'}://{','.join(map(str, self.endpoints))}"

    def check(self, **changes: typing.Any) -> None:
        """Raise `ConfigurationError` if the CONNECT frame cannot be encoded.

        *changes* replace fields of `settings` during this check. `settings` itself stays unchanged.
        """
        try:
            encode(self._settings_with(changes).connect_frame())
        except InvalidFrame as error:
            problem = f"{error}; login, passcode, vhost and headers of CONNECT travel without escapes"
            raise ConfigurationError(problem) from None

    def _settings_with(self, changes: dict[str, typing.Any]) -> SessionSettings:
        return dataclasses.replace(self.settings, **changes) if changes else self.settings

    def open(self, deadline: Deadline, **changes: typing.Any) -> Session:
        """Return a new session. *changes* replace fields of `settings`. The caller must `check` them first.

        Raises `AuthenticationFailed` as soon as one broker refuses the credentials. The other brokers would probably
        refuse the credentials too, and might lock the account. Raises `BrokerUnavailable` if all brokers have failed.
        """
        settings = self._settings_with(changes)
        count = len(self.endpoints)
        failures: list[BrokerUnavailable] = []
        first = self._last_good
        for step in range(count):
            index = (first + step) % count
            share = deadline.share(count - step).sooner(self.connect_timeout)
            try:
                session = Session.open(self.endpoints[index], settings, share)
                self._last_good = index
                return session
            except BrokerUnavailable as error:
                failures.append(error)
        try:
            if count == 1:
                raise failures[0]
            raise BrokerUnavailable(
                f"none of the {count} brokers of {self} could be reached; nothing was sent. "
                + " | ".join(without_outcome(str(failure)) for failure in failures),
                broker=str(self),
                frame=failures[-1].frame,
                timed_out=any(failure.timed_out for failure in failures),
            )
        finally:
            failures.clear()  # otherwise this frame and the tracebacks would keep each other alive


_LARGEST_SIZE: typing.Final = 2**63 - 1  # bytes
_CREDENTIALS = ("login", "passcode", "vhost")
_DEFAULTS: typing.Final[dict[str, typing.Any]] = {
    **{name: OPTIONS[name].default for name in (*_CREDENTIALS, "connect_timeout", "heart_beat", *TLS_OPTIONS)},
    "ssl": None,
    "versions": VERSIONS,
    "connect_headers": None,
}


def make_connector(
    endpoints: tuple[Endpoint, ...], *, receives: bool = False, more_options: tuple[str, ...] = (), **given: typing.Any
) -> Connector:
    """Return a connector for *endpoints*. *given* holds options of a client. A bad option raises `ConfigurationError`.

    If *receives* is true, the client has a loop that can send heart-beats, and the client tolerates faults in the
    content of frames. An error about an unknown option can also suggest a name from *more_options*.
    """
    for name in given:
        if name not in _DEFAULTS and name not in LIMIT_OPTIONS:
            raise unknown_option(name, known=("timeout", "confirm", *_DEFAULTS, *more_options))
    options = _DEFAULTS | given
    versions = tuple(options["versions"])
    if not versions or not set(versions) <= set(VERSIONS):
        raise ConfigurationError(
            f"versions must be some of {', '.join(VERSIONS)}, not {short_repr(versions)}", "versions"
        )
    heart_beat = coerce("heart_beat", options["heart_beat"])
    if heart_beat[0] and not receives:
        raise ConfigurationError(
            "heart_beat must begin with 0: a publisher has no thread that could send heart-beats in time", "heart_beat"
        )
    for name in ("tls_key_password", "tls_insecure_skip_verify"):
        options[name] = coerce(name, options[name])
    limits: dict[str, typing.Any] = {
        name: whole_number(name, given[name], 0 if name == "max_body_bytes" else 1, _LARGEST_SIZE)
        for name in LIMIT_OPTIONS
        if name in given
    }
    settings = SessionSettings(
        **{name: options[name] for name in _CREDENTIALS},
        limits=limits,
        versions=versions,
        heart_beat=heart_beat,
        headers=dict(options["connect_headers"] or {}),
        tolerant=receives,
        tls=tls_context(options["ssl"], options),
    )
    connector = Connector(endpoints, settings, coerce("connect_timeout", options["connect_timeout"]))
    connector.check()
    return connector


def client_options(address: Address, names: typing.Iterable[str]) -> dict[str, typing.Any]:
    """Read the options of a client from *address*. The options include `login`, `passcode`, `vhost` and `ssl`.

    Raises `ConfigurationError` for an invalid value, and for an option in the address's query that is not in *names*.
    """
    allowed = set(names)
    options: dict[str, typing.Any] = {"ssl": True} if address.tls else {}
    for name in _CREDENTIALS:
        if (value := getattr(address, name)) is not None:
            options[name] = value
    for written in address.options:
        if option_name(written) not in allowed:
            raise unknown_option(written, known=allowed & set(OPTIONS))
    return options | read_options(address.options)


def make_endpoint(host: str, port: int) -> Endpoint:
    """Return the endpoint for the arguments *host* and *port*. Raises `ConfigurationError` for a bad value."""
    if not isinstance(host, str) or not host:
        raise ConfigurationError(f"host must be a host name or an IP address, not {short_repr(host)}", "host")
    if not may_be_host(host):
        # The host is not shown: it may be a whole address with the passcode.
        raise ConfigurationError(
            "host must be a host name or an IP address, and this has a character that no host name has; from_url() "
            "takes addresses such as stomp://localhost:61613",
            "host",
        )
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigurationError(f"port must be a number from 1 to 65535, not {short_repr(port)}", "port")
    return Endpoint(host, port)
