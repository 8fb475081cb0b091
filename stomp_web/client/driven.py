"""DrivenClient: a connection that many threads use and one thread at a time drives.

What `QueueingDuplexClient` stands on. Here is everything about getting bytes out and frames in while several threads
want something; what frames mean is said there.

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
import os
import socket
import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.redacted import redact_secret
from .._internal.unpicklable import Unpicklable
from ..config import coerce
from ..connection.connector import Connector
from ..connection.deadline import Deadline
from ..connection.heart_beat import HeartBeats
from ..connection.session import Session
from ..connection.transport import TransportError
from ..errors import (
    BrokerUnavailable,
    ConnectionLost,
    DeliveryUnknown,
    MessageError,
    NotSent,
    ProtocolError,
    ReceiptTimeout,
    StompError,
)
from ..protocol import Frame, commands, encode
from .written import limit_hint, whole_frames

if typing.TYPE_CHECKING:
    from typing import Self

__all__ = ["Answer", "BusyError", "DrivenClient"]

_log = get_logger("client")

# Bytes that may wait to be written before senders wait too.
_MOST_OUTGOING = 1_048_576

# Seconds. Python runs a signal's handler between two steps of the main thread: of a signal that comes right before the
# wait, or that the system gives to another thread, the main thread hears only when the wait ends. So no wait is longer.
_LONGEST_WAIT = 0.5


class Answer:
    """Somebody waits for receipts, or until the bytes are written. Guarded by the client's lock."""

    __slots__ = ("data", "error", "left", "receipts", "together", "unconfirmed_before", "waiting", "written")

    def __init__(self, receipts: typing.Sequence[str], together: bool = False, data: memoryview | None = None) -> None:
        self.receipts = receipts
        self.waiting = set(receipts)
        #: What is to be written, and how many bytes of that have left.
        self.data = memoryview(b"") if data is None else data
        self.left = 0
        #: Whether all frames and receipts are about one thing, a transaction: nothing of it is taken without a COMMIT.
        self.together = together
        #: How many unconfirmed frames of the session were handed over before.
        self.unconfirmed_before = 0
        self.written = False
        self.error: MessageError | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self.waiting or self.error is not None


class _WakingEvent(threading.Event):
    """An event that wakes the loop when it is set, also from a signal handler in the loop's own thread."""

    def __init__(self, wake: typing.Callable[[], object]) -> None:
        super().__init__()
        self._wake = wake

    def set(self) -> None:
        super().set()
        self._wake()


class BusyError(BrokerUnavailable):
    """Another thread drives the connection, and did not leave in time."""


class _ClosedMeanwhileError(BrokerUnavailable):
    """Another thread has closed the client while it connected."""


class DrivenClient(Unpicklable):
    """The connection of a client that receives. A subclass says what becomes of the frames that come."""

    _instead = "hand over the address, and make a client there"

    def __init__(self, connector: Connector, timeout: float) -> None:
        self._connector = connector
        #: Seconds for a call that is given no timeout of its own.
        self.timeout: float = coerce("timeout", timeout)
        #: Set while `listen_forever` runs.
        self.listening_event = threading.Event()
        #: Set it to end `listen_forever` in order; a signal handler may do so.
        self.shutdown_event: threading.Event = _WakingEvent(self._wake_up)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._driver: int | None = None  # the thread that drives the connection now
        self._waiting = 0  # threads that wait to drive it, or for the one that does
        self._session: Session | None = None
        self._reason: StompError | None = None  # why the last session ended
        self._credentials: dict[str, object] = {}
        # disconnect() or close() ends a loop that runs, and does the rest itself. It sets `shutdown_event` for others
        # who look at that, and the next connection takes it back; what the user has set is the user's.
        self._ending = False
        self._parting = False  # somebody says DISCONNECT
        self._closes = 0  # how often somebody has closed it, who may do so while another thread connects
        # Frames of this session, outside of transactions, without a receipt, or whose caller has given up waiting for
        # it; and how many of them a receipt has covered since. An ERROR may be about one of the rest.
        self._unconfirmed = self._settled = 0
        self._outgoing: collections.deque[tuple[memoryview, Answer]] = collections.deque()
        self._outgoing_bytes = 0
        self._in_write = False  # the first of `_outgoing` is being written, and how much of it has left is not counted
        self._answers: dict[str, Answer] = {}
        self._beats = HeartBeats((0, 0))
        self._receipt_ids = itertools.count(1)
        self._wake_reader: socket.socket | None = None
        self._wake_writer: socket.socket | None = None

    # -- what a subclass says ---------------------------------------------------------------------------------

    def _on_begin(self, session: Session) -> None:
        """A session has begun."""
        raise NotImplementedError

    def _on_frames(self, session: Session, frames: list[Frame]) -> None:
        """Put *frames* where frames of their kinds go. Raises the reason if one ends the session."""
        raise NotImplementedError

    def _room(self) -> int:
        """How many frames may be read now."""
        raise NotImplementedError

    def _on_end(self, reason: StompError, driven: bool) -> None:
        """The session has ended. *driven* if a thread drives it still, which will call `_on_left`."""
        raise NotImplementedError

    def _on_left(self) -> None:
        """The thread that drove the connection has left, and the session has ended."""
        raise NotImplementedError

    def _make_room(self) -> None:
        """Move what was held back to where there is room for it now. Called by the driver only."""
        raise NotImplementedError

    def _reading(self) -> bool:
        """Whether to read now, or to let the broker wait. A look, and nothing else."""
        raise NotImplementedError

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
        passcode = redact_secret("passcode", passcode)
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
        closes = self._closes
        session = self._connector.open(deadline, **self._credentials)
        with self._lock:
            closed = self._closes != closes
            if not closed:
                self._session = session
        if closed:
            session.close()
            raise _ClosedMeanwhileError(f"the client was closed while it connected to {session.broker}")
        self._take_back_the_ending()
        with self._lock:
            self._reason = None
            self._parting = False
            self._unconfirmed = self._settled = 0
            self._beats = HeartBeats(session.heart_beat)
        self._on_begin(session)
        _log.info("connected to %s (%s, STOMP %s)", session.broker, session.server, session.version)

    @property
    def connected(self) -> bool:
        """Whether there is a session and the broker has not ended it.

        While a loop or another call drives the connection, that one looks; otherwise this looks at the socket, without
        waiting. Messages that came before the end are to be taken first: until they are, it is connected.
        """
        session = self._session
        if session is None or self._inherited:
            return False
        with self._lock:
            if self._driver is not None or self._waiting:  # somebody drives it, or will do so at once
                return self._session is session
            self._driver = threading.get_ident()
        try:
            return not session.ended()
        finally:
            self._leave()

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

    def disconnect(self, timeout: float | None = None) -> None:
        """End the session: DISCONNECT with a receipt, wait for it for *timeout* seconds, and close.

        A running loop ends without an exception. Does nothing if not connected.
        """
        deadline = self._deadline(timeout)
        if self._session is None or self._inherited:
            self.close()
            return
        self._end_the_loop()
        with self._lock:
            parting, self._parting = self._parting, True
            if parting:  # another thread does it already
                self._changed.wait_for(lambda: self._session is None, deadline.remaining())
                return
        try:
            self._call(commands.disconnect(), deadline)
        except (NotSent, DeliveryUnknown) as error:
            _log.info("the DISCONNECT to %s was not answered: %s", self.broker, error)
        finally:
            self._end(ConnectionLost(f"the client has disconnected from {self.broker}", broker=self.broker))

    def close(self) -> None:
        """Close the connection at once, without DISCONNECT. May be called again."""
        if self._inherited:
            # The descriptor alone. A lock may be held by a thread of the parent, which does not exist here.
            self._session.close()  # type: ignore[union-attr]
            return
        self._end_the_loop()
        self._end(ConnectionLost(f"the client has closed its connection to {self.broker}", broker=self.broker))

    def _end_the_loop(self) -> None:
        with self._lock:
            self._closes += 1
        if self.listening_event.is_set() and not self.shutdown_event.is_set():
            self._ending = True
            self.shutdown_event.set()

    def _take_back_the_ending(self) -> None:
        if self._ending:
            self._ending = False
            self.shutdown_event.clear()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.disconnect()
        else:
            self.close()

    def __repr__(self) -> str:
        state = f"STOMP {self.version}" if self._session is not None else "not connected"
        return f"<{type(self).__name__} {self.broker}, {state}>"

    # -- the loop ---------------------------------------------------------------------------------------------

    def listen_forever(self, *, connect: bool = True) -> None:
        """Receive until `shutdown_event` is set or the connection ends. Run it where you like.

        Usually that is a thread of your own; a program that only receives may run it in its main thread, and set
        `shutdown_event` in a signal handler. Connects first, if not connected, unless *connect* is false: for those
        whose subscriptions are of no use in another session. It keeps the heart-beats, reads, and puts each frame on
        the queue of its kind. When `shutdown_event` is set, it says DISCONNECT and returns.

        Raises the reason when the connection ends otherwise: `ConnectionLost`; `Rejected` for an ERROR frame that
        refuses a frame of this client (every ERROR is on `error_queue` too); `BrokerUnavailable` or
        `AuthenticationFailed` if it could not connect.
        """
        with self._driving(self._deadline(None)):
            if self.listening_event.is_set():
                raise StompError("this client's loop is running already, in this thread")
            self._take_back_the_ending()
            if self._session is None and not self.shutdown_event.is_set():
                if not connect:
                    raise self._reason or self._not_connected()
                try:
                    self._open(self._deadline(None))
                except _ClosedMeanwhileError:
                    return
            self._wake_descriptor()  # before anybody is told: a shutdown that is asked for from now on wakes the loop
            self.listening_event.set()
            try:
                self._drive(self.shutdown_event.is_set, None)
            except StompError:
                if not self.shutdown_event.is_set():
                    raise
            except Exception as error:
                # Of a callback's own machinery, or a fault of ours: whoever waits must not wait for ever.
                self._end(ConnectionLost(f"the loop has ended: {error!r}", broker=self.broker))
                raise
            finally:
                self.listening_event.clear()
            if not self._ending:
                self.disconnect()

    def fileno(self) -> int:
        """The socket's descriptor, for a selector of your own; call `process` when it can be read.

        Raises `BrokerUnavailable` if not connected.
        """
        return self._live_session().fileno()

    @property
    def writing(self) -> bool:
        """Whether bytes wait to be written: a selector of your own is to call `process` when they can be, too."""
        return bool(self._outgoing)

    def process(self) -> float | None:
        """Write and read all that can be written and read now, without waiting: for a selector of your own.

        Returns the seconds after which it is to be called again at the latest, for the heart-beats; ``None`` if there
        are none. Who has taken frames from a `message_queue` that was full calls it again, too: more may wait inside.
        Raises what `listen_forever` raises.
        """
        with self._driving(self._deadline(None)):
            self._live_session()
            while self._step(0.0):
                pass
            return self._beats.rest(time.monotonic(), self._reading())

    # -- handing over -----------------------------------------------------------------------------------------

    def _call(self, frame: Frame, deadline: Deadline, others: typing.Iterable[str] = ()) -> None:
        """Send *frame* with a receipt, and wait for it and for the *others*, which come after it."""
        receipt = str(next(self._receipt_ids))
        frame.headers["receipt"] = receipt
        session = self._live_session()
        data = memoryview(encode(frame, session.version))
        self._exchange(session, data, [receipt, *others], deadline, together=True)

    def _write(self, frame: Frame, session: Session) -> None:
        in_transaction = "transaction" in frame.headers
        data = memoryview(encode(frame, session.version))
        self._exchange(session, data, (), self._deadline(None), in_transaction)

    def _exchange(
        self,
        session: Session,
        data: memoryview,
        receipts: typing.Sequence[str],
        deadline: Deadline,
        in_transaction: bool = False,
        together: bool = False,
    ) -> None:
        """Hand *data*, made for *session*, over to whoever drives the connection, and wait until *receipts* came.

        Without receipts it returns once the bytes are in line to be written, and there is room in the line.
        """
        answer = Answer(receipts, together or in_transaction, data)
        with self._lock:
            if self._session is not session:  # a later one would take it for something else
                raise self._not_connected(session)
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
            # A loop will write it for certain. Another thread's call may be about to leave.
            driven = self.listening_event.is_set() and self._driver not in (None, me)
            return answer.written or (driven and self._outgoing_bytes < _MOST_OUTGOING)

        me = threading.get_ident()
        try:
            self._await(done, deadline)
        finally:
            with self._lock:
                if answer.waiting and answer.error is None and self._session is session:  # the answer may come later
                    self._unconfirmed += 1
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
            full = "" if self._reading() else " (the message queue is full; the receipt may stand behind more messages)"
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
                    if not self._wait_for_change(deadline):
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
                if not self._wait_for_change(deadline):
                    raise BusyError(
                        f"another thread's call is still busy after {deadline.seconds:.3g} s", broker=self.broker
                    )
            self._driver = me
        try:
            yield
        finally:
            if not nested:
                self._leave()

    def _wait_for_change(self, deadline: Deadline) -> bool:
        """Wait, with the lock held, until something has changed. ``False`` if the deadline came first."""
        self._waiting += 1
        try:
            return self._changed.wait(deadline.remaining())
        finally:
            self._waiting -= 1

    def _leave(self) -> None:
        if self._inherited:
            return  # forked in a callback
        if self._session is None:
            self._on_left()
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

    def _step(self, seconds: float | None) -> bool:
        """Do what can be done now; if that is nothing, wait for *seconds* at the most.

        Returns whether anything was done. Raises the reason if the connection ends.
        """
        session = self._live_session()
        # Made before the look at what is to be written: whoever hands something over after that look wakes the wait.
        wake = self._wake_descriptor()
        try:
            moved = self._flush(session)
            self._make_room()
            reading = self._reading()
            if reading:
                moved = self._take_frames(session) or moved
            beat = self._keep_heart_beats(session, reading)
            if not moved and seconds != 0.0:
                waits = [limit for limit in (seconds, beat, _LONGEST_WAIT) if limit is not None]
                session.wait(min(waits), write=bool(self._outgoing), read=reading, wake=wake)
                self._drain_wake()
        except (TransportError, ProtocolError) as error:
            what = str(error) if isinstance(error, TransportError) else f"the broker sent what is not STOMP: {error}"
            reason = ConnectionLost(f"the connection to {session.broker} has ended: {what}", broker=session.broker)
            self._end(reason)
            raise reason from error
        return moved

    def _flush(self, session: Session) -> bool:
        moved = False
        while True:
            with self._lock:
                if self._session is not session or not self._outgoing:
                    break
                data, answer = self._outgoing[0]
            self._in_write = True
            try:
                sent = session.write_some(data)
            except BaseException as error:
                if not isinstance(error, TransportError):
                    # Ctrl-C, or a time limit, between the write and its being counted: written again, it would be there
                    # twice. So the session ends here.
                    self._end(ConnectionLost(f"a write to {session.broker} was interrupted", broker=session.broker))
                self._in_write = False
                raise
            if not sent:
                self._in_write = False
                break
            moved = True
            self._beats.sent = time.monotonic()
            with self._lock:
                self._in_write = False
                answer.left += sent
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

    def _take_frames(self, session: Session) -> bool:
        """Read once, and hand on the frames that have come; return whether anything has."""
        received = session.bytes_received
        frames = session.read_some(self._room())
        if session.bytes_received != received:
            self._beats.received = time.monotonic()
        if frames:
            self._on_frames(session, frames)
        return bool(frames) or session.bytes_received != received

    def _settle(self, receipt: str) -> None:
        """A RECEIPT came: tell who waits for it."""
        with self._lock:
            answer = self._answers.pop(receipt, None)
            if answer is not None:
                answer.waiting.discard(receipt)
                self._settled = max(self._settled, answer.unconfirmed_before)
                self._changed.notify_all()

    def _keep_heart_beats(self, session: Session, reading: bool) -> float | None:
        """Send a beat if one is due; return the seconds until something is due, ``None`` if nothing ever is."""
        beats = self._beats
        now = time.monotonic()
        if beats.due(now):
            with self._lock:
                # In line with the frames: what TLS could not write at once, it must be given again.
                if self._session is session and not self._outgoing:
                    self._outgoing.append((memoryview(b"\n"), Answer(())))
                    self._outgoing_bytes += 1
            self._flush(session)
            beats.sent = now
        if not reading:
            beats.received = now  # what came meanwhile waits in the socket
        elif silence := beats.overdue(now):
            raise TransportError(silence)
        return beats.rest(now, reading)

    def _end(self, reason: StompError) -> None:
        """Close the connection and tell everybody who waits."""
        with self._lock:
            session, self._session = self._session, None
            if session is None:
                return
            self._reason = reason
            answers = set(self._answers.values())
            not_written = [answer for _, answer in self._outgoing][int(self._in_write) :]
            self._answers.clear()
            self._outgoing.clear()
            self._outgoing_bytes = 0
            for answer in not_written:
                if answer.error is None:
                    answer.error = _not_written(answer, session, reason)
                    answer.error.__cause__ = reason
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
        self._on_end(reason, driver not in (None, threading.get_ident()))

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

    def _not_connected(self, session: Session | None = None) -> BrokerUnavailable:
        if session is not None and self._session is not None:
            return BrokerUnavailable(
                f"the session with {session.broker} has ended, and this belonged to it; nothing was sent",
                broker=session.broker,
            )
        why = f": {self._reason}" if self._reason is not None else "; call connect() first"
        return BrokerUnavailable(f"not connected to {self.broker}{why}", broker=self.broker)

    def _wake_descriptor(self) -> int:
        if self._wake_reader is None:
            self._wake_reader, self._wake_writer = socket.socketpair()
            self._wake_reader.setblocking(False)
            self._wake_writer.setblocking(False)
        return self._wake_reader.fileno()

    def _wake(self) -> None:
        """Let the driver look again, if it waits in another thread."""
        if self._driver != threading.get_ident():
            self._wake_up()

    def _wake_up(self) -> None:
        writer = self._wake_writer
        if writer is not None:
            with contextlib.suppress(OSError):  # a wake-up waits there already, or the loop has ended
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


def _not_written(answer: Answer, session: Session, reason: StompError) -> MessageError:
    """The exception for frames that had not left whole when *session* ended."""
    size = len(answer.data)
    if not answer.left:
        return BrokerUnavailable(f"{reason}; no byte of the frame was sent", broker=session.broker)
    took = f"{session.broker} took {answer.left} of {size} bytes, then: {reason}.{limit_hint(session.dialect)}"
    whole = 0 if answer.together else whole_frames(answer.data[: answer.left], session.version)
    if answer.waiting.isdisjoint(answer.receipts[:whole]) and (answer.receipts or not whole):
        what = "the rest" if whole else "the frame"
        return NotSent(f"{what} did not leave whole, and so cannot have been taken: {took}", broker=session.broker)
    unknown = ConnectionLost(
        f"whether the first {whole} messages arrived is not known, the others were not sent: {took}",
        broker=session.broker,
    )
    count = len(answer.receipts) or whole_frames(answer.data, session.version)
    unknown.not_sent = tuple(range(whole, count))
    return unknown
