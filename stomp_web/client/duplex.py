"""`QueueingDuplexClient`, a client with one connection that sends and receives.

The module `life` has the methods that connect, listen and disconnect. With the modules `loop`, `driver` and
`exchanges`, several threads can share one client.
"""

from __future__ import annotations

import itertools
import queue
import typing

from .._internal.redacted import redact_secret
from ..config import CLIENT_TIMEOUT, DEFAULTS, LIMIT_OPTIONS, OPTIONS, whole_number
from ..connection.connector import Connector
from ..connection.deadline import Deadline
from ..connection.session import Session
from ..errors import InvalidFrame, MessageError, NotSent, StompError
from ..protocol import VERSIONS, Frame, commands
from .driver import BusyError
from .encoder import Encoder
from .exchanges import Exchange
from .life import LoopClient
from .message import Body, Message, as_batch, make_ready
from .outcome import name_messages
from .queues import FrameQueue

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["QueueingDuplexClient"]


class QueueingDuplexClient(LoopClient):
    """A STOMP client that sends and receives, and puts received frames on queues.

    Run `listen_forever`, usually in a thread that you start. Take the frames from these queues:

    * `message_queue` - MESSAGE frames. While this queue is full, the client sends heart-beats but does not read. The
      broker keeps the other messages. Exception: while a call waits for a receipt, the client reads on, and keeps
      about *queue_size* further messages outside of the full queue. If the broker sends even more messages before the
      receipt, the client stops reading and does not get the receipt. To send confirmed messages while many messages
      wait, use a second client. A prefetch limit also helps if the ack mode is not ``auto``.
    * `connected_queue`, `receipt_queue`, `error_queue` - CONNECTED, RECEIPT and ERROR frames. A full queue drops its
      oldest frame.

    `listening_event` is set while the loop runs. Set `shutdown_event` to end the loop cleanly.

    Any sender can cause a malformed message, so a malformed message does not end the session. The client reads the
    readable parts, and `Frame.defects` lists the faults. If a message exceeds a limit, the client skips the rest and
    `Frame.truncated` is true. You can acknowledge malformed and truncated messages. The limits, with their defaults,
    are *max_header_bytes* (131,072), *max_headers* (2,000) and *max_body_bytes* (134,217,728, RabbitMQ's own limit).

    *queue_size* is the size of each queue in frames. *message_queue* may be your own `FrameQueue` for MESSAGE frames.
    The class `PublishClient` describes the other arguments. Unlike in `PublishClient`, the first number of *heart_beat*
    may be positive.
    """

    _defaults: typing.ClassVar = {**LoopClient._defaults, "queue_size": 1000, "message_queue": None}
    _limits: typing.ClassVar = {name: OPTIONS[name].default for name in LIMIT_OPTIONS}
    _receives = True

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
        queue_size: int = 1000,
        max_header_bytes: int = DEFAULTS.max_header_bytes,
        max_headers: int = DEFAULTS.max_headers,
        max_body_bytes: int = DEFAULTS.max_body_bytes,
        message_queue: FrameQueue | None = None,
    ) -> None:
        passcode = redact_secret("passcode", passcode)
        tls_key_password = redact_secret("tls_key_password", tls_key_password)
        self._set_up_from(locals())

    def _set_up(  # type: ignore[override]
        self, connector: Connector, timeout: float, confirm: bool, queue_size: int, message_queue: FrameQueue | None
    ) -> None:
        self._set_up_base(connector, timeout, confirm)
        self._set_up_loop(whole_number("queue_size", queue_size, 1), message_queue)
        self.message_queue = self._received.message_queue
        self.connected_queue = self._received.connected_queue
        self.receipt_queue = self._received.receipt_queue
        self.error_queue = self._received.error_queue
        self._subscription_ids = itertools.count(1)

    def receive(self, timeout: float | None = None) -> Frame | None:
        """Return the next MESSAGE frame, or ``None`` after *timeout* seconds. The default is the client's `timeout`.

        If no thread is in `listen_forever`, this method reads the socket itself, and first connects if necessary.
        Raises the exceptions of `listen_forever`.
        """
        self._refuse_inherited()
        deadline = self._deadline(timeout)
        while True:
            try:  # not `contextlib.suppress`, because this is done for each message
                return self.message_queue.get_nowait()
            except queue.Empty:
                pass
            if self._driver.is_loop_elsewhere:
                try:
                    return self.message_queue.get(timeout=deadline.remaining())
                except queue.Empty:
                    return None
            try:
                with self._driving(deadline):
                    self._connected_session(deadline)
                    self._drive(lambda: not self.message_queue.empty(), deadline)
            except BusyError:
                pass  # another thread drives, and no message came for this thread
            except StompError:
                if self.message_queue.empty():
                    raise  # if there is a message, return it now, and let the next call raise the error
            if self.message_queue.empty():
                return None

    def subscribe(
        self,
        destination: str,
        *,
        id: str | None = None,
        ack: str = "auto",
        headers: typing.Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Subscribe to *destination*, wait for the receipt, and return the subscription's id.

        * *ack* - with ``auto``, the broker does not wait for an ACK. With ``client``, an ACK covers its message and all
          earlier messages. With ``client-individual``, an ACK covers only its message.
        * *headers* - more headers, such as ``selector`` or ``prefetch-count``. For Artemis, the client adds
          ``subscription-type``, so that ``/queue/`` is always a queue and ``/topic/`` is always a topic.

        A subscription ends with its session. After another `connect`, subscribe again. Raises `Rejected`, `NotSent` or
        `DeliveryUnknown`.
        """
        identity = f"sub-{next(self._subscription_ids)}" if id is None else id
        self._received.ack_modes[identity] = ack
        frame = commands.subscribe(destination, identity, ack, headers)
        kind = self._live_session().dialect.sent_type(destination, "subscription-type")
        if kind is not None:
            frame.headers.setdefault(*kind)
        self._call(frame, self._deadline(timeout))
        return identity

    def unsubscribe(
        self, id: str, *, headers: typing.Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        """End the subscription *id*, and wait for the receipt. Frames that are already on the way still arrive."""
        self._call(commands.unsubscribe(id, headers), self._deadline(timeout))
        self._received.ack_modes.pop(id, None)

    def ack(self, frame: Frame, *, transaction: str | None = None) -> None:
        """Acknowledge *frame*, a MESSAGE frame.

        Raises `InvalidFrame` if the message cannot be acknowledged. For example, Artemis has no ACK in transactions.
        Raises `NotSent` if the session that received *frame* has ended, because an ACK in another session could count
        for another message. After the end of a session, the broker delivers unacknowledged messages again.
        """
        session = self._session_of(frame, transaction)
        self._write(commands.ack(frame, session.version, transaction=transaction), session)

    def nack(
        self, frame: Frame, *, transaction: str | None = None, headers: typing.Mapping[str, str] | None = None
    ) -> None:
        """Refuse *frame*, a MESSAGE frame.

        Raises the exceptions of `ack`. In STOMP 1.0, raises `InvalidFrame`, because STOMP 1.0 has no NACK.

        The result depends on the broker. RabbitMQ requeues the message. ActiveMQ moves the message to its dead letter
        queue. **Artemis 2.40 drops the message**.
        """
        session = self._session_of(frame, transaction)
        self._write(commands.nack(frame, session.version, transaction=transaction, headers=headers), session)

    def _session_of(self, frame: Frame, transaction: str | None) -> Session:
        """Return the session in which *frame* can be acknowledged. Raises the exceptions of `ack`.

        A *frame* that the client has received belongs to one session. A *frame* that the caller has constructed fits
        any session.
        """
        session = self._live_session()
        if getattr(frame, "_session", session) is not session:
            raise NotSent(
                f"this message came in an earlier session with {session.broker}, and the broker will deliver it again; "
                "nothing was acknowledged",
                broker=session.broker,
                destination=frame.headers.get("destination"),
            )
        if transaction is not None and not session.dialect.acks_in_transactions:
            raise InvalidFrame(
                f"{session.broker} ({session.server}) would acknowledge at once, and not with the transaction; commit "
                "first, then acknowledge without a transaction. Nothing was acknowledged"
            )
        return session

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
        """Send one message from any thread. `PublishClient.send` describes the arguments and the exceptions."""
        message = make_ready(Message(destination, body, headers, content_type=content_type, ttl=ttl))
        self.deliver((message,), confirm, transaction, self._deadline(timeout))

    def send_many(
        self, messages: typing.Iterable[Message], *, confirm: bool | None = None, timeout: float | None = None
    ) -> None:
        """Send *messages* together, like `PublishClient.send_many`. Any thread may call this method.

        After a loss of the connection, the client does not connect again by itself, and the call raises
        `BrokerUnavailable`.
        """
        batch = as_batch(messages)
        if batch:
            self.deliver(batch, confirm, None, self._deadline(timeout))

    def deliver(
        self, messages: typing.Sequence[Message], confirm: bool | None, transaction: str | None, deadline: Deadline
    ) -> None:
        """Send the prepared *messages*. Raises the exceptions of `PublishClient.send`."""
        if transaction is not None and confirm:
            raise InvalidFrame("in a transaction the COMMIT is confirmed, not each message; leave confirm out")
        confirm = transaction is None and (self.confirm if confirm is None else confirm)
        if self._session is None and self._reason is None and transaction is None:
            self.connect()  # only the first time; after a loss, the owner of the loop connects again
        try:
            opened = None if transaction is None else self._transactions.get(transaction, self.broker)
            session = self._live_session()
            receipts: list[str] = []
            if confirm or (opened is not None and session.dialect.receipts_after_commit):
                receipts = self._new_receipts(len(messages))
            first = int(receipts[0]) if receipts else None
            data, more = Encoder(session.version, session.dialect).encode(messages, first, transaction)
            if opened is not None:
                opened.receipts += receipts  # the broker sends these receipts after the COMMIT
                receipts = []
            exchange = Exchange(memoryview(b"".join((data, *more))), receipts, together=opened is not None)
            self._exchange(session, exchange, deadline)
        except MessageError as error:
            name_messages(error, messages)
            raise

    def begin(self) -> str:
        """Begin a transaction, and return its id for `send`, `ack`, `nack`, `commit` and `abort`."""
        transaction = self._transactions.begin()
        try:
            self._write(commands.begin(transaction), self._live_session())
        except BaseException:
            self._transactions.open.pop(transaction, None)
            raise
        return transaction

    def commit(self, transaction: str, timeout: float | None = None) -> None:
        """Commit a transaction, and wait for the receipt. Raises the exceptions of `PublishClient.commit`."""
        self._end_transaction(commands.commit(transaction), transaction, timeout)

    def abort(self, transaction: str, timeout: float | None = None) -> None:
        """Abort a transaction, and wait for the receipt."""
        self._end_transaction(commands.abort(transaction), transaction, timeout)

    def _end_transaction(self, frame: Frame, transaction: str, timeout: float | None) -> None:
        deadline = self._deadline(timeout)
        ended = self._transactions.get(transaction, self.broker)
        self._transactions.open.pop(transaction, None)
        self._call(frame, deadline, ended.receipts if frame.command == "COMMIT" else ())
