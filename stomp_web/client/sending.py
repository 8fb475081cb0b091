"""`SendingClient`, the base class of `PublishClient`. One thread at a time uses the session.

Each message of a confirmed send gets one answer. A session is `unsettled` from the first byte that a call writes
until the last answer has come. An error or an interrupt during this time ends the session. Therefore, no call reads the
answer to another call.
"""

from __future__ import annotations

import contextlib
import itertools
import typing
from os import getpid
from time import monotonic

from .._internal.log import get_logger
from .._internal.notices import Notices
from .._internal.per_process import PerProcess
from ..connection.connector import Connector
from ..connection.deadline import Deadline
from ..connection.dialect import refuses
from ..connection.session import Session, error_words
from ..connection.transport import TransportError, TransportTimeout
from ..errors import BrokerUnavailable, InvalidFrame, MessageError, NotSent, PoolClosed, ProtocolError, Rejected
from ..protocol import Frame, encode
from .base import BaseClient
from .message import Message
from .outcome import confirmed_positions, name_messages, no_receipt, not_whole, rejected, unanswered, whole_frames
from .state import ClientState

__all__ = ["InUse", "SendingClient"]

_log = get_logger("client")

_MOST_STRAY = 1_000  # unexpected frames that are read at most
_IN_USE = (
    "this client is in use by another thread; a client serves one thread at a time, a PublishClientPool serves many"
)


class InUse(NotSent):
    """Another thread is using the client."""


class _NoTime(TransportTimeout):
    """The deadline expired before the client wrote a byte."""


class SendingClient(BaseClient):
    """A client that only sends. A subclass defines the public methods."""

    def _set_up(  # type: ignore[override]
        self, connector: Connector, timeout: float, confirm: bool, notices: Notices | None = None
    ) -> None:
        self._set_up_base(connector, timeout, confirm)
        self._retired = False
        self._notices = Notices() if notices is None else notices
        #: Whether each call publishes the notices at its end. A pool publishes the notices after the client's release.
        #: At that time, a log handler may send through the same pool and need the connection.
        self.publishes_notices = notices is None
        self._states = PerProcess(ClientState, leave=ClientState.drop)

    @property
    def _session(self) -> Session | None:
        return self._states[getpid()].session

    def deliver(
        self, messages: typing.Sequence[Message], confirm: bool | None, transaction: str | None, deadline: Deadline
    ) -> None:
        """Send the prepared *messages*. Raises the exceptions of `PublishClient.send`."""
        self.deliver_over(self._states[getpid()], messages, confirm, transaction, deadline)

    def deliver_over(
        self,
        state: ClientState,
        messages: typing.Sequence[Message],
        confirm: bool | None,
        transaction: str | None,
        deadline: Deadline,
        looked: bool = False,
    ) -> None:
        """Send the prepared *messages*. Raises the exceptions of `PublishClient.send`.

        *state* is the client's state in this process. If *looked* is true, the caller has already checked the socket.
        """
        if transaction is not None:
            if confirm:
                raise InvalidFrame("in a transaction the COMMIT is confirmed, not each message; leave confirm out")
            confirm = False
        elif confirm is None:
            confirm = self.confirm
        try:
            claim = state.claims.pop()
        except IndexError:
            raise InUse(_IN_USE) from None
        try:
            session = state.session
            if transaction is not None:
                session = self._transaction_session(state, transaction)
            elif session is None or session.unsettled or not (looked or session.nothing_new()):
                session = self._connected_session(state, deadline)
            count = len(messages)
            if confirm or (transaction is not None and session.dialect.receipts_after_commit):
                receipt = state.next_receipt
                state.next_receipt = receipt + count
            else:
                receipt = None
            data, more = state.encoder.encode(messages, receipt, transaction)  # type: ignore[union-attr]
            before = session.transport.bytes_sent
            session.unsettled = True
            try:
                if monotonic() >= deadline.at:
                    raise _NoTime("no time was left")
                sent = 0 if more else session.write_some(data)  # all parts of a large message are written together
                if sent != len(data):
                    session.write_rest(data, more, sent, deadline)
            except (TransportError, ProtocolError) as error:
                data = b"".join((data, *more))
                receipts = {} if receipt is None else _receipts(receipt, count)
                frames = count if transaction is None else 1  # without the COMMIT, no message is accepted
                self._not_written(state, session, error, data, before, deadline, receipts, frames)
            if confirm:
                answered = session.receipts_in_order(receipt, count, deadline)  # type: ignore[arg-type]
                if answered != count or state.transactions.open:
                    size = len(messages[0].content) if count == 1 else 1
                    receipts = _receipts(receipt, count)  # type: ignore[arg-type]
                    self._await_answers(state, session, receipts, deadline, state.unconfirmed, answered, size)
                state.unconfirmed = 0
            else:
                state.unconfirmed += count
                if transaction is not None:
                    state.transactions.open[transaction].sent(count, receipt)
            session.unsettled = False
        except MessageError as error:
            name_messages(error, messages)
            raise
        finally:
            state.claims.append(claim)
            if self._notices.due and self.publishes_notices:
                self._notices.publish()

    def _write(self, state: ClientState, session: Session, frame: Frame, deadline: Deadline) -> None:
        data = encode(frame, session.version)
        before = session.transport.bytes_sent
        session.unsettled = True
        try:
            if deadline.expired:
                raise _NoTime("no time was left")
            session.write(data, deadline)
        except (TransportError, ProtocolError) as error:
            self._not_written(state, session, error, data, before, deadline, {}, 1)

    def _not_written(
        self,
        state: ClientState,
        session: Session,
        error: TransportError | ProtocolError,
        data: bytes,
        before: int,
        deadline: Deadline,
        receipts: dict[str, int],
        count: int,
    ) -> typing.NoReturn:
        """Raise the exception for the messages after a failed write of *data*. Usually, end the session first.

        The session stays open if the deadline had expired before the write and TLS holds no bytes of an earlier write.
        In all other cases, the method reads the frames that the broker has already sent, such as receipts or an ERROR
        with the reason. Then the method ends the session.

        *error* is the reason of the failure. *before* is the value of `Transport.bytes_sent` before the write. *count*
        is the number of messages in *data*, or 1 in a transaction. *receipts* maps the requested receipt ids to the
        positions of the messages.
        """
        left = session.transport.bytes_sent - before
        if isinstance(error, _NoTime) and not session.transport.stuck:
            session.unsettled = False
            raise BrokerUnavailable(
                f"no time was left to send ({deadline.seconds:.3g} s given); nothing was sent", broker=session.broker
            ) from error
        whole = whole_frames(memoryview(data)[:left], session.version) if count > 1 else 0
        waiting, errors = dict(receipts), []
        with contextlib.suppress(TransportError, ProtocolError):
            for frame in itertools.islice(session.all_ready(), len(receipts) + _MOST_STRAY):
                if frame.command == "RECEIPT":
                    waiting.pop(frame.headers.get("receipt-id", ""), None)
                elif frame.command == "ERROR":
                    errors.append(frame)
        earlier = state.unconfirmed
        state.drop()
        late = isinstance(error, TransportTimeout)
        if left and any(refuses(frame, session.dialect) for frame in errors):
            lost = rejected(session, errors, receipts, waiting, earlier, count=count, late=late)
            if not isinstance(lost, Rejected):
                lost.not_sent = tuple(range(whole, count))
        else:
            for frame in errors:
                self._notice_error(session, frame)
            problem = f"{error} ({deadline.seconds:.3g} s given)" if late else str(error)
            confirmed = confirmed_positions(receipts, waiting)
            lost = not_whole(session, problem, left, len(data), whole, count, confirmed, late=late)
        raise lost from lost.__cause__ or error

    def _round_trip(
        self,
        state: ClientState,
        session: Session,
        frame: Frame,
        deadline: Deadline,
        others: typing.Iterable[str] = (),
        earlier: int = 0,
    ) -> None:
        """Send *frame* with a receipt id. Wait for this receipt, and for the receipts with the ids *others*.

        `_await_answers` explains *earlier*.
        """
        receipt = state.next_receipt
        state.next_receipt += 1
        frame.headers["receipt"] = str(receipt)
        self._write(state, session, frame, deadline)
        self._await_answers(state, session, dict.fromkeys((str(receipt), *others), 0), deadline, earlier)
        session.unsettled = False

    def _await_answers(
        self,
        state: ClientState,
        session: Session,
        receipts: dict[str, int],
        deadline: Deadline,
        earlier: int,
        answered: int = 0,
        size: int = 1,
    ) -> None:
        """Read frames until all messages are answered. *receipts* maps each receipt id to the position of its message.

        *answered* is the number of receipts that have already come. These receipts have the first ids in *receipts*.
        *earlier* is the number of unconfirmed messages that were sent before this call. An ERROR may be about one of
        these earlier messages. For *size*, see `no_receipt`. After an ERROR, the method reads the other answers, ends
        the session and raises an exception.
        """
        waiting = dict(itertools.islice(receipts.items(), answered, None))
        errors: list[Frame] = []
        late = False
        try:
            while waiting and (not errors or unanswered(errors, receipts, waiting, earlier)):
                frame = session.read_frame(deadline)
                if frame.command == "RECEIPT":
                    waiting.pop(frame.headers.get("receipt-id", ""), None)
                elif frame.command == "ERROR":
                    errors.append(frame)
                if waiting and deadline.expired:  # other frames may come for ever
                    if errors and not unanswered(errors, receipts, waiting, earlier):
                        break
                    raise TransportTimeout("the broker did not answer in time")
        except (TransportError, ProtocolError) as error:
            state.drop()
            late = isinstance(error, TransportTimeout)
            if not errors:
                raise no_receipt(session, error, deadline, confirmed_positions(receipts, waiting), size) from error
        if errors:
            state.drop()
            raise rejected(session, errors, receipts, waiting, earlier, late=late)
        state.all_answered()

    def _connected_session(self, state: ClientState, deadline: Deadline) -> Session:
        session = self._look(state)
        if session is None:
            if self._retired:
                raise PoolClosed(
                    f"this client no longer belongs to the pool for {self._connector}; nothing was sent. Lease a "
                    "client from the pool for each use.",
                    broker=self.broker,
                )
            session = self._connector.open(deadline, **self._credentials)
            state.begin_session(session)
            self._notices.add(
                _log.info, "connected to %s (%s, STOMP %s)", session.broker, session.server, session.version
            )
        return session

    def _transaction_session(self, state: ClientState, transaction: str) -> Session:
        session = self._look(state)
        state.transactions.get(transaction, self.broker)
        assert session is not None, "with the session, its transactions end"
        return session

    def _look(self, state: ClientState) -> Session | None:
        """Check the socket without waiting. Return the session, or ``None`` if the session has ended.

        If the broker has sent an ERROR, the session ends. If there are unconfirmed frames, and all of them belong to
        open transactions, the client keeps the ERROR. The next call in each of these transactions then raises an
        exception. Otherwise, the client logs the ERROR.
        """
        session = state.session
        if session is None:
            return None
        if session.unsettled:  # a call was interrupted, and it is not known what was written
            state.drop()
            return None
        if session.nothing_new():
            return session
        session.unsettled = True
        try:
            frame = next((frame for frame in session.all_ready() if frame.command == "ERROR"), None)
        except (TransportError, ProtocolError) as error:
            self._notices.add(_log.info, "the connection to %s has ended: %s", session.broker, str(error))
            state.drop()
            return None
        if frame is None:
            session.unsettled = False
            return session
        inside = sum(each.messages for each in state.transactions.open.values())
        if inside and state.unconfirmed <= inside:  # the ERROR is about one of the transactions, which all end now
            state.transactions.end_by(frame, refuses(frame, session.dialect))
        else:
            self._notice_error(session, frame)
        state.drop()
        return None

    def _notice_error(self, session: Session, frame: Frame) -> None:
        """Log an ERROR for which no call waits."""
        what = (
            "%s answered ERROR to an earlier unconfirmed message: %s"
            if refuses(frame, session.dialect)
            else "%s ended the session with an ERROR, and unconfirmed messages may be lost: %s"
        )
        self._notices.add(_log.warning, what, session.broker, error_words(frame))

    @contextlib.contextmanager
    def _exclusive(self) -> typing.Iterator[ClientState]:
        """A context manager. In its ``with`` block, no other call uses the session or reads the receipts.

        Raises `InUse` if another call is using the session.
        """
        state = self._states[getpid()]
        try:
            claim = state.claims.pop()
        except IndexError:
            raise InUse(_IN_USE) from None
        try:
            yield state
        finally:
            state.claims.append(claim)
            if self._notices.due and self.publishes_notices:
                self._notices.publish()


def _receipts(first: int, count: int) -> dict[str, int]:
    """Return a dict that maps the receipt ids of *count* messages to the positions of the messages.

    The receipt ids are consecutive, from *first* on. The positions begin with 0.
    """
    return {str(first + position): position for position in range(count)}
