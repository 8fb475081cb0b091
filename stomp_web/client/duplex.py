"""QueueingDuplexClient: one connection that sends and receives. The loop is the user's.

STOMP is not request and response: frames come when the broker likes. So somebody must read all the time, and here that
is the thread in which the user runs `listen_forever`. It puts each received frame on the queue of its kind, and does
nothing else that could take long.

Rules of this room:

* One thread at a time drives the connection: only it touches the socket. While `listen_forever` runs, that is its
  thread; other threads hand their bytes over (`_outgoing`), wake it, and wait for their answer. While nobody listens,
  a call that needs the socket drives it by itself until it has what it needs, so the client is useful without a thread.
* `_lock` guards what threads share, and is held for moves in memory only.
* The connection ends once, in `_end`, with a reason; whoever waits is woken with it.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import os
import queue
import socket
import threading
import time
import typing

from ..config import coerce
from ..errors import (
    BrokerUnavailable,
    ConfigurationError,
    ConnectionLost,
    InvalidFrame,
    MessageError,
    ProtocolError,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from ..hidden import hide_secret, hide_secrets
from ..protocol import VERSIONS, Frame, commands, encode
from .address import parse_address
from .connector import Connector, client_options, make_connector, make_endpoint
from .deadline import Deadline
from .message import Body, Message, as_batch, check_message, encode_send, send_frame
from .outcome import about
from .queues import FrameQueue
from .session import Session, error_words
from .tls import TLS_OPTIONS
from .transaction import Transaction
from .transport import TransportError

if typing.TYPE_CHECKING:
    import ssl as ssl_module

    from typing_extensions import Self

__all__ = ["QueueingDuplexClient"]

_log = logging.getLogger("stomp_web.client")

_URL_OPTIONS = ("timeout", "connect_timeout", "confirm", "heart_beat", *TLS_OPTIONS)
# Bytes that may wait to be written before senders wait too.
_MOST_OUTGOING = 1_048_576
# A heart-beat is late after this many of its intervals: "error margin" of STOMP 1.2, Heart-beating.
_TOLERANCE = 2.0


class _Answer:
    """Somebody waits for receipts, or until the bytes are written. Guarded by the client's lock."""

    __slots__ = ("error", "unconfirmed_before", "waiting", "written")

    def __init__(self, receipts: typing.Iterable[str]) -> None:
        self.waiting = set(receipts)
        #: How many unconfirmed frames of the session were handed over before.
        self.unconfirmed_before = 0
        self.written = False
        self.error: MessageError | None = None

    @property
    def done(self) -> bool:
        return not self.waiting or self.error is not None


class _WakingEvent(threading.Event):
    """An event that wakes the loop when it is set."""

    def __init__(self, wake: typing.Callable[[], object]) -> None:
        super().__init__()
        self._wake = wake

    def set(self) -> None:
        super().set()
        self._wake()


class QueueingDuplexClient:
    """A STOMP client that sends and receives, and puts what it receives on queues.

    Run `listen_forever` where you like, usually in a thread of your own, and take frames from the queues:

    * `message_queue` - MESSAGE frames. When it is full, the client reads no further until there is room, and the broker
      keeps the rest; heart-beats are still sent. For somebody who waits for a receipt it reads on, up to as many
      messages again; a receipt behind more is not seen. Who sends confirmed while messages pile up wants a second
      client for that, or an ``ack`` other than ``auto`` and a prefetch limit.
    * `connected_queue`, `receipt_queue`, `error_queue` - CONNECTED, RECEIPT and ERROR frames. These are records; when
      one is full, its oldest frame goes.

    `listening_event` is set while the loop runs; set `shutdown_event` to end it in order.

    *queue_size* is how many frames each queue holds, *max_body_bytes* the largest body that is taken. The other
    arguments are those of `PublishClient`; *heart_beat* may ask for beats both ways, in milliseconds: (sent, wanted).
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
        tls_insecure_skip_verify: bool = False,
        queue_size: int = 1000,
        max_body_bytes: int = 134_217_728,
    ) -> None:
        passcode = hide_secret("passcode", passcode)
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
            tls_insecure_skip_verify=tls_insecure_skip_verify,
            max_body_bytes=max_body_bytes,
            may_send_heart_beats=True,
        )
        self._set_up(connector, timeout, queue_size, confirm)

    @classmethod
    def from_url(cls, url: str, **options: typing.Any) -> Self:
        """Return a client for an address; *options* are those of the constructor. Raises `ConfigurationError`."""
        url, options = hide_secret("url", url), hide_secrets(options)
        address = parse_address(url)
        if address.local:
            raise ConfigurationError(f"{address.scheme}:// opens no connection; it is for a Publisher", "url")
        options = {**client_options(address, _URL_OPTIONS), **options}
        client = cls.__new__(cls)
        timeout, queue_size = options.pop("timeout", 10.0), options.pop("queue_size", 1000)
        confirm = options.pop("confirm", False)
        options.setdefault("max_body_bytes", 134_217_728)
        connector = make_connector(
            address.endpoints, may_send_heart_beats=True, more_options=("queue_size", "max_body_bytes"), **options
        )
        client._set_up(connector, timeout, queue_size, confirm)
        return client

    def _set_up(self, connector: Connector, timeout: float, queue_size: int, confirm: bool) -> None:
        self._connector = connector
        self.timeout = coerce("timeout", timeout)
        self.confirm: bool = coerce("confirm", confirm)
        if isinstance(queue_size, bool) or not isinstance(queue_size, int) or queue_size < 1:
            raise ConfigurationError(f"queue_size must be a whole number, 1 or more, not {queue_size!r}", "queue_size")
        self.message_queue = FrameQueue(queue_size, on_get=self._room_in_queue)
        self.connected_queue = FrameQueue(queue_size, drop_oldest=True)
        self.receipt_queue = FrameQueue(queue_size, drop_oldest=True)
        self.error_queue = FrameQueue(queue_size, drop_oldest=True)
        self.listening_event = threading.Event()
        self.shutdown_event: threading.Event = _WakingEvent(self._wake)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._driver: int | None = None  # the thread that drives the connection now
        self._session: Session | None = None
        self._reason: StompError | None = None  # why the last session ended
        self._credentials: dict[str, object] = {}
        self._ending = False  # disconnect() or close() was called, and does the rest
        # Frames of this session, outside of transactions, without a receipt; and how many of them a receipt has covered
        # since. An ERROR may be about one of the rest.
        self._unconfirmed = self._settled = 0
        self._outgoing: collections.deque[tuple[memoryview, _Answer]] = collections.deque()
        self._outgoing_bytes = 0
        self._answers: dict[str, _Answer] = {}
        self._held: collections.deque[Frame] = collections.deque()  # MESSAGE frames for which the queue had no room
        self._last_sent = self._last_received = 0.0
        self._receipt_ids = itertools.count(1)
        self._subscription_ids = itertools.count(1)
        self._transaction_ids = itertools.count(1)
        self._wake_reader: socket.socket | None = None
        self._wake_writer: socket.socket | None = None

    # -- the connection ---------------------------------------------------------------------------------------

    def connect(
        self,
        login: str | None = None,
        passcode: str | None = None,
        headers: typing.Mapping[str, str] | None = None,
    ) -> Frame:
        """Open the connection, and return the CONNECTED frame; it goes on `connected_queue` too.

        `listen_forever` does it if it was not done. A connected client returns the frame it has. *login*, *passcode*
        and *headers* replace those of the constructor, here and for every later connection. Raises
        `BrokerUnavailable` or `AuthenticationFailed`.
        """
        passcode = hide_secret("passcode", passcode)
        changes = {"login": login, "passcode": passcode, "headers": headers}
        given = {name: value for name, value in changes.items() if value is not None}
        self._connector.check(**given)
        self._refuse_inherited()
        session = self._session
        if session is not None:
            return session.connected_frame
        self._credentials.update(given)
        deadline = Deadline(self.timeout)
        with self._driving(deadline):
            if self._session is None:
                self.shutdown_event.clear()
                self._open(deadline)
            return typing.cast(Session, self._session).connected_frame

    def _open(self, deadline: Deadline) -> None:
        session = self._connector.open(deadline, **self._credentials)
        with self._lock:
            self._session = session
            self._reason = None
            self._ending = False
            self._unconfirmed = self._settled = 0
            self._last_sent = self._last_received = time.monotonic()
        for frames in (self.message_queue, self.connected_queue, self.receipt_queue, self.error_queue):
            frames.begin()
        self.connected_queue.offer(session.connected_frame)
        _log.info("connected to %s (%s, STOMP %s)", session.broker, session.server, session.version)

    @property
    def connected(self) -> bool:
        """Whether there is a session whose end was not seen yet."""
        return self._session is not None and not self._inherited

    @property
    def server(self) -> str | None:
        """What the broker calls itself; ``None`` if it did not say, or not connected."""
        session = self._session
        return session.server if session else None

    @property
    def version(self) -> str | None:
        """The version of STOMP that was agreed; ``None`` while not connected."""
        session = self._session
        return session.version if session else None

    @property
    def session(self) -> str | None:
        """The broker's id of the session; ``None`` if it gave none, or while not connected."""
        session = self._session
        return session.id if session else None

    @property
    def broker(self) -> str:
        """The address of the broker, without credentials."""
        session = self._session
        return session.broker if session else str(self._connector)

    def fileno(self) -> int:
        """The socket's descriptor, for a selector of your own; call `process` when it can be read.

        Raises `BrokerUnavailable` if not connected.
        """
        return self._live_session().fileno()

    def disconnect(self, timeout: float | None = None) -> None:
        """End the session: DISCONNECT with a receipt, wait for it for *timeout* seconds, and close.

        A running loop ends without an exception. Does nothing if not connected.
        """
        deadline = self._deadline(timeout)
        if self._session is None or self._inherited:
            self.close()
            return
        self._ending = True
        self.shutdown_event.set()
        try:
            self._call(commands.disconnect(), deadline)
        except (ConnectionLost, ReceiptTimeout, BrokerUnavailable) as error:
            _log.info("the DISCONNECT to %s was not answered: %s", self.broker, error)
        finally:
            self._end(ConnectionLost(f"the client has disconnected from {self.broker}", broker=self.broker))

    def close(self) -> None:
        """Close the connection at once, without DISCONNECT. May be called again."""
        if self._inherited:
            # The descriptor alone. A lock may be held by a thread of the parent, which does not exist here.
            self._session.close()  # type: ignore[union-attr]
            return
        self._ending = True
        self.shutdown_event.set()
        self._end(ConnectionLost(f"the client has closed its connection to {self.broker}", broker=self.broker))

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.disconnect()
        else:
            self.close()

    def __repr__(self) -> str:
        state = f"STOMP {self.version}" if self.connected else "not connected"
        return f"<{type(self).__name__} {self.broker}, {state}>"

    # -- receiving --------------------------------------------------------------------------------------------

    def listen_forever(self) -> None:
        """Receive until `shutdown_event` is set or the connection ends. Run it in a thread of your own.

        Connects first, if not connected. It keeps the heart-beats, reads, and puts each frame on the queue of its kind.
        When `shutdown_event` is set, it says DISCONNECT and returns.

        Raises the reason when the connection ends otherwise: `ConnectionLost`; `Rejected` for an ERROR frame, which is
        on `error_queue` too; `BrokerUnavailable` or `AuthenticationFailed` if it could not connect.
        """
        with self._driving(self._deadline(None)):
            if self.listening_event.is_set():
                raise StompError("this client's loop is running already, in this thread")
            if self._session is None and not self.shutdown_event.is_set():
                self._open(self._deadline(None))
            self.listening_event.set()
            try:
                self._drive(self.shutdown_event.is_set, None)
            except StompError:
                if not self.shutdown_event.is_set():
                    raise
            finally:
                self.listening_event.clear()
            if not self._ending:
                self.disconnect()

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
            with self._driving(deadline):
                if self._session is None:
                    self.shutdown_event.clear()
                    self._open(deadline)
                self._drive(lambda: not self.message_queue.empty(), deadline)
            if self.message_queue.empty():
                return None

    def process(self) -> None:
        """Write and read what can be written and read now, without waiting: for a selector of your own.

        Raises what `listen_forever` raises.
        """
        with self._driving(self._deadline(None)):
            self._live_session()
            self._step(0.0)

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
        * *headers* - more headers, such as ``selector`` or ``prefetch-count``.

        Raises `Rejected`, `NotSent` or `DeliveryUnknown`.
        """
        identity = f"sub-{next(self._subscription_ids)}" if id is None else id
        self._call(commands.subscribe(destination, identity, ack, headers), self._deadline(timeout))
        return identity

    def unsubscribe(
        self, id: str, *, headers: typing.Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        """End the subscription *id*, and wait for the receipt. Frames that are on the way still come."""
        self._call(commands.unsubscribe(id, headers), self._deadline(timeout))

    def ack(self, frame: Frame, *, transaction: str | None = None) -> None:
        """Acknowledge *frame*, a MESSAGE. Raises `InvalidFrame` if it cannot be."""
        session = self._live_session()
        self._write(commands.ack(frame, session.version, transaction=transaction), session.version)

    def nack(
        self, frame: Frame, *, transaction: str | None = None, headers: typing.Mapping[str, str] | None = None
    ) -> None:
        """Refuse *frame*, a MESSAGE. Raises `InvalidFrame` in STOMP 1.0.

        What becomes of it is the broker's choice: RabbitMQ requeues it, ActiveMQ moves it to its dead letter queue.
        """
        session = self._live_session()
        refusal = commands.nack(frame, session.version, transaction=transaction, headers=headers)
        self._write(refusal, session.version)

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
        for message in messages:
            check_message(message)
        if self._session is None and self._reason is None and transaction is None:
            self.connect()  # the first time; a connection that was lost is for the owner of the loop to open again
        with about(messages):
            session = self._live_session()
            receipts, parts = [], []
            for message in messages:
                frame = send_frame(message)
                if transaction is not None:
                    frame.headers["transaction"] = transaction
                if confirm:
                    receipts.append(str(next(self._receipt_ids)))
                    frame.headers["receipt"] = receipts[-1]
                parts.append(memoryview(encode_send(message, frame, session.dialect, session.version)))
            data = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
            self._exchange(data, receipts, deadline, transaction is not None)

    def begin(self) -> str:
        """Begin a transaction, and return its id for `send`, `ack`, `nack`, `commit` and `abort`."""
        transaction = f"tx-{next(self._transaction_ids)}"
        self._write(commands.begin(transaction), self._live_session().version)
        return transaction

    def commit(self, transaction: str, timeout: float | None = None) -> None:
        """Commit a transaction, and wait for the receipt. Raises as `PublishClient.commit`."""
        self._call(commands.commit(transaction), self._deadline(timeout))

    def abort(self, transaction: str, timeout: float | None = None) -> None:
        """Abort a transaction, and wait for the receipt."""
        self._call(commands.abort(transaction), self._deadline(timeout))

    # -- handing over -----------------------------------------------------------------------------------------

    def _call(self, frame: Frame, deadline: Deadline) -> None:
        """Send *frame* with a receipt, and wait for it."""
        receipt = str(next(self._receipt_ids))
        frame.headers["receipt"] = receipt
        self._exchange(memoryview(encode(frame, self._live_session().version)), [receipt], deadline)

    def _write(self, frame: Frame, version: str) -> None:
        in_transaction = "transaction" in frame.headers
        self._exchange(memoryview(encode(frame, version)), (), self._deadline(None), in_transaction)

    def _exchange(
        self, data: memoryview, receipts: typing.Sequence[str], deadline: Deadline, in_transaction: bool = False
    ) -> None:
        """Hand *data* over to whoever drives the connection, and wait until *receipts* came.

        Without receipts it returns once the bytes are in line to be written, and there is room in the line.
        """
        answer = _Answer(receipts)
        with self._lock:
            session = self._session
            if session is None:
                raise self._not_connected()
            self._outgoing.append((data, answer))
            self._outgoing_bytes += len(data)
            answer.unconfirmed_before = self._unconfirmed
            for receipt in receipts:
                self._answers[receipt] = answer
            if not receipts and not in_transaction:  # a transaction's frames are the business of its COMMIT
                self._unconfirmed += 1
        self._wake()

        def done() -> bool:
            if answer.error is not None or self._session is not session:
                return True
            if receipts:
                return answer.done
            driven = self._driver not in (None, me)
            return answer.written or (driven and self._outgoing_bytes < _MOST_OUTGOING)

        me = threading.get_ident()
        try:
            self._await(done, deadline)
        finally:
            with self._lock:
                for receipt in answer.waiting:
                    self._answers.pop(receipt, None)
        if answer.error is not None:
            answer.error.confirmed = tuple(
                position for position, receipt in enumerate(receipts) if receipt not in answer.waiting
            )
            raise answer.error
        if (receipts and not answer.waiting) or (not receipts and answer.written):
            return
        if self._session is not session:
            raise ConnectionLost(f"{self._reason}; whether the frame arrived is not known", broker=session.broker)
        if receipts or not done():
            what = "gave no receipt" if receipts else "did not take the bytes"
            full = " (the message queue is full; the receipt may stand behind more messages)" if self._held else ""
            raise ReceiptTimeout(
                f"{session.broker} {what} within {deadline.seconds:.3g} s{full}; "
                "whether the frame arrived is not known",
                broker=session.broker,
            )

    def _await(self, done: typing.Callable[[], bool], deadline: Deadline) -> None:
        """Wait until *done* or the deadline: as the driver if nobody else is, else for the driver."""
        me = threading.get_ident()
        while True:
            with self._lock:
                while not done() and self._driver not in (None, me):
                    if not self._changed.wait(deadline.remaining()):
                        return
                if done():
                    return
                nested = self._driver == me
                self._driver = me
            try:
                # The reason of an end reaches the caller through its answer.
                with contextlib.suppress(StompError):
                    self._drive(done, deadline)
            finally:
                if not nested:
                    self._leave()
            if deadline.expired:
                return

    @contextlib.contextmanager
    def _driving(self, deadline: Deadline) -> typing.Iterator[None]:
        """Be the one thread that drives the connection; wait for another's short call to end."""
        self._refuse_inherited()
        me = threading.get_ident()
        with self._lock:
            nested = self._driver == me
            while self._driver not in (None, me):
                if self.listening_event.is_set():
                    raise StompError("listen_forever is running in another thread; it drives this connection")
                if not self._changed.wait(deadline.remaining()):
                    raise BrokerUnavailable(
                        f"another thread's call is still busy after {deadline.seconds:.3g} s", broker=self.broker
                    )
            self._driver = me
        try:
            yield
        finally:
            if not nested:
                self._leave()

    def _leave(self) -> None:
        if self._inherited:
            return  # forked in a callback
        if self._session is None:
            self._end_message_queue()
        with self._lock:
            self._driver = None
            self._changed.notify_all()
        self._close_wakers()

    # -- driving ----------------------------------------------------------------------------------------------

    def _drive(self, done: typing.Callable[[], bool], deadline: Deadline | None) -> None:
        """Write, read, keep the heart-beats, until *done* or the deadline. Raises the reason if the connection ends."""
        self._wake_descriptor()  # made before the look at what is done: whoever changes that wakes the wait
        while not done():
            if self._session is None:
                raise self._not_connected()
            if deadline is not None and deadline.expired:
                return
            self._step(None if deadline is None else deadline.remaining())

    def _step(self, seconds: float | None) -> None:
        """Do what can be done now; if that is nothing, wait for *seconds* at the most. Raises the reason of an end."""
        session = self._live_session()
        # Made before the look at what is to be written: whoever hands something over after that look wakes the wait.
        wake = self._wake_descriptor()
        try:
            moved = self._flush(session)
            reading = self._reading()
            if reading:
                moved = self._take_frames(session) or moved
            beat = self._keep_heart_beats(session, reading)
            if not moved and seconds != 0.0:
                waits = [limit for limit in (seconds, beat) if limit is not None]
                session.wait(min(waits, default=None), write=bool(self._outgoing), read=reading, wake=wake)
                self._drain_wake()
        except (TransportError, ProtocolError) as error:
            what = str(error) if isinstance(error, TransportError) else f"the broker sent what is not STOMP: {error}"
            reason = ConnectionLost(f"the connection to {session.broker} has ended: {what}", broker=session.broker)
            self._end(reason)
            raise reason from error

    def _flush(self, session: Session) -> bool:
        moved = False
        while True:
            with self._lock:
                if self._session is not session or not self._outgoing:
                    break
                data, answer = self._outgoing[0]
            try:
                sent = session.write_some(data)
            except BaseException as error:
                if not isinstance(error, TransportError):
                    # Ctrl-C, or a time limit, between the write and its being counted: written again, it would be there
                    # twice. So the session ends here.
                    self._end(ConnectionLost(f"a write to {session.broker} was interrupted", broker=session.broker))
                raise
            if not sent:
                break
            moved = True
            self._last_sent = time.monotonic()
            with self._lock:
                answer.written = sent == len(data)
                if self._session is not session:
                    break  # another thread has closed it
                self._outgoing_bytes -= sent
                if answer.written:
                    self._outgoing.popleft()
                else:
                    self._outgoing[0] = (data[sent:], answer)
                if answer.written or self._outgoing_bytes < _MOST_OUTGOING:
                    self._changed.notify_all()
        return moved

    def _reading(self) -> bool:
        """Whether to read now: not while the message queue is full, unless somebody waits for a receipt."""
        while self._held and self.message_queue.offer(self._held[0]):
            self._held.popleft()
        return not self._held or (bool(self._answers) and len(self._held) < self.message_queue.maxsize)

    def _take_frames(self, session: Session) -> bool:
        received = session.bytes_received
        taken = 0
        while taken < 1000 and (frame := session.read_ready()) is not None:
            taken += 1
            self._dispatch(session, frame)
            if self._held and not self._reading():
                break
        if session.bytes_received != received:
            self._last_received = time.monotonic()
        return taken > 0

    def _dispatch(self, session: Session, frame: Frame) -> None:
        """Put *frame* where frames of its kind go. Raises the reason if it is an ERROR."""
        if frame.command == "MESSAGE":
            self._on_message(frame)
        elif frame.command == "RECEIPT":
            receipt = frame.headers.get("receipt-id", "")
            with self._lock:
                answer = self._answers.pop(receipt, None)
                if answer is not None:
                    answer.waiting.discard(receipt)
                    self._settled = max(self._settled, answer.unconfirmed_before)
                    self._changed.notify_all()
            self.receipt_queue.offer(frame)
        elif frame.command == "ERROR":
            self._on_error_frame(session, frame)
        else:
            _log.warning("%s sent an unexpected %s frame", session.broker, frame.command)

    def _on_message(self, frame: Frame) -> None:
        """A MESSAGE came: to the queue, or held back until there is room."""
        if self._held or not self.message_queue.offer(frame):
            self._held.append(frame)

    def _on_error_frame(self, session: Session, frame: Frame) -> None:
        """An ERROR came. It ends the session, whatever the broker thinks of it; and it is somebody's answer."""
        self.error_queue.offer(frame)
        words = error_words(frame)
        reason = Rejected(f"{session.broker} answered ERROR: {words}", broker=session.broker, frame=frame)
        named = frame.headers.get("receipt-id")
        with self._lock:
            answers = set(self._answers.values())
            culprit = self._answers.get(named) if named is not None else None
            if culprit is None and named is None and len(answers) == 1 and self._unconfirmed == self._settled:
                (culprit,) = answers
            if culprit is not None:
                culprit.error = Rejected(str(reason), broker=session.broker, frame=frame)
        self._end(reason)
        raise reason

    def _keep_heart_beats(self, session: Session, reading: bool) -> float | None:
        """Send a beat if one is due; return the seconds until something is due, ``None`` if nothing ever is."""
        sends, expects = session.heart_beat
        now = time.monotonic()
        due: list[float] = []
        if sends:
            # Half the interval, so that the scheduling of threads cannot make a beat late.
            rest = self._last_sent + sends / 2000 - now
            if rest <= 0:
                with self._lock:
                    # In line with the frames: what TLS could not write at once, it must be given again.
                    if self._session is session and not self._outgoing:
                        self._outgoing.append((memoryview(b"\n"), _Answer(())))
                        self._outgoing_bytes += 1
                self._flush(session)
                self._last_sent = now
                rest = sends / 2000
            due.append(rest)
        if expects and reading:
            rest = self._last_received + _TOLERANCE * expects / 1000 - now
            if rest <= 0:
                silence = _TOLERANCE * expects / 1000
                raise TransportError(f"no byte came for {silence:g} s; a heart-beat was promised every {expects} ms")
            due.append(rest)
        elif not reading:
            self._last_received = now
        return min(due, default=None)

    def _end(self, reason: StompError) -> None:
        """Close the connection and tell everybody who waits."""
        with self._lock:
            session, self._session = self._session, None
            if session is None:
                return
            self._reason = reason
            answers = set(self._answers.values())
            self._answers.clear()
            self._outgoing.clear()
            self._outgoing_bytes = 0
            for answer in answers:
                if answer.error is None:
                    answer.error = ConnectionLost(
                        f"{reason}; whether the frame arrived is not known", broker=session.broker
                    )
                    answer.error.__cause__ = reason
            self._changed.notify_all()
            driver = self._driver
        session.close()
        self._wake()
        self._close_wakers()
        for frames in (self.connected_queue, self.receipt_queue, self.error_queue):
            frames.end(reason)
        if driver in (None, threading.get_ident()):
            self._end_message_queue()  # else the driver does it, when it leaves

    def _end_message_queue(self) -> None:
        """End the queue, after the frames for which there was no room: the broker will not send them again."""
        held, self._held = self._held, collections.deque()
        if self._reason is not None:
            self.message_queue.end(self._reason, held)

    # -- small things -----------------------------------------------------------------------------------------

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _live_session(self) -> Session:
        self._refuse_inherited()
        session = self._session
        if session is None:
            raise self._not_connected()
        return session

    @property
    def _inherited(self) -> bool:
        """Whether this process is a child of a fork, and the connection its parent's."""
        session = self._session
        return session is not None and session.pid != os.getpid()

    def _refuse_inherited(self) -> None:
        session = self._session
        if session is not None and self._inherited:
            raise StompError(
                f"this client was connected before a fork, by the process {session.pid}, which has its loop and its "
                "subscriptions; make a new client in this process"
            )

    def _not_connected(self) -> BrokerUnavailable:
        why = f": {self._reason}" if self._reason is not None else "; call connect() first"
        return BrokerUnavailable(f"not connected to {self.broker}{why}", broker=self.broker)

    def _room_in_queue(self) -> None:
        if self._held:
            self._wake()

    def _wake_descriptor(self) -> int:
        if self._wake_reader is None:
            self._wake_reader, self._wake_writer = socket.socketpair()
            self._wake_reader.setblocking(False)
            self._wake_writer.setblocking(False)
        return self._wake_reader.fileno()

    def _wake(self) -> None:
        """Let the driver look again, if it waits in another thread."""
        writer = self._wake_writer
        if writer is not None and self._driver != threading.get_ident():
            with contextlib.suppress(OSError):  # a wake-up waits there already, or nobody waits any more
                writer.send(b"\0")

    def _close_wakers(self) -> None:
        """Close the pair of sockets if nobody needs it: the session has ended and no thread waits at it."""
        with self._lock:
            if self._session is not None or self._driver is not None:
                return
            wakers = (self._wake_reader, self._wake_writer)
            self._wake_reader = self._wake_writer = None
        for waker in wakers:
            if waker is not None:
                waker.close()

    def _drain_wake(self) -> None:
        if self._wake_reader is not None:
            with contextlib.suppress(BlockingIOError):
                while self._wake_reader.recv(4096):
                    pass
