"""SendingClient: one session, one thread at a time, and one answer for each message. What `PublishClient` stands on.

The way of a message: head and body -> bytes -> written -> (confirmed) its receipt read. Whatever goes wrong in the
middle of that way ends the session, so that an answer that comes late can never be taken for another message's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.notices import Notices
from .._internal.unpicklable import Unpicklable
from ..config import coerce
from ..connection.connector import Connector
from ..connection.deadline import Deadline
from ..connection.refusals import refuses
from ..connection.session import Session, error_words
from ..connection.transport import TransportError, TransportTimeout
from ..errors import (
    BrokerUnavailable,
    ConnectionLost,
    MessageError,
    NotSent,
    PoolClosed,
    ProtocolError,
    ReceiptTimeout,
    Rejected,
)
from ..protocol import Frame, encode
from .heads import head_of
from .message import LARGE, Message, encode_message, frame_of, join_frames, length_line, small_frame_of, type_line
from .outcome import confirmed_positions, name_message, no_receipt, rejected, unanswered
from .transaction import EndedByError
from .written import limit_hint, whole_frames

__all__ = ["InUse", "OpenTransaction", "SendingClient"]

_log = get_logger("client")

_NUL = memoryview(b"\0")
_MOST_STRAY = 1_000  # frames that nobody has asked for; who sends more has nothing to say


@dataclasses.dataclass(slots=True)
class OpenTransaction:
    """How many frames of it were sent since the last receipt, and the `receipts` after its COMMIT (RabbitMQ)."""

    messages: int = 0
    receipts: list[str] = dataclasses.field(default_factory=list)


class InUse(NotSent):
    """Another thread is in the middle of a call."""


class SendingClient(Unpicklable):
    """The connection of a client that only sends. A subclass says what may be asked of it."""

    _instead = "hand over the address, and make a client there"

    def _set_up(self, connector: Connector, timeout: float, confirm: bool, notices: Notices | None = None) -> None:
        self._connector = connector
        self.timeout = coerce("timeout", timeout)
        self.confirm: bool = coerce("confirm", confirm)
        self._session: Session | None = None
        self._credentials: dict[str, object] = {}
        self._receipt_ids = itertools.count(1)
        self._transaction_ids = itertools.count(1)
        self._unconfirmed = 0  # frames written since the last receipt, which an ERROR may be about
        self._open_transactions: dict[str, OpenTransaction] = {}
        # The transactions that ended with an ERROR of which their user does not know yet.
        self._ended_transactions: dict[str, EndedByError] = {}
        # The last destination, content type and headers, and the head that belongs to them.
        self._last_head: tuple[str, str | None, dict[str, str] | None, bytes] | None = None
        self._retired = False
        self._notices = Notices() if notices is None else notices
        #: Whether notices are published after each call. A pool publishes those of its clients when they came back: a
        #: log handler that sends through the same pool may need the connection.
        self.publishes_notices = notices is None
        self._in_use = threading.Lock()
        self._locks_of_children: dict[int, threading.Lock] = {}
        self._pid = os.getpid()

    @property
    def broker(self) -> str:
        """The address of the broker, without credentials: the connected one's, or all that would be tried."""
        return self._session.broker if self._session else str(self._connector)

    # -- the way of a message ---------------------------------------------------------------------------------

    def send_ready(
        self,
        destination: str,
        content: memoryview,
        headers: typing.Mapping[str, str] | None,
        content_type: str | None,
        confirm: bool | None,
        deadline: Deadline | None,
        head: bytes | None = None,
        pid: int = 0,
        looked: bool = False,
    ) -> None:
        """Send one message outside of a transaction: the fast path of what nearly all calls are, here and in a pool.

        *content* is the body. *head* is what `head_of` returns for the rest, and *pid* this process's, where they are
        known. *looked*: the pool has just looked at the connection, which is not looked at again.

        Whatever is out of the ordinary - no session yet, bytes that are not taken at once, an answer that is not just
        the receipt - goes the way of all other frames. Measured on CPython 3.11: 2 us beside the system call, against
        13 us for the way of a batch of one.
        """
        if headers is not None and type(headers) is not dict and isinstance(headers, typing.Mapping):
            headers = dict(headers)  # code of the application's own, which is not to run while the lock is held
        if head is None:
            head = self._head(destination, content_type, headers)  # before anything is opened or written
        pid = pid or os.getpid()
        lock = self._in_use if self._pid == pid else self._lock_of_child()
        if not lock.acquire(False):
            raise _in_use()
        try:
            session = self._session
            now = time.monotonic()
            if session is None or session.pid != pid or not (looked or session.nothing_new()):
                deadline = deadline or self._deadline(None)
                session = self._connected_session(deadline)
                now = time.monotonic()
            receipt = next(self._receipt_ids) if (self.confirm if confirm is None else confirm) else None
            size = content.nbytes
            if session.plain and size < LARGE:
                data, large = small_frame_of(head, content, size, receipt), None
            else:
                data, large = _frame_for(session, destination, content, headers, content_type, head, receipt)
            sent = 0
            try:
                if large is None and (deadline is None or now < deadline.at):
                    sent = session.write_some(data)
                if sent != len(data) or large is not None:
                    deadline = deadline or self._deadline(None)
                    self._write(session, data, deadline, None, large, sent)
                    sent = len(data)
                earlier = self._unconfirmed
                self._unconfirmed = earlier + 1
                if receipt is None:
                    return
                if session.next_is_receipt(receipt):
                    if self._open_transactions:
                        self._all_answered()
                    else:
                        self._unconfirmed = 0  # the same, without a call
                else:
                    deadline = deadline or self._deadline(None)
                    self._await_receipts(session, {str(receipt): 0}, deadline, earlier, size)
            except TransportError as error:
                if not sent:
                    lost = self._not_written(session, error, 0, len(data), deadline, None)
                    raise lost from lost.__cause__ or error
                self._drop()
                raise no_receipt(session, error, deadline or self._deadline(None), size=size) from error
            except MessageError:
                raise
            except BaseException:
                self._drop()  # interrupted, and nobody knows what has left and what is still to come
                raise
        except MessageError as error:
            name_message(error, Message(destination, b"", headers))
            raise
        finally:
            lock.release()
            if self._notices and self.publishes_notices:
                self._notices.publish()

    def _head(self, destination: str, content_type: str | None, headers: typing.Mapping[str, str] | None) -> bytes:
        """What `head_of` returns. The last one is kept: most loops send to one destination, with the same headers.

        Measured on CPython 3.11 with two headers: 1 us less for a message.
        """
        last = self._last_head
        if last is not None and last[0] == destination and last[1] == content_type and last[2] == headers:
            return last[3]
        if headers is not None and type(headers) is not dict:  # no mapping at all
            return head_of(destination, content_type, headers)
        kept = None if headers is None else headers.copy()  # before it is read: another thread may change it
        head = head_of(destination, content_type, kept)
        self._last_head = (destination, content_type, kept, head)
        return head

    def _encode(
        self,
        session: Session,
        messages: typing.Sequence[Message],
        heads: typing.Sequence[bytes],
        with_receipts: bool,
        transaction: str | None,
    ) -> tuple[memoryview, dict[str, int]]:
        """The bytes of all *messages* for this session's broker, and the position of each by its receipt's id."""
        receipts: dict[str, int] = {}
        if with_receipts:
            receipts = {str(next(self._receipt_ids)): position for position in range(len(messages))}
        if transaction is None and session.plain:
            joined = join_frames(messages, heads, receipts if with_receipts else None)
            if joined is not None:
                return memoryview(joined), receipts
        asked = iter(receipts) if with_receipts else itertools.repeat(None)
        parts = [
            encode_message(message, head, session.dialect, session.version, receipt, transaction)
            for message, head, receipt in zip(messages, heads, asked, strict=False)
        ]
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts)), receipts

    def _write(
        self,
        session: Session,
        data: memoryview,
        deadline: Deadline,
        receipts: dict[str, int] | None = None,
        body: memoryview | None = None,
        sent: int = 0,
        count: int = 1,
        in_transaction: bool = False,
    ) -> None:
        """Write *data*, in which *receipts* are asked for; if that fails, end the session and say what had left.

        With a large *body*, that is written behind it, and the closing NUL. *sent* is what had left before. *count* is
        how many messages there are in it. *in_transaction*: they are nothing without a COMMIT.
        """
        if deadline.expired and not sent:
            if session.stuck:
                self._drop()  # or it would be sent with the next message
            raise BrokerUnavailable(
                f"no time was left to send ({deadline.seconds:.3g} s given); nothing was sent", broker=session.broker
            )
        before = session.bytes_sent - sent
        size = len(data) if body is None else len(data) + body.nbytes + 1
        try:
            if body is None:
                session.write(data[sent:], deadline)
            else:
                session.write_large((data, body, _NUL), deadline)
        except (TransportError, ProtocolError) as error:
            left = session.bytes_sent - before
            whole = 0 if count == 1 or in_transaction else whole_frames(data[:left], session.version)
            lost = self._not_written(session, error, left, size, deadline, receipts, count, whole)
            raise lost from lost.__cause__ or error
        except BaseException:
            self._drop()
            raise

    def _not_written(
        self,
        session: Session,
        error: TransportError | ProtocolError,
        left: int,
        size: int,
        deadline: Deadline | None,
        receipts: dict[str, int] | None,
        count: int = 1,
        whole: int = 0,
    ) -> MessageError:
        """End the session, and return the exception for a write that ended with *error* when *left* bytes had left.

        Of the *count* messages the first *whole* ones have left. What the broker said meanwhile counts: the receipts of
        a batch's first messages, or why it takes no more, for example of a frame over its limit.
        """
        receipts = receipts or {}
        waiting, errors = dict(receipts), []
        for frame in _arrived(session, len(receipts) + _MOST_STRAY):
            if frame.command == "RECEIPT":
                waiting.pop(frame.headers.get("receipt-id", ""), None)
            elif frame.command == "ERROR":
                errors.append(frame)
        earlier = self._unconfirmed
        self._drop()
        late = isinstance(error, TransportTimeout)
        confirmed = confirmed_positions(receipts, waiting)
        unsent = tuple(range(whole, count))
        lost: MessageError
        if left and any(refuses(frame, session.dialect) for frame in errors):
            lost = rejected(session, errors, receipts, waiting, earlier, count=count, late=late)
            if not isinstance(lost, Rejected):
                lost.not_sent = unsent
            return lost
        for frame in errors:
            self._notice_error(session, frame)
        if not left:
            return BrokerUnavailable(
                f"{session.broker} took no byte of the message: {error}; nothing was sent", broker=session.broker
            )
        seconds = self.timeout if deadline is None else deadline.seconds
        took = f"{session.broker} took {left} of {size} bytes, then: {error}"
        took += f" ({seconds:.3g} s given)." if late else f".{limit_hint(session.dialect)}"
        if set(range(whole)) <= set(confirmed):
            what = "the frame" if count == 1 else "the rest"
            return NotSent(
                f"{what} did not leave whole, and so cannot have been taken: {took}",
                broker=session.broker,
                confirmed=confirmed,
            )
        lost = (ReceiptTimeout if late else ConnectionLost)(
            f"whether the first {whole} of {count} messages arrived is not known, the others were not sent: {took}",
            broker=session.broker,
            confirmed=confirmed,
        )
        lost.not_sent = unsent
        return lost

    def _round_trip(
        self, session: Session, frame: Frame, deadline: Deadline, others: typing.Iterable[str] = (), earlier: int = 0
    ) -> None:
        """Send *frame* with a receipt, and wait for it and for the *others*, the ids of receipts still to come.

        *earlier* is how many unconfirmed messages an ERROR may be about that are none of this frame's business.
        """
        receipt = str(next(self._receipt_ids))
        frame.headers["receipt"] = receipt
        self._write(session, memoryview(encode(frame, session.version)), deadline)
        self._await_receipts(session, dict.fromkeys((receipt, *others), 0), deadline, earlier)

    def _await_receipts(
        self, session: Session, receipts: dict[str, int], deadline: Deadline, earlier: int, size: int = 1
    ) -> None:
        """Read until each of *receipts* (ids, with the positions of their messages) was answered.

        *size* is the size in bytes of a single message.

        An ERROR ends the session, whatever the broker thinks of it: RabbitMQ 3.10 and ActiveMQ 5.17 go on after one.
        The answers to the other messages are read before that, so that each outcome is known as well as it can be.
        """
        waiting = dict(receipts)
        errors: list[Frame] = []
        late = False

        def open_ones() -> bool:
            return bool(waiting) and (not errors or unanswered(errors, receipts, waiting, earlier))

        try:
            while open_ones():
                for receipt in session.next_receipts(deadline):
                    waiting.pop(receipt, None)
                if not open_ones():
                    break
                frame = session.read_frame(deadline)
                if frame.command == "RECEIPT":
                    waiting.pop(frame.headers.get("receipt-id", ""), None)
                elif frame.command == "ERROR":
                    errors.append(frame)
                if deadline.expired and open_ones():  # others may come for ever
                    raise TransportTimeout("the broker did not answer in time")
        except (TransportError, ProtocolError) as error:
            self._drop()
            late = isinstance(error, TransportTimeout)
            if not errors:
                raise no_receipt(session, error, deadline, confirmed_positions(receipts, waiting), size) from error
        except BaseException:
            self._drop()
            raise
        if errors:
            self._drop()
            raise rejected(session, errors, receipts, waiting, earlier, late=late)
        self._all_answered()

    def _all_answered(self) -> None:
        """A receipt came: what was written before it cannot be what an ERROR that comes later is about."""
        self._unconfirmed = 0
        if self._open_transactions:
            for open_one in self._open_transactions.values():
                open_one.messages = 0

    # -- the session ------------------------------------------------------------------------------------------

    def _connected_session(self, deadline: Deadline) -> Session:
        """The live session, or a new one."""
        session = self._look()
        if session is None:
            if self._retired:
                raise PoolClosed(
                    f"this client belonged to a pool for {self._connector}, which has parted with it; nothing "
                    "was sent. Borrow one for each use.",
                    broker=self.broker,
                )
            session = self._session = self._connector.open(deadline, **self._credentials)
            self._notices.add(
                _log.info, "connected to %s (%s, STOMP %s)", session.broker, session.server, session.version
            )
        return session

    def _look(self) -> Session | None:
        """The session, if a look at the socket shows no end of it. Never waits.

        Heart-beats and stray receipts are passed over. An ERROR can only be about an earlier unconfirmed frame; it
        ends the session, and is kept for the next call in an open transaction, or logged.
        """
        session = self._session
        if session is None:
            return None
        if session.pid != os.getpid():
            # Inherited by a fork: the session is the parent's. Its descriptor is closed here without a byte.
            self._drop()
            return None
        if session.nothing_new():
            return session
        try:
            for frame in session.all_ready():
                if frame.command == "ERROR":
                    inside = sum(each.messages for each in self._open_transactions.values())
                    if inside and self._unconfirmed <= inside:  # it is about one of the transactions, which all end now
                        if len(self._ended_transactions) > _MOST_STRAY:
                            self._ended_transactions.clear()  # of a program that never ends its transactions
                        end = EndedByError(frame, refuses(frame, session.dialect))
                        self._ended_transactions.update(dict.fromkeys(self._open_transactions, end))
                    else:
                        self._notice_error(session, frame)
                    self._drop()
                    return None
        except (TransportError, ProtocolError) as error:
            self._notices.add(_log.info, "the connection to %s has ended: %s", session.broker, str(error))
            self._drop()
            return None
        except BaseException:
            self._drop()
            raise
        return session

    def _notice_error(self, session: Session, frame: Frame) -> None:
        """Log an ERROR that no call waits for."""
        what = (
            "%s answered ERROR to an earlier unconfirmed message: %s"
            if refuses(frame, session.dialect)
            else "%s ended the session with an ERROR, and unconfirmed messages may be lost: %s"
        )
        self._notices.add(_log.warning, what, session.broker, error_words(frame))

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _drop(self) -> None:
        """Close the connection without a word, and forget everything that belonged to its session."""
        session, self._session = self._session, None
        self._unconfirmed = 0
        self._open_transactions.clear()
        if session is not None:
            session.close()

    @contextlib.contextmanager
    def _exclusive(self) -> typing.Iterator[None]:
        """Refuse a second thread: interleaved, two threads would read each other's receipts."""
        lock = self._acquire()
        try:
            yield
        finally:
            lock.release()
            if self._notices and self.publishes_notices:
                self._notices.publish()

    def _acquire(self) -> threading.Lock:
        """Take the lock that one thread at a time has, and return it."""
        lock = self._in_use if self._pid == os.getpid() else self._lock_of_child()
        if not lock.acquire(False):
            raise _in_use()
        return lock

    def _lock_of_child(self) -> threading.Lock:
        """A lock of this process: in a child, the parent's may be held by a thread that does not exist here."""
        pid = os.getpid()
        # Two threads may come here together; setdefault lets one of them win.
        self._in_use = self._locks_of_children.setdefault(pid, threading.Lock())
        self._pid = pid
        return self._in_use


def _frame_for(
    session: Session,
    destination: str,
    content: memoryview,
    headers: typing.Mapping[str, str] | None,
    content_type: str | None,
    head: bytes,
    receipt: int | None,
) -> tuple[memoryview, memoryview | None]:
    """The bytes of one message for this session's broker; a large body stays apart, as `frame_of` returns it."""
    if session.plain:
        return frame_of(head, content, receipt)
    if session.version != "1.2":
        head = head_of(destination, content_type, headers, session.version)
    lines = type_line(destination, headers, session.dialect)
    lines += length_line(content, content_type, headers, session.dialect)
    return frame_of(head, content, receipt, lines)


def _in_use() -> InUse:
    return InUse(
        "this client is in use by another thread; a client serves one thread at a time, a PublishClientPool serves many"
    )


def _arrived(session: Session, most: int) -> typing.Iterator[Frame]:
    """The frames that have arrived, *most* at the most, as far as they can be read."""
    with contextlib.suppress(TransportError, ProtocolError):
        yield from itertools.islice(session.all_ready(), most)
