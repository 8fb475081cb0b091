"""QueueingDuplexClient: one connection that sends and receives. The loop is the user's.

STOMP is not request and response: frames come when the broker likes. So somebody must read all the time, and here that
is the thread in which the user runs `listen_forever`. It puts each received frame on the queue of its kind, and does
nothing else that could take long.

How several threads share the connection is `DrivenClient`'s business. Here is what frames mean: which queue they go on,
whose answer they are, and what the commands of a client are.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
import typing

from .._internal.log import get_logger
from .._internal.redacted import redact_secret, redact_secrets
from ..config import LIMIT_OPTIONS, coerce, whole_number
from ..connection.address import parse_address
from ..connection.connector import Connector, client_options, make_connector, make_endpoint
from ..connection.deadline import Deadline
from ..connection.refusals import refuses
from ..connection.session import Session, error_words
from ..connection.tls import TLS_OPTIONS
from ..errors import ConfigurationError, ConnectionLost, InvalidFrame, NotSent, Rejected, StompError
from ..protocol import VERSIONS, Frame, commands
from ..protocol.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS
from .driven import Answer, BusyError, DrivenClient
from .message import Body, Message, as_batch, check_message, encode_message
from .outcome import about
from .queues import FrameQueue
from .transaction import EndedByError, Transaction, ended_by_error, not_open

if typing.TYPE_CHECKING:
    import ssl as ssl_module
    from typing import Self

__all__ = ["QueueingDuplexClient"]

_log = get_logger("client")

_URL_OPTIONS = ("timeout", "connect_timeout", "confirm", "heart_beat", *LIMIT_OPTIONS, *TLS_OPTIONS)
_MOST_AT_ONCE = 1000  # frames that are taken in before it is looked again at what is to be written


class QueueingDuplexClient(DrivenClient):
    """A STOMP client that sends and receives, and puts what it receives on queues.

    Run `listen_forever` where you like, usually in a thread of your own, and take frames from the queues:

    * `message_queue` - MESSAGE frames. When it is full, the client reads no further until there is room, and the broker
      keeps the rest; heart-beats are still sent. For somebody who waits for a receipt it reads on, up to as many
      messages again; a receipt behind more is not seen. Who sends confirmed while messages pile up wants a second
      client for that, or an ``ack`` other than ``auto`` and a prefetch limit.
    * `connected_queue`, `receipt_queue`, `error_queue` - CONNECTED, RECEIPT and ERROR frames. These are records; when
      one is full, its oldest frame goes.

    `listening_event` is set while the loop runs; set `shutdown_event` to end it in order.

    A message whose content is at fault does not end the session, since every sender may write such a one: it is read as
    far as it can be, and `Frame.defects` says what was wrong. *max_header_bytes* (131,072), *max_headers* (2,000) and
    *max_body_bytes* (134,217,728, which is RabbitMQ's own limit) are how much of a message is kept; of a larger one the
    rest is passed over, and `Frame.truncated` is true. It can be acknowledged as any other.

    *queue_size* is how many frames each queue holds. *message_queue* is a `FrameQueue` of your own to be used in place
    of the client's. The other arguments are those of `PublishClient`; *heart_beat* may ask for beats both ways, in
    milliseconds: (sent, wanted).
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
        queue_size: int = 1000,
        max_header_bytes: int = MAX_HEADER_BYTES,
        max_headers: int = MAX_HEADERS,
        max_body_bytes: int = MAX_BODY_BYTES,
        message_queue: FrameQueue | None = None,
    ) -> None:
        passcode = redact_secret("passcode", passcode)
        tls_key_password = redact_secret("tls_key_password", tls_key_password)
        connector = make_connector(
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
            max_header_bytes=max_header_bytes,
            max_headers=max_headers,
            max_body_bytes=max_body_bytes,
            receives=True,
        )
        self._set_up(connector, timeout, confirm, queue_size, message_queue)

    @classmethod
    def from_url(cls, url: str, **options: typing.Any) -> Self:
        """Return a client for an address; *options* are those of the constructor. Raises `ConfigurationError`."""
        url, options = redact_secret("url", url), redact_secrets(options)
        address = parse_address(url)
        if address.local:
            raise ConfigurationError(f"{address.scheme}:// opens no connection; it is for a Publisher", "url")
        options = {**client_options(address, _URL_OPTIONS), **options}
        client = cls.__new__(cls)
        own = {
            "timeout": options.pop("timeout", 10.0),
            "confirm": options.pop("confirm", False),
            "queue_size": options.pop("queue_size", 1000),
            "message_queue": options.pop("message_queue", None),
        }
        options = {
            "max_header_bytes": MAX_HEADER_BYTES,
            "max_headers": MAX_HEADERS,
            "max_body_bytes": MAX_BODY_BYTES,
            **options,
        }
        connector = make_connector(
            address.endpoints,
            receives=True,
            more_options=("queue_size", "message_queue", *LIMIT_OPTIONS),
            **options,
        )
        client._set_up(connector, **own)
        return client

    def _set_up(
        self, connector: Connector, timeout: float, confirm: bool, queue_size: int, message_queue: FrameQueue | None
    ) -> None:
        DrivenClient.__init__(self, connector, timeout)
        self.confirm: bool = coerce("confirm", confirm)
        queue_size = whole_number("queue_size", queue_size, 1)
        self.message_queue = FrameQueue(queue_size) if message_queue is None else message_queue
        self.message_queue.on_get = self._room_in_queue
        self.connected_queue = FrameQueue(queue_size, drop_oldest=True)
        self.receipt_queue = FrameQueue(queue_size, drop_oldest=True)
        self.error_queue = FrameQueue(queue_size, drop_oldest=True)
        self._held: collections.deque[Frame] = collections.deque()  # MESSAGE frames for which the queue had no room
        self._ack_modes: dict[str, str] = {}  # of this session's subscriptions, by their ids
        # The open transactions of this session, each with the receipts that its SENDs get after its COMMIT (RabbitMQ);
        # and those that ended with an ERROR of which their user does not know yet.
        self._transactions: dict[str, list[str]] = {}
        self._ended_transactions: dict[str, EndedByError] = {}
        self._subscription_ids = itertools.count(1)
        self._transaction_ids = itertools.count(1)

    # -- receiving --------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> Frame | None:
        """Return the next MESSAGE frame, ``None`` if none came within *timeout* seconds (the client's, if not given).

        For scripts: it needs no loop, and reads by itself if none is running. Raises what `listen_forever` raises.
        """
        self._refuse_inherited()
        deadline = self._deadline(timeout)
        while True:
            with contextlib.suppress(queue.Empty):
                return self.message_queue.get_nowait()
            if self.listening_event.is_set() and self._driver != threading.get_ident():
                try:
                    return self.message_queue.get(timeout=deadline.remaining())
                except queue.Empty:
                    return None
            with contextlib.suppress(BusyError):  # another thread reads, and there was no message for this one
                self._receive(deadline)
            if self.message_queue.empty():
                return None

    def _receive(self, deadline: Deadline) -> None:
        """Read until there is a message, or the deadline. Raises the reason if the connection ends without one."""
        with self._driving(deadline):
            if self._session is None:
                self.shutdown_event.clear()
                self._open(deadline)
            try:
                self._drive(lambda: not self.message_queue.empty(), deadline)
            except StompError:
                if self.message_queue.empty():
                    raise  # otherwise the message first, and the reason of the end to the next call

    def subscribe(
        self,
        destination: str,
        *,
        id: str | None = None,
        ack: str = "auto",
        headers: typing.Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Subscribe, wait for the broker's receipt, and return the subscription's id.

        * *ack* - ``auto``: a message counts as taken when it is sent; ``client``: ACK takes it and all before it;
          ``client-individual``: ACK takes just it.
        * *headers* - more headers, such as ``selector`` or ``prefetch-count``. To Artemis, ``subscription-type`` is
          added, so that ``/queue/`` is a queue there and ``/topic/`` a topic however it is configured.

        A subscription ends with its session; after another `connect`, subscribe again. Raises `Rejected`, `NotSent` or
        `DeliveryUnknown`.
        """
        identity = f"sub-{next(self._subscription_ids)}" if id is None else id
        self._ack_modes[identity] = ack
        frame = commands.subscribe(destination, identity, ack, headers)
        kind = self._live_session().dialect.subscribed_type(destination)
        if kind is not None:
            frame.headers.setdefault(*kind)
        self._call(frame, self._deadline(timeout))
        return identity

    def unsubscribe(
        self, id: str, *, headers: typing.Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        """End the subscription *id*, and wait for the receipt. Frames that are on the way still come."""
        self._call(commands.unsubscribe(id, headers), self._deadline(timeout))
        self._ack_modes.pop(id, None)

    def ack(self, frame: Frame, *, transaction: str | None = None) -> None:
        """Acknowledge *frame*, a MESSAGE.

        Raises `InvalidFrame` if it cannot be - Artemis has no ACK in a *transaction* - and `NotSent` if its session has
        ended: the broker gives it out again, and in another session the acknowledgement could count for another
        message.
        """
        session = self._session_of(frame)
        self._check_transaction(session, transaction)
        self._write(commands.ack(frame, session.version, transaction=transaction), session)

    def nack(
        self, frame: Frame, *, transaction: str | None = None, headers: typing.Mapping[str, str] | None = None
    ) -> None:
        """Refuse *frame*, a MESSAGE. Raises `InvalidFrame` in STOMP 1.0, and `NotSent` as `ack` does.

        What becomes of it is the broker's choice: RabbitMQ requeues it, ActiveMQ moves it to its dead letter queue, and
        **Artemis 2.40 drops it**.
        """
        session = self._session_of(frame)
        self._check_transaction(session, transaction)
        refusal = commands.nack(frame, session.version, transaction=transaction, headers=headers)
        self._write(refusal, session)

    @staticmethod
    def _check_transaction(session: Session, transaction: str | None) -> None:
        """Raise `InvalidFrame` where the broker would acknowledge at once, whatever becomes of the *transaction*."""
        if transaction is not None and not session.dialect.acks_in_transactions:
            raise InvalidFrame(
                f"{session.broker} ({session.server}) would acknowledge at once, and not with the transaction; commit "
                "first, and acknowledge then, without a transaction. Nothing was acknowledged"
            )

    def _session_of(self, frame: Frame) -> Session:
        """The session, if *frame* came in it. One that was made by hand counts as of this session."""
        session = self._live_session()
        if getattr(frame, "_session", session) is not session:
            raise NotSent(
                f"this message came in an earlier session with {session.broker}, and the broker gives it out again; "
                "nothing was acknowledged",
                broker=session.broker,
                destination=frame.headers.get("destination"),
            )
        return session

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
        """Send one message, from any thread. Arguments and exceptions as of `PublishClient.send`."""
        message = Message(destination, body, headers, content_type=content_type, ttl=ttl)
        body = b""  # a traceback that shows locals must not show it
        self.deliver((message,), confirm, transaction, self._deadline(timeout))

    def send_many(
        self, messages: typing.Iterable[Message], *, confirm: bool | None = None, timeout: float | None = None
    ) -> None:
        """Send *messages* together, from any thread. Arguments and exceptions as of `PublishClient.send_many`."""
        batch = as_batch(messages)
        if batch:
            self.deliver(batch, confirm, None, self._deadline(timeout))

    def transaction(self) -> Transaction:
        """A context manager: commits when the block ends, aborts when it raises. See `PublishClient.transaction`."""
        return Transaction(self)

    def deliver(
        self,
        messages: typing.Sequence[Message],
        confirm: bool | None,
        transaction: str | None,
        deadline: Deadline,
    ) -> None:
        """Send *messages* within a deadline that began earlier: what `send` and `send_many` stand on."""
        if transaction is not None and confirm:
            raise InvalidFrame("in a transaction the COMMIT is confirmed, not each message; leave confirm out")
        confirm = transaction is None and (self.confirm if confirm is None else confirm)
        heads = [check_message(message) for message in messages]
        if self._session is None and self._reason is None and transaction is None:
            self.connect()  # the first time; a connection that was lost is for the owner of the loop to open again
        with about(messages):
            session = self._live_session() if transaction is None else self._transaction_session(transaction)
            receipts: list[str] = []
            later = self._transactions[transaction] if transaction is not None else []
            parts = []
            for message, head in zip(messages, heads, strict=True):
                receipt = None
                if confirm or (transaction is not None and session.dialect.receipts_after_commit):
                    receipt = str(next(self._receipt_ids))
                    (receipts if confirm else later).append(receipt)
                parts.append(encode_message(message, head, session.dialect, session.version, receipt, transaction))
            data = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
            self._exchange(session, data, receipts, deadline, transaction is not None)

    def begin(self) -> str:
        """Begin a transaction, and return its id for `send`, `ack`, `nack`, `commit` and `abort`."""
        transaction = f"tx-{next(self._transaction_ids)}"
        self._transactions[transaction] = []
        try:
            self._write(commands.begin(transaction), self._live_session())
        except BaseException:
            self._transactions.pop(transaction, None)
            raise
        return transaction

    def commit(self, transaction: str, timeout: float | None = None) -> None:
        """Commit a transaction, and wait for the receipt. Raises as `PublishClient.commit`."""
        deadline = self._deadline(timeout)
        self._transaction_session(transaction)
        self._call(commands.commit(transaction), deadline, self._transactions.pop(transaction, ()))

    def abort(self, transaction: str, timeout: float | None = None) -> None:
        """Abort a transaction, and wait for the receipt."""
        deadline = self._deadline(timeout)
        self._transaction_session(transaction)
        self._transactions.pop(transaction, None)
        self._call(commands.abort(transaction), deadline)

    def _transaction_session(self, transaction: str) -> Session:
        """The session in which *transaction* was begun. A transaction cannot outlive it."""
        end = self._ended_transactions.pop(transaction, None)
        if end is not None:
            raise ended_by_error(self.broker, transaction, end)
        session = self._live_session()
        if transaction not in self._transactions:
            raise not_open(self.broker, transaction)
        return session

    # -- what becomes of frames -------------------------------------------------------------------------------

    def _on_begin(self, session: Session) -> None:
        self._ack_modes.clear()
        self._transactions.clear()
        self._ended_transactions.clear()
        for frames in (self.message_queue, self.connected_queue, self.receipt_queue, self.error_queue):
            frames.begin()
        self.connected_queue.offer(session.connected_frame)

    def _room(self) -> int:
        # One more than fits into the queue: it is held back, and so the loop knows that there is no room.
        if self._answers or self._parting:
            return _MOST_AT_ONCE
        return min(max(self.message_queue.maxsize - self.message_queue.qsize(), 0) + 1, _MOST_AT_ONCE)

    def _on_frames(self, session: Session, frames: list[Frame]) -> None:
        messages = list(itertools.takewhile(lambda frame: frame.command == "MESSAGE", frames))
        for frame in messages:
            frame._session = session
        self._on_messages(messages)
        for frame in frames[len(messages) :]:
            self._on_frame(session, frame)

    def _on_frame(self, session: Session, frame: Frame) -> None:
        if frame.command == "MESSAGE":
            frame._session = session
            self._on_messages([frame])
        elif frame.command == "RECEIPT":
            self._settle(frame.headers.get("receipt-id", ""))
            self.receipt_queue.offer(frame)
        elif frame.command == "ERROR":
            self._on_error_frame(session, frame)
        else:
            _log.warning("%s sent an unexpected %s frame", session.broker, frame.command)

    def _on_messages(self, frames: list[Frame]) -> None:
        """MESSAGE frames came: to the queue, or held back until there is room."""
        taken = 0 if self._held else self.message_queue.offer_many(frames)
        for frame in frames[taken:]:
            if self._parting and self._ack_modes.get(frame.headers.get("subscription", "")) not in ("auto", None):
                continue  # there is no room, and the broker will give it to somebody else
            self._held.append(frame)

    def _reading(self) -> bool:
        """Whether to read now: not while the message queue is full, unless somebody waits for a receipt.

        After DISCONNECT its receipt is all that counts, however many messages stand before it.
        """
        held = len(self._held)
        return not held or self._parting or (bool(self._answers) and held < self.message_queue.maxsize)

    def _make_room(self) -> None:
        while self._held and self.message_queue.offer(self._held[0]):
            self._held.popleft()

    def _room_in_queue(self) -> None:
        if self._held:
            self._wake()

    def _on_error_frame(self, session: Session, frame: Frame) -> None:
        """An ERROR came. It ends the session, whatever the broker thinks of it; and it may be a call's answer."""
        self.error_queue.offer(frame)
        words = f"{session.broker} answered ERROR: {error_words(frame)}"
        reason: Rejected | ConnectionLost
        if refuses(frame, session.dialect):
            reason = Rejected(words, broker=session.broker, frame=frame)
            named = frame.headers.get("receipt-id")
            with self._lock:
                answers = set(self._answers.values())
                culprit = self._answers.get(named) if named is not None else None
                # Frames of an open transaction have no answer yet, and an ERROR may be about one of those.
                others = self._unconfirmed != self._settled or self._transactions
                if culprit is None and named is None and len(answers) == 1 and not others:
                    (culprit,) = answers
                if culprit is not None:
                    culprit.error = _refusal(culprit, session, frame, words)
        else:
            reason = ConnectionLost(words, broker=session.broker, frame=frame)
        self._end(reason)
        raise reason

    def _on_end(self, reason: StompError, driven: bool) -> None:
        if isinstance(reason, Rejected | ConnectionLost) and reason.frame is not None:
            end = EndedByError(reason.frame, isinstance(reason, Rejected))
            self._ended_transactions = dict.fromkeys(self._transactions, end)
        self._transactions = {}
        for frames in (self.connected_queue, self.receipt_queue, self.error_queue):
            frames.end(reason)
        if not driven:
            self._on_left()

    def _on_left(self) -> None:
        """End the queue, after the frames for which there was no room: the broker will not send them again."""
        held, self._held = self._held, collections.deque()
        if self._reason is not None:
            self.message_queue.end(self._reason, held)


def _refusal(answer: Answer, session: Session, frame: Frame, words: str) -> Rejected | ConnectionLost:
    """The exception for the call that waits for *answer*, of which *frame* refuses one message."""
    rejection = Rejected(f"{words}. It was not taken", broker=session.broker, frame=frame)
    if answer.together or len(answer.waiting) == 1:
        return rejection
    unknown = ConnectionLost(
        f"{words}, which ended the session; which of the others it has taken is not known",
        broker=session.broker,
        frame=frame,
    )
    unknown.__cause__ = rejection
    return unknown
