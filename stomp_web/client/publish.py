"""PublishClient: one connection that only sends. Its calls; what they stand on is in `SendingClient`.

What is true of a message that could not be sent is said by the exception's class.
"""

from __future__ import annotations

import os
import types
import typing

from .._internal.notices import Notices
from .._internal.redacted import redact_secret, redact_secrets
from ..connection.address import parse_address
from ..connection.connector import Connector, client_options, make_connector, make_endpoint
from ..connection.deadline import Deadline
from ..connection.session import Session
from ..connection.tls import TLS_OPTIONS
from ..errors import (
    ConfigurationError,
    ConnectionLost,
    DeliveryUnknown,
    InvalidFrame,
    NotSent,
    StompError,
)
from ..protocol import VERSIONS, Frame, commands, encode
from .message import Body, Message, as_batch, check_messages, content_of, type_of
from .outcome import about
from .sending import InUse, OpenTransaction, SendingClient
from .transaction import Transaction, ended_by_error, not_open

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["PublishClient"]

# Options of an address that a single client understands; the others are the pool's and the publisher's.
_URL_OPTIONS = ("timeout", "connect_timeout", "confirm", "heart_beat", *TLS_OPTIONS)


class PublishClient(SendingClient):
    """A STOMP client that only sends.

    It opens no thread and no connection of its own accord: the first `connect` or `send` does. It belongs to one
    thread at a time; for many threads, use a `PublishClientPool`.

    * *host*, *port* - the broker.
    * *login*, *passcode* - the credentials; without them none are sent.
    * *vhost* - the virtual host; without it ``/``, which RabbitMQ, ActiveMQ and Artemis all take.
    * *ssl* - ``True`` for TLS, verified against the system's authorities and the host name, or an ``ssl.SSLContext``;
      *tls_ca*, *tls_cert* and *tls_key* are PEM files: authorities of your own, the client's certificate, its key;
      *tls_key_password* is the password of an encrypted key; *tls_insecure_skip_verify* accepts any certificate, and
      warns.
    * *versions* - the versions of STOMP that are offered.
    * *connect_timeout* - seconds for opening a connection; *timeout* - seconds for a whole call, connecting included.
      The look-up of the host name is the one step that Python cannot interrupt.
    * *confirm* - whether `send` and `send_many` wait for the broker's receipt unless the call says otherwise.
    * *heart_beat* - milliseconds: the beats that we send (this client has no thread to send them: 0) and that we want.
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
        connect_timeout: float = 5.0,
        timeout: float = 10.0,
        confirm: bool = False,
        heart_beat: tuple[int, int] = (0, 0),
        connect_headers: typing.Mapping[str, str] | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_key_password: str | None = None,
        tls_insecure_skip_verify: bool = False,
    ) -> None:
        passcode = redact_secret("passcode", passcode)
        tls_key_password = redact_secret("tls_key_password", tls_key_password)
        self._set_up(
            make_connector(
                (make_endpoint(host, port),),
                login=login,
                passcode=passcode,
                vhost=vhost,
                ssl=ssl,
                versions=versions,
                connect_timeout=connect_timeout,
                heart_beat=heart_beat,
                connect_headers=connect_headers,
                tls_ca=tls_ca,
                tls_cert=tls_cert,
                tls_key=tls_key,
                tls_key_password=tls_key_password,
                tls_insecure_skip_verify=tls_insecure_skip_verify,
            ),
            timeout,
            confirm,
        )

    @classmethod
    def from_url(cls, url: str, **options: typing.Any) -> PublishClient:
        """Return a client for an address, such as ``stomp://user:passcode@mq1,mq2:61614/shop?timeout=3``.

        Of several brokers, the first that accepts the session is used; the last good one is tried first.
        *options* are those of the constructor; they win over the address. Raises `ConfigurationError`.
        """
        url, options = redact_secret("url", url), redact_secrets(options)
        address = parse_address(url)
        if address.local:
            raise ConfigurationError(f"{address.scheme}:// opens no connection; it is for a Publisher", "url")
        options = {**client_options(address, _URL_OPTIONS), **options}
        client = cls.__new__(cls)
        timeout, confirm = options.pop("timeout", 10.0), options.pop("confirm", False)
        client._set_up(make_connector(address.endpoints, **options), timeout, confirm)
        return client

    @classmethod
    def with_connector(cls, connector: Connector, timeout: float, confirm: bool, notices: Notices) -> PublishClient:
        """Return a client that shares *connector* and *notices* with others: for pools, which publish the notices."""
        client = cls.__new__(cls)
        client._set_up(connector, timeout, confirm, notices)
        return client

    # -- the connection ---------------------------------------------------------------------------------------

    def connect(
        self,
        login: str | None = None,
        passcode: str | None = None,
        headers: typing.Mapping[str, str] | None = None,
    ) -> Frame:
        """Open the connection, and return the CONNECTED frame. Calling it is optional: `send` does it.

        *login*, *passcode* and *headers* (more headers for CONNECT) replace those of the constructor, here and for
        every later connection of this client. A client that is connected already stays so and returns the frame it
        has, unless arguments are given: then it connects anew.

        Raises `BrokerUnavailable` or `AuthenticationFailed`.
        """
        passcode = redact_secret("passcode", passcode)
        changes = {"login": login, "passcode": passcode, "headers": headers}
        given = {name: value for name, value in changes.items() if value is not None}
        with self._exclusive():
            if given:
                self._connector.check(**given)
                self._drop()
                self._credentials.update(given)
            return self._connected_session(self._deadline(None)).connected_frame

    def open(self, deadline: Deadline) -> None:
        """Connect, if not connected, within a deadline that began earlier: for pools. Raises as `connect` does."""
        with self._exclusive():
            self._connected_session(deadline)

    def ping(self, timeout: float | None = None) -> None:
        """Ask the broker for a sign of life: an empty transaction, aborted with a receipt. It leaves nothing there.

        Raises `NotSent`, `Rejected` or `DeliveryUnknown` if there is none within *timeout* seconds.
        """
        deadline = self._deadline(timeout)
        transaction = self._begin(deadline)
        self._end_transaction(commands.abort(transaction), transaction, deadline)

    @property
    def usable(self) -> bool:
        """Whether a pool may lend this client again.

        It has a session of its own login, no open transaction, and nobody is in the middle of a call, or was when it
        was interrupted.
        """
        return (
            self._session is not None
            and not self._open_transactions
            and not self._credentials
            and not self._in_use.locked()
        )

    def quiet(self) -> bool:
        """Whether the connection is open, as far as can be told without a read: for pools, of a client nobody uses.

        One system call, which does not wait. ``False`` may mean that it is not known; `connected` looks closer.
        """
        session = self._session
        return session is not None and session.nothing_new()

    @property
    def connected(self) -> bool:
        """Whether there is a session and the broker has not ended it, by a look at the socket, without waiting.

        While another thread uses the client, that thread looks, and this only tells whether there is a session.
        """
        return self.look()

    def look(self) -> bool:
        """What `connected` tells. An ERROR that has come to an unconfirmed message is logged, and ends the session."""
        try:
            with self._exclusive():
                return self._look() is not None
        except InUse:
            return self._session is not None

    @property
    def server(self) -> str | None:
        """What the broker calls itself, such as ``RabbitMQ/3.10.8``; ``None`` if it did not say, or not connected."""
        return self._session.server if self._session else None

    @property
    def version(self) -> str | None:
        """The version of STOMP that was agreed; ``None`` while not connected."""
        return self._session.version if self._session else None

    @property
    def session(self) -> str | None:
        """The broker's id of the session; ``None`` if it gave none, or while not connected."""
        return self._session.id if self._session else None

    def disconnect(self, timeout: float | None = None) -> None:
        """End the session: send DISCONNECT with a receipt, wait for it, and close. Does nothing if not connected.

        The receipt says that the broker has taken every frame before it. If there were unconfirmed ones and the
        receipt does not come within *timeout* seconds, that is raised (`ReceiptTimeout`, `ConnectionLost`), and so
        is an ERROR frame (`Rejected`). The connection is closed in any case.
        """
        with self._exclusive():
            session = self._session
            if session is None or session.pid != os.getpid():
                self._drop()  # what a fork inherited is the parent's, who goes on with it
                return
            unconfirmed = self._unconfirmed
            frame = commands.disconnect()
            try:
                self._round_trip(session, frame, self._deadline(timeout))
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
                self._drop()

    def close(self) -> None:
        """Close the connection at once, without DISCONNECT. May be called again."""
        self._drop()

    def retire(self) -> None:
        """Close the connection, and never open another: for pools, which part with a client by this.

        A borrower who keeps the client would otherwise go on with a connection that nobody owns. Raises nothing; later
        calls raise `PoolClosed`.
        """
        self._retired = True
        self._drop()

    def __enter__(self) -> PublishClient:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if error is None:
            self.disconnect()
        else:
            self._drop()

    def __repr__(self) -> str:
        state = f"STOMP {self._session.version}" if self._session else "not connected"
        return f"<{type(self).__name__} {self.broker}, {state}>"

    # -- sending ----------------------------------------------------------------------------------------------

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
        """Send one message; connect first if need be.

        * *body* - bytes-like, or ``str``, which travels as UTF-8 with the type ``text/plain;charset=utf-8``.
        * *headers* - more headers, ``str`` to ``str``; the mapping is not changed.
        * *content_type* - the body's MIME type.
        * *confirm* - ask for a receipt and wait for it; without it, the client's setting. In a transaction it is
          the COMMIT that is confirmed, and ``confirm=True`` is refused.
        * *transaction* - the id that `begin` returned.
        * *ttl* - seconds that the message may wait for a receiver, written as the broker's own header.
        * *timeout* - seconds for the whole call; without it, the client's setting.

        Raises `InvalidFrame` (nothing was sent) for what STOMP cannot carry; `NotSent`, `Rejected` or
        `DeliveryUnknown` for what happened to the message. An unconfirmed message is handed to the operating system:
        that it arrived is not known, and a broker's ERROR for it is only logged, when it is seen.
        """
        deadline = None if timeout is None else Deadline(timeout)
        if transaction is None and ttl is None and type(body) is bytes:
            content, body = memoryview(body), b""  # a traceback that shows locals must not show the body
            self.send_ready(destination, content, headers, content_type, confirm, deadline)
            return
        message = Message(destination, body, headers, content_type=content_type, ttl=ttl)
        body = b""
        self.deliver((message,), confirm, transaction, deadline or self._deadline(None))

    def send_many(
        self,
        messages: typing.Iterable[Message],
        *,
        confirm: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send *messages* together: written at once, and, confirmed, all receipts awaited after that.

        Raises what `send` raises. Nothing is sent if one of the messages cannot be; if it fails later, the
        exception's `confirmed` tells the positions of the messages that the broker had confirmed. It is not a
        transaction.
        """
        batch = as_batch(messages)
        if batch:
            self.deliver(batch, confirm, None, self._deadline(timeout))

    def subscribe(self, *args: object, **kwargs: object) -> typing.NoReturn:
        """Always raises: this client only sends. `QueueingDuplexClient` and `PublishSubscribeClient` subscribe."""
        raise StompError(
            "PublishClient only sends; to subscribe, use QueueingDuplexClient (frames on queues) or "
            "PublishSubscribeClient (a callback per subscription)"
        )

    # -- transactions -----------------------------------------------------------------------------------------

    def begin(self) -> str:
        """Begin a transaction, and return its id for `send`, `commit` and `abort`. Raises `NotSent`."""
        return self._begin(self._deadline(None))

    def _begin(self, deadline: Deadline) -> str:
        with self._exclusive():
            session = self._connected_session(deadline)
            transaction = f"tx-{next(self._transaction_ids)}"
            self._write(session, memoryview(encode(commands.begin(transaction), session.version)), deadline)
            self._open_transactions[transaction] = OpenTransaction(messages=1)  # an ERROR may be about its BEGIN
            self._unconfirmed += 1
            return transaction

    def commit(self, transaction: str, timeout: float | None = None) -> None:
        """Commit the transaction, and wait for the broker's receipt.

        Brokers may commit in part: a transaction batches messages, it is no guarantee that all or none arrive
        (RabbitMQ 3.10 delivers the good messages of a transaction in which it refused one).

        Raises `Rejected` if the broker answers ERROR to it or to one of its messages, `DeliveryUnknown` if no
        answer comes, `NotSent` if the connection was lost before COMMIT was sent: then nothing of it was committed.
        """
        self._end_transaction(commands.commit(transaction), transaction, self._deadline(timeout))

    def abort(self, transaction: str, timeout: float | None = None) -> None:
        """Abort the transaction, and wait for the broker's receipt. Raises as `commit` does.

        If the connection was lost since `begin`, the broker has aborted it already, and nothing is raised.
        """
        if self._has_open(transaction):
            self._end_transaction(commands.abort(transaction), transaction, self._deadline(timeout))

    def transaction(self) -> Transaction:
        """A context manager: commits when the block ends, aborts when it raises.

        >>> with client.transaction() as tx:  # doctest: +SKIP
        ...     tx.send("/queue/orders", b"1")
        ...     tx.send("/queue/orders", b"2")
        """
        return Transaction(self)

    def _has_open(self, transaction: str) -> bool:
        with self._exclusive():
            if self._look() is None:
                self._open_transactions.clear()
            self._ended_transactions.pop(transaction, None)
            return transaction in self._open_transactions

    def _end_transaction(self, frame: Frame, transaction: str, deadline: Deadline) -> None:
        with self._exclusive():
            session = self._transaction_session(transaction)
            ended = self._open_transactions.pop(transaction)
            others = ended.receipts if frame.command == "COMMIT" else ()
            try:
                self._round_trip(session, frame, deadline, others, self._unconfirmed - ended.messages)
            except NotSent:
                if self._session is session:  # there was no time: it is open as before
                    self._open_transactions[transaction] = ended
                raise

    def _transaction_session(self, transaction: str) -> Session:
        """The session in which *transaction* was begun. A transaction cannot outlive it."""
        session = self._look()
        end = self._ended_transactions.pop(transaction, None)
        if end is not None:
            raise ended_by_error(self.broker, transaction, end)
        if session is None or transaction not in self._open_transactions:
            raise not_open(self.broker, transaction)
        return session

    # -- the way of a message ---------------------------------------------------------------------------------

    def deliver(
        self,
        messages: typing.Sequence[Message],
        confirm: bool | None,
        transaction: str | None,
        deadline: Deadline,
        heads: typing.Sequence[bytes] | None = None,
        looked: bool = False,
    ) -> None:
        """Send *messages* within a deadline that began earlier: what `send`, `send_many` and `Publisher` stand on.

        *heads* are those that `check_message` has returned for them, if that was done. *looked*: the pool has just
        looked at the connection, which is not looked at again.
        """
        if transaction is None and len(messages) == 1 and messages[0].ttl is None and messages[0].send_id is None:
            (message,) = messages
            content_type = type_of(message.body, message.content_type, message.headers)
            head = None if heads is None else heads[0]
            content, headers = content_of(message), message.headers
            self.send_ready(message.destination, content, headers, content_type, confirm, deadline, head, 0, looked)
            return
        if transaction is not None:
            if confirm:
                raise InvalidFrame("in a transaction the COMMIT is confirmed, not each message; leave confirm out")
            confirm = False
        elif confirm is None:
            confirm = self.confirm
        if heads is None:
            heads = check_messages(messages)  # before anything is opened or written
        with self._exclusive(), about(messages):
            if looked and self._session is not None:
                session = self._session
            elif transaction is None:
                session = self._connected_session(deadline)
            else:
                session = self._transaction_session(transaction)
            with_receipts = confirm or (transaction is not None and session.dialect.receipts_after_commit)
            data, receipts = self._encode(session, messages, heads, with_receipts, transaction)
            self._write(session, data, deadline, receipts, count=len(messages), in_transaction=transaction is not None)
            earlier = self._unconfirmed
            self._unconfirmed += len(messages)
            if confirm:
                self._await_receipts(session, receipts, deadline, earlier)
            elif transaction is not None:
                self._open_transactions[transaction].receipts.extend(receipts)
                self._open_transactions[transaction].messages += len(messages)
