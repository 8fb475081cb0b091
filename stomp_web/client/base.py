"""The base class of all clients, and the context manager for transactions."""

from __future__ import annotations

import typing

from .._internal.per_process import Unpicklable
from .._internal.redacted import redact_secret, redact_secrets
from ..config import CLIENT_TIMEOUT, coerce
from ..connection.address import Endpoint, parse_address
from ..connection.connector import Connector, client_options, make_connector, make_endpoint
from ..connection.deadline import Deadline, checked
from ..connection.tls import TLS_OPTIONS
from ..errors import ConfigurationError, MessageError
from .message import Body

if typing.TYPE_CHECKING:
    import types
    from typing import Self

    from ..connection.session import Session
    from ..protocol import Frame

__all__ = ["BaseClient", "Transaction"]

# Options of an address that every client understands; the other options belong to the pool and the publisher.
_URL_OPTIONS = ("timeout", "connect_timeout", "confirm", "heart_beat", *TLS_OPTIONS)
_NO_CREDENTIALS: typing.Final[typing.Mapping[str, object]] = {}  # one for all clients, because it takes memory


class BaseClient(Unpicklable):
    """A client with one connection. A subclass defines `_session` and `_set_up`, and `_set_up` calls `_set_up_base`."""

    _instead = "hand over the address, and make a client there"
    #: The arguments of `_set_up` other than the connector, with their defaults.
    _defaults: typing.ClassVar[dict[str, typing.Any]] = {"timeout": CLIENT_TIMEOUT, "confirm": False}
    #: More connection options that an address may contain, with their defaults.
    _limits: typing.ClassVar[dict[str, int]] = {}
    #: Whether this client has a loop that receives.
    _receives: typing.ClassVar[bool] = False

    if typing.TYPE_CHECKING:  # a subclass defines these

        @property
        def _session(self) -> Session | None: ...
        def _set_up(self, connector: Connector, **own: typing.Any) -> None: ...

        connect: typing.Callable[..., Frame]
        disconnect: typing.Callable[..., None]
        close: typing.Callable[[], None]
        send: typing.Callable[..., None]
        begin: typing.Callable[[], str]
        commit: typing.Callable[..., None]
        abort: typing.Callable[..., None]

    def _set_up_base(self, connector: Connector, timeout: float, confirm: bool) -> None:
        self._connector = connector
        self._timeout: float = checked(coerce("timeout", timeout))
        #: Whether a send without the argument *confirm* waits for the broker's receipt.
        self.confirm: bool = coerce("confirm", confirm)
        self._credentials: typing.Mapping[str, object] = _NO_CREDENTIALS

    @property
    def timeout(self) -> float:
        """The time limit, in seconds, for calls without a *timeout* argument."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._timeout = checked(seconds)

    @classmethod
    def from_url(cls, url: str, **options: typing.Any) -> Self:
        """Return a client for an address, such as ``stomp://user:passcode@mq1,mq2:61614/shop?timeout=3``.

        To connect, the client tries the brokers in order, beginning with the broker of the last session. The client
        stops when a broker accepts the session or refuses the credentials. *options* are constructor arguments, and
        override the address. Raises `ConfigurationError` for bad values.
        """
        url, options = redact_secret("url", url), redact_secrets(options)
        address = parse_address(url)
        if address.local:
            raise ConfigurationError(f"{address.scheme}:// opens no connection; it is for a Publisher", "url")
        in_address = client_options(address, (*_URL_OPTIONS, *cls._limits))
        client = cls.__new__(cls)
        client._set_up_with(address.endpoints, {**cls._limits, **in_address, **options})
        return client

    def _set_up_with(self, endpoints: tuple[Endpoint, ...], options: dict[str, typing.Any]) -> None:
        own = {name: options.pop(name, default) for name, default in self._defaults.items()}
        known = (*self._defaults, *self._limits)
        connector = make_connector(endpoints, receives=self._receives, more_options=known, **options)
        self._set_up(connector, **own)

    def _set_up_from(self, arguments: dict[str, typing.Any]) -> None:
        """Set up the client from the ``locals()`` of a constructor, which must call `redact_secret` for each secret."""
        options = {name: value for name, value in arguments.items() if name not in ("self", "host", "port")}
        self._set_up_with((make_endpoint(arguments["host"], arguments["port"]),), options)

    @property
    def broker(self) -> str:
        """The address of the session's broker, or of all brokers if there is no session. Contains no credentials."""
        session = self._session
        return session.broker if session else str(self._connector)

    @property
    def server(self) -> str | None:
        """The broker's product name, such as ``RabbitMQ/3.10.8``. ``None`` if the client does not know the name."""
        session = self._session
        return session.server if session else None

    @property
    def version(self) -> str | None:
        """The STOMP version of the session, or ``None`` if the client is not connected."""
        session = self._session
        return session.version if session else None

    @property
    def session(self) -> str | None:
        """The session id that the broker sent. ``None`` if the client has no session id."""
        session = self._session
        return session.id if session else None

    def transaction(self) -> Transaction:
        """Return a context manager that commits a transaction. An exception in the block aborts the transaction.

        >>> with client.transaction() as tx:  # doctest: +SKIP
        ...     tx.send("/queue/orders", b"1")
        ...     tx.send("/queue/orders", b"2")
        """
        return Transaction(self)

    def _read_credentials(
        self, login: str | None, passcode: str | None, headers: typing.Mapping[str, str] | None
    ) -> dict[str, object]:
        """Return the arguments that are not ``None``. Raises `ConfigurationError` if CONNECT cannot carry them."""
        changes: dict[str, object] = {"login": login, "passcode": passcode, "headers": headers}
        given = {name: value for name, value in changes.items() if value is not None}
        if given:  # without changes, `make_connector` has checked the frame
            self._connector.check(**given)
        return given

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else checked(timeout))

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.disconnect()
        else:
            self.close()

    def __repr__(self) -> str:
        session = self._session
        state = f"STOMP {session.version}" if session else "not connected"
        return f"<{type(self).__name__} {self.broker}, {state}>"


class Transaction:
    """The context manager of one transaction. While the block runs, `id` is the id of the transaction."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client
        self.id = ""

    def __enter__(self) -> Transaction:
        self.id = self._client.begin()
        return self

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: typing.Mapping[str, str] | None = None,
        *,
        content_type: str | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send one message in this transaction. `PublishClient.send` describes the arguments."""
        self._client.send(
            destination, body, headers, content_type=content_type, transaction=self.id, ttl=ttl, timeout=timeout
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        if error is None:
            self._client.commit(self.id)
            return
        try:
            self._client.abort(self.id)
        except MessageError:
            # The caller's exception matters more. When the connection ends, the broker aborts the transaction.
            self._client.close()
