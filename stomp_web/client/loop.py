"""The loop of the driving thread. The loop writes bytes, reads frames and dispatches the frames.

A calling thread adds an `Exchange` to `Exchanges`, and the driving thread writes the bytes of the exchange. A RECEIPT
ends an exchange. A MESSAGE goes to `ReceivedFrames`. An ERROR ends the session. Only `Loop._end` ends a session and
wakes all waiting threads.
"""

from __future__ import annotations

import itertools
import operator
import os
import time
import typing

from .._internal.log import get_logger
from ..connection.deadline import Deadline
from ..connection.dialect import refuses
from ..connection.session import HeartBeats, Session, error_words
from ..connection.transport import TransportError
from ..errors import BrokerUnavailable, ConnectionLost, ProtocolError, ReceiptTimeout, Rejected, StompError
from ..protocol import Frame, encode
from .base import BaseClient
from .driver import Driver
from .exchanges import Exchange, Exchanges, lost
from .queues import FrameQueue, ReceivedFrames
from .state import Transactions

__all__ = ["Loop"]

_log = get_logger("client")
_command_of = operator.attrgetter("command")

_MOST_OUTGOING = 1_048_576  # bytes that may wait to be written before senders wait too
# Seconds. A signal may come right before the wait, or the system may deliver it to another thread. Then the main thread
# notices the signal only when the wait ends.
_LONGEST_WAIT = 0.5


class Loop(BaseClient):
    """A client with one connection for many threads. One of these threads drives the connection."""

    def _set_up_loop(self, queue_size: int, message_queue: FrameQueue | None) -> None:
        self._session: Session | None = None
        self._reason: StompError | None = None  # why the last session ended
        self._beats = HeartBeats((0, 0))
        self._driver = Driver(self._leave, lambda: self._session is None)
        self._exchanges = Exchanges()
        self._transactions = Transactions()
        self._received = self._make_received(queue_size, message_queue)

    def _make_received(self, queue_size: int, message_queue: FrameQueue | None) -> ReceivedFrames:
        return ReceivedFrames(queue_size, message_queue, self._driver.wake)

    def _begin(self, session: Session) -> None:
        """Reset the state for *session*, which the caller has stored."""
        with self._driver.lock:
            self._reason = None
            self._exchanges.begin()
            self._beats = HeartBeats(session.heart_beat)
        self._transactions.clear()
        self._received.begin(session.connected_frame)

    def _end(self, reason: StompError) -> None:
        """End the session because of *reason*, and wake all waiting threads."""
        with self._driver.lock:
            session, self._session = self._session, None
            if session is None:
                return
            self._reason = reason
            self._exchanges.end(session, reason)
            self._driver.changed.notify_all()
            driven = self._driver.is_another_thread
        session.close()
        self._driver.wake()
        self._driver.close_wakeup()
        self._transactions.end(reason)
        self._received.end(reason)
        if not driven:  # otherwise the driving thread calls it in `_leave`
            self._received.end_messages(reason)

    def _leave(self) -> None:
        """Stop driving the connection, so that another thread can drive it.

        If the session has ended, first end the queue of messages. In a forked child, do nothing.
        """
        if self._inherited:
            return  # this process was forked in a callback
        if self._session is None and self._reason is not None:
            self._received.end_messages(self._reason)
        self._driver.release()

    def _live_session(self) -> Session:
        self._refuse_inherited()
        session = self._session
        if session is None:
            raise self._not_connected()
        return session

    def _not_connected(self) -> BrokerUnavailable:
        why = f": {self._reason}" if self._reason is not None else "; call connect() first"
        return BrokerUnavailable(f"not connected to {self.broker}{why}", broker=self.broker)

    @property
    def _inherited(self) -> bool:
        """Whether the session belongs to the parent of this forked process."""
        session = self._session
        return session is not None and session.pid != os.getpid()

    def _refuse_inherited(self) -> None:
        session = self._session
        if session is not None and self._inherited:
            raise StompError(
                f"this client was connected before a fork, by the process {session.pid}, which has its loop and its "
                "subscriptions; make a new client in this process"
            )

    def _driving(self, deadline: Deadline) -> typing.ContextManager[None]:
        self._refuse_inherited()
        return self._driver.driving(deadline, self.broker)

    def _new_receipts(self, count: int) -> list[str]:
        with self._driver.lock:
            return self._exchanges.new_receipts(count)

    def _call(self, frame: Frame, deadline: Deadline, others: typing.Iterable[str] = ()) -> None:
        """Send *frame* with a receipt id. Wait for this receipt, and for the receipts with the ids *others*."""
        session = self._live_session()
        (receipt,) = self._new_receipts(1)
        frame.headers["receipt"] = receipt
        data = memoryview(encode(frame, session.version))
        self._exchange(session, Exchange(data, (receipt, *others), together=True), deadline)

    def _write(self, frame: Frame, session: Session) -> None:
        """Send *frame* in *session* without a receipt id."""
        in_transaction = "transaction" in frame.headers
        data = memoryview(encode(frame, session.version))
        self._exchange(session, Exchange(data, together=in_transaction), self._deadline(None))

    def _exchange(self, session: Session, exchange: Exchange, deadline: Deadline) -> None:
        """Hand *exchange* over to the driving thread, and wait until the exchange is done.

        An exchange with receipts is done after the last receipt. An exchange without receipts is done when its bytes
        are written. While `listen_forever` runs in another thread, an exchange without receipts may be done earlier: as
        soon as less than 1 MiB of output waits.
        """
        exchanges, driver = self._exchanges, self._driver
        with driver.lock:
            if self._session is not session:  # in a later session the frames would mean something else
                raise BrokerUnavailable(
                    f"the session with {session.broker} has ended, and this belonged to it; nothing was sent",
                    broker=session.broker,
                )
            exchanges.add(exchange)
        driver.wake()

        def done() -> bool:
            if exchange.error is not None or self._session is not session:
                return True
            if exchange.receipts:
                return not exchange.waiting
            # A loop will certainly write the bytes. A call in another thread may stop driving before that.
            return exchange.written or (driver.is_loop_elsewhere and exchanges.backlog < _MOST_OUTGOING)

        try:
            driver.await_done(done, deadline, self._drive)
        finally:
            with driver.lock:
                exchanges.give_up(exchange)
        error = exchange.error
        if error is None:
            if not exchange.waiting if exchange.receipts else exchange.written:
                return
            if self._session is not session:
                error = lost(session, self._reason)
            elif exchange.receipts or not done():
                error = self._late(session, exchange, deadline)
            else:
                return
        error.confirmed = exchange.confirmed
        raise error

    def _late(self, session: Session, exchange: Exchange, deadline: Deadline) -> ReceiptTimeout:
        what = "gave no receipt" if exchange.receipts else "did not take the bytes"
        full = "" if self._reading else " (the message queue is full; the receipt may stand behind more messages)"
        return ReceiptTimeout(
            f"{session.broker} {what} within {deadline.seconds:.3g} s{full}; whether the frame arrived is not known",
            broker=session.broker,
        )

    def _drive(self, done: typing.Callable[[], bool], deadline: Deadline | None) -> None:
        """Write and read until *done* returns true or *deadline* expires. Raise an error if the connection ends."""
        self._driver.wakeup.fileno()  # open it before *done* is called: a thread that changes the result ends the wait
        while not done():
            if self._session is None:
                raise self._not_connected()
            if deadline is not None and deadline.expired:
                return
            self._step(None if deadline is None else deadline.remaining())

    def _step(self, seconds: float | None) -> bool:
        """Write and read without waiting. Return whether anything was written or read.

        If nothing was written or read, wait at most *seconds* for the socket or for a call of another thread.
        """
        session = self._live_session()
        # Open the wakeup before looking for bytes to write: a thread that hands over bytes later ends the wait.
        wake = self._driver.wakeup.fileno()
        try:
            moved = self._flush(session)
            self._received.move_held()
            reading = self._reading
            if reading:
                moved = self._read(session) or moved
            beat = self._keep_heart_beats(session, reading)
            if not moved and seconds != 0.0:
                waits = [limit for limit in (seconds, beat, _LONGEST_WAIT) if limit is not None]
                session.transport.wait(min(waits), write=bool(self._exchanges.backlog), read=reading, wake=wake)
                self._driver.wakeup.drain()
        except (TransportError, ProtocolError) as error:
            what = str(error) if isinstance(error, TransportError) else f"the broker sent what is not STOMP: {error}"
            reason = ConnectionLost(f"the connection to {session.broker} has ended: {what}", broker=session.broker)
            self._end(reason)
            raise reason from error
        return moved

    def _flush(self, session: Session) -> bool:
        """Write without waiting. Return whether any bytes were written."""
        exchanges, lock = self._exchanges, self._driver.lock
        moved = False
        while True:
            with lock:
                exchange = exchanges.begin_write() if self._session is session else None
            if exchange is None:
                return moved
            try:
                sent = session.write_some(exchange.data[exchange.left :])
                with lock:
                    exchanges.end_write(exchange, sent)
                    if exchange.written or exchanges.backlog < _MOST_OUTGOING:
                        self._driver.changed.notify_all()
            except TransportError:
                with lock:
                    exchanges.end_write(exchange, 0)
                raise
            except BaseException:
                # Ctrl-C or a time limit may have come after the write and before the bytes were counted. If these bytes
                # were written again, the broker would get them twice. So the session ends here.
                self._end(ConnectionLost(f"a write to {session.broker} was interrupted", broker=session.broker))
                raise
            if not sent:
                return moved
            moved = True
            self._beats.sent = time.monotonic()

    @property
    def _reading(self) -> bool:
        """Whether the driving thread may read now. While the value is false, the broker has to wait."""
        return self._received.is_reading(self._exchanges.awaiting)

    def _read(self, session: Session) -> bool:
        """Read once, and dispatch the frames that have come. Return whether bytes or frames came."""
        received = session.bytes_received
        frames = session.read_some(self._received.read_limit(self._exchanges.awaiting))
        if session.bytes_received != received:
            self._beats.received = time.monotonic()
        if frames:
            self._dispatch(session, frames)
        return bool(frames) or session.bytes_received != received

    def _dispatch(self, session: Session, frames: list[Frame]) -> None:
        """Pass each of *frames* to its queue or its exchange. If a frame ends the session, raise an exception."""
        for command, group in itertools.groupby(frames, _command_of):
            if command == "MESSAGE":
                messages = list(group)
                for frame in messages:
                    frame._session = session
                self._received.add_messages(messages)
                continue
            for frame in group:
                if command == "RECEIPT":
                    with self._driver.lock:
                        self._exchanges.take_receipt(frame.headers.get("receipt-id", ""))
                        self._driver.changed.notify_all()
                    self._received.receipt_queue.offer(frame)
                elif command == "ERROR":
                    self._take_error(session, frame)
                else:
                    _log.warning("%s sent an unexpected %s frame", session.broker, command)

    def _take_error(self, session: Session, frame: Frame) -> typing.NoReturn:
        """End the session after an ERROR, even if the broker would keep the session open."""
        self._received.error_queue.offer(frame)
        words = f"{session.broker} answered ERROR: {error_words(frame)}"
        reason: Rejected | ConnectionLost
        if refuses(frame, session.dialect):
            reason = Rejected(words, broker=session.broker, frame=frame)
            with self._driver.lock:
                self._exchanges.take_refusal(session, frame, words, in_transaction=bool(self._transactions.open))
        else:
            reason = ConnectionLost(words, broker=session.broker, frame=frame)
        self._end(reason)
        raise reason

    def _keep_heart_beats(self, session: Session, reading: bool) -> float | None:
        """Send a heart-beat if necessary. Return the seconds until the next check, or ``None`` for no check."""
        beats = self._beats
        now = time.monotonic()
        if beats.due(now):
            with self._driver.lock:
                if self._session is session:
                    self._exchanges.add_heart_beat()
            self._flush(session)
            beats.sent = now
        if not reading:
            beats.received = now  # while the client does not read, the broker's beats wait in the socket
        elif silence := beats.overdue(now):
            raise TransportError(silence)
        return beats.rest(now, reading)
