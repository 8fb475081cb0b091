"""`PublishClient`, a client with one connection that sends messages and has no subscriptions.

The base class `SendingClient` does the work.
"""

from __future__ import annotations

import typing
from os import getpid

from .._internal.notices import Notices
from .._internal.redacted import redact_secret
from ..config import CLIENT_TIMEOUT, DEFAULTS
from ..connection.connector import Connector
from ..connection.deadline import Deadline, checked, deadline_in
from ..errors import ConnectionLost, DeliveryUnknown, NotSent, StompError
from ..protocol import VERSIONS, Frame, commands
from .message import Body, Message, as_batch, new_message, prepare
from .sending import InUse, SendingClient
from .state import ClientState

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["PublishClient"]


class PublishClient(SendingClient):
    """A STOMP client that only sends. The first `connect` or `send` opens the connection.

    A client serves one thread at a time. For many threads, use a `PublishClientPool`.

    * *host*, *port* - the broker.
    * *login*, *passcode* - the credentials. By default, the client sends no credentials.
    * *vhost* - the virtual host. The default is ``/``, which RabbitMQ, ActiveMQ and Artemis accept.
    * *ssl* - an ``ssl.SSLContext``, or ``True`` for TLS that verifies the host name and the certificate.
    * *tls_ca* - a PEM file of the authorities to trust. By default, the system's authorities are trusted.
    * *tls_cert*, *tls_key* - PEM files of the client's certificate and key. *tls_key_password* decrypts the key.
    * *tls_insecure_skip_verify* - whether to accept any certificate. If so, the constructor issues a warning.
    * *versions* - the STOMP versions that the client offers.
    * *connect_timeout* - the limit for opening a connection, in seconds.
    * *timeout* - the limit for a whole call, in seconds. Only the look-up of a host name can take longer.
    * *confirm* - whether `send` and `send_many` wait for the broker's receipt by default.
    * *heart_beat* - ``(sent, wanted)``, in milliseconds. *sent* is the interval of the client's heart-beats. *wanted*
      is the interval of the broker's heart-beats. 0 means no heart-beats. *sent* must be 0, because this client has no
      thread that sends heart-beats.
    * *connect_headers* - more headers for CONNECT.

    >>> client = PublishClient("127.0.0.1", 61613, login="guest", passcode="guest")
    >>> client
    <PublishClient stomp://127.0.0.1:61613, not connected>
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 61613,
        *,
        login: str | None = None,
        passcode: str | None = None,
        vhost: str | None = None,
        ssl: bool | ssl_module.SSLContext | None = None,
        versions: typing.Iterable[str] = VERSIONS,
        connect_timeout: float = DEFAULTS.connect_timeout,
        timeout: float = CLIENT_TIMEOUT,
        confirm: bool = False,
        heart_beat: tuple[int, int] = DEFAULTS.heart_beat,
        connect_headers: typing.Mapping[str, str] | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_key_password: str | None = None,
        tls_insecure_skip_verify: bool = False,
    ) -> None:
        passcode = redact_secret("passcode", passcode)
        tls_key_password = redact_secret("tls_key_password", tls_key_password)
        self._set_up_from(locals())

    @classmethod
    def with_connector(cls, connector: Connector, timeout: float, confirm: bool, notices: Notices) -> PublishClient:
        """Return a client for a pool. The clients of a pool share *connector* and *notices*.

        The pool calls `Notices.publish`. While the client's `publishes_notices` is true, the client also calls
        `Notices.publish` at the end of each call. The pool sets `publishes_notices`.
        """
        client = cls.__new__(cls)
        client._set_up(connector, timeout, confirm, notices)
        return client

    def connect(
        self, login: str | None = None, passcode: str | None = None, headers: typing.Mapping[str, str] | None = None
    ) -> Frame:
        """Open the connection, and return the CONNECTED frame. The call is optional, because `send` connects.

        *login*, *passcode* and *headers* (more headers for CONNECT) replace the values of the constructor from now on.
        If the client is connected, a call without arguments returns the CONNECTED frame of the session. A call with
        arguments connects again. Raises `BrokerUnavailable` or `AuthenticationFailed`.
        """
        passcode = redact_secret("passcode", passcode)
        given = self._read_credentials(login, passcode, headers)
        with self._exclusive() as state:
            if given:
                state.drop()
                self._credentials = {**self._credentials, **given}
                state.other_login = True
            return self._connected_session(state, self._deadline(None)).connected_frame

    def open(self, deadline: Deadline) -> None:
        """Connect if the client is not connected. Pools use this method. Raises the exceptions of `connect`."""
        with self._exclusive() as state:
            self._connected_session(state, deadline)

    def ping(self, timeout: float | None = None) -> None:
        """Check that the broker answers. The method begins and aborts a transaction, and waits for ABORT's receipt.

        Raises `NotSent` or `DeliveryUnknown` if no receipt comes in *timeout* seconds. Raises `Rejected` if the broker
        refuses BEGIN or ABORT.
        """
        deadline = self._deadline(timeout)
        transaction = self._begin(deadline)
        self._end_transaction(commands.abort(transaction), transaction, deadline)

    @property
    def state(self) -> ClientState:
        """The client's state in this process. Pools use this property."""
        return self._states[getpid()]

    @property
    def connected(self) -> bool:
        """Whether the client has a session that the broker has not ended. Reading the property never waits.

        If another thread uses the client, this property does not check the socket.
        """
        try:
            with self._exclusive() as state:
                return self._look(state) is not None
        except InUse:
            return self._states[getpid()].session is not None

    def disconnect(self, timeout: float | None = None) -> None:
        """Send DISCONNECT, and wait for its receipt. Then close the connection. If not connected, do nothing.

        The receipt confirms all earlier frames. Raises `ReceiptTimeout` or `ConnectionLost` if a frame stays
        unconfirmed. Raises `Rejected` if the broker refuses a frame. The connection is closed in any case.
        """
        with self._exclusive() as state:
            session = state.session
            if session is None:
                return
            unconfirmed = state.unconfirmed
            try:
                if session.unsettled:
                    raise NotSent("a call was interrupted in the middle")
                self._round_trip(state, session, commands.disconnect(), self._deadline(timeout))
            except DeliveryUnknown:
                if unconfirmed:
                    raise
            except NotSent as error:
                if unconfirmed:
                    raise ConnectionLost(
                        f"the connection to {session.broker} had ended before DISCONNECT; whether the unconfirmed "
                        "messages arrived is not known",
                        broker=session.broker,
                    ) from error
            finally:
                state.drop()

    def close(self) -> None:
        """Close the connection at once, without DISCONNECT. Another call of `close` does nothing."""
        self._states[getpid()].drop()

    def retire(self) -> None:
        """Close the connection. The pool drops this client, and later attempts to connect raise `PoolClosed`."""
        self._retired = True
        self.close()

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: typing.Mapping[str, str] | None = None,
        *,
        content_type: str | None = None,
        confirm: bool | None = None,
        transaction: str | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send one message. Connect first if necessary.

        * *body* - bytes-like or ``str``. The client sends ``str`` as UTF-8 with the type ``text/plain;charset=utf-8``.
        * *headers* - more headers, a mapping of ``str`` to ``str``. The client does not change the mapping.
        * *content_type* - the body's MIME type.
        * *confirm* - whether to wait for the broker's receipt. The default is the client's `confirm`. In a transaction,
          ``confirm=True`` raises `InvalidFrame` because only COMMIT is confirmed.
        * *transaction* - the id that `begin` returned.
        * *ttl* - the seconds that the message may wait for a receiver. The client sends this limit in the broker's
          own header for the expiry, such as ``expires``.
        * *timeout* - the limit for the whole call, in seconds. The default is the client's `timeout`.

        If STOMP cannot carry the message, raises `InvalidFrame` and sends nothing. `NotSent`, `Rejected` and
        `DeliveryUnknown` tell the outcome of the message. An unconfirmed send returns when the operating system has the
        bytes, so the message may be lost. If the broker refuses an unconfirmed message, a later call logs the ERROR.
        """
        deadline = deadline_in(self._timeout if timeout is None else checked(timeout))
        if headers is not None and type(headers) is not dict and isinstance(headers, typing.Mapping):
            headers = dict(headers)  # the mapping may run code of the application: copy it once, here
        message = new_message(
            destination, body, headers, content_type, ttl, prepare(destination, body, headers, content_type, ttl)
        )
        self.deliver_over(self._states[getpid()], (message,), confirm, transaction, deadline)

    def send_many(
        self, messages: typing.Iterable[Message], *, confirm: bool | None = None, timeout: float | None = None
    ) -> None:
        """Send all *messages*. If *confirm* is true, also wait for all receipts. The default is the client's `confirm`.

        Raises the exceptions of `send`. If STOMP cannot carry one of the messages, nothing is sent. If sending fails
        later, the exception's `confirmed` holds the positions of the confirmed messages.
        """
        batch = as_batch(messages)
        if batch:
            self.deliver(batch, confirm, None, self._deadline(timeout))

    def subscribe(self, *args: object, **kwargs: object) -> typing.NoReturn:
        """Raise `StompError`, because this client only sends."""
        raise StompError(
            "PublishClient only sends; to subscribe, use QueueingDuplexClient (frames on queues) or "
            "PublishSubscribeClient (a callback per subscription)"
        )

    def begin(self) -> str:
        """Begin a transaction, and return its id for `send`, `commit` and `abort`.

        Raises `NotSent` if BEGIN cannot be sent.
        """
        return self._begin(self._deadline(None))

    def _begin(self, deadline: Deadline) -> str:
        with self._exclusive() as state:
            session = self._connected_session(state, deadline)
            transaction = state.transactions.begin()
            try:
                self._write(state, session, commands.begin(transaction), deadline)
            except BaseException:
                state.transactions.open.pop(transaction, None)
                raise
            state.transactions.open[transaction].messages = 1  # an ERROR may be about its BEGIN
            state.unconfirmed += 1
            session.unsettled = False
            return transaction

    def commit(self, transaction: str, timeout: float | None = None) -> None:
        """Commit the transaction, and wait for the broker's receipt.

        A transaction does not guarantee all or nothing. RabbitMQ 3.10 may refuse one message and deliver the others.

        Raises `Rejected` if an ERROR refuses COMMIT or a message of the transaction. Raises `DeliveryUnknown` if no
        answer comes. If the connection was lost before COMMIT, nothing was committed and the call raises `NotSent`.
        """
        self._end_transaction(commands.commit(transaction), transaction, self._deadline(timeout))

    def abort(self, transaction: str, timeout: float | None = None) -> None:
        """Abort the transaction, and wait for the broker's receipt. Raises the exceptions of `commit`.

        If the connection was lost since `begin`, the broker has aborted the transaction and the call raises nothing.
        """
        with self._exclusive() as state:
            self._look(state)
            state.transactions.forget(transaction)
            still_open = transaction in state.transactions.open
        if still_open:
            self._end_transaction(commands.abort(transaction), transaction, self._deadline(timeout))

    def _end_transaction(self, frame: Frame, transaction: str, deadline: Deadline) -> None:
        with self._exclusive() as state:
            session = self._transaction_session(state, transaction)
            ended = state.transactions.open.pop(transaction)
            others = ended.receipts if frame.command == "COMMIT" else ()
            try:
                self._round_trip(state, session, frame, deadline, others, state.unconfirmed - ended.messages)
            except NotSent:
                if state.session is session:  # there was no time, and the transaction is still open
                    state.transactions.open[transaction] = ended
                raise
